"""Reads a Sentinel-2 time series of an area block by block, as months.

The reader of a format is a `encoding.Source`; this module turns its
acquisitions into the twelve months that an encoder reads.
"""

from collections.abc import Sequence

import numpy as np
from absl import logging

from fusion_jax.data import bands as bands_lib
from fusion_jax.data import composites, reflectance
from fusion_jax.data.sources.imagery import encoding

_NO_DATA_CLASS = 0  # "No data" of the scene classification.
_SAMPLE = 128  # Pixels per side of the windows that check the scale.
_OFFSET_SINCE = np.datetime64('2022-01-25')  # Processing baseline 04.00.


class Cube:
  """The twelve months of an area.

  Attributes:
    source: reader of the files.
    sources: {band: band of the source, or '0'}.
    shape: numbers of rows and columns.
    declared: what the user states about the files.
    months: int [S], month 0 .. 11 of each acquisition; -1 if it is not read.
  """

  def __init__(
    self,
    source: encoding.Source,
    *,
    declared: encoding.Declared | None = None,
    missing: Sequence[str] = (),
    unread: Sequence[str] = (),
  ):
    """Checks bands, dates and the scale of some of the values.

    Args:
      source: reader of the files.
      declared: what the user states about the files.
      missing: names of bands that the source lacks, see `bands.stand_ins`.
      unread: bands that the model was trained without.

    Raises:
      ValueError: if bands or dates are missing, or values are on another
        scale; it names the flag that helps.
    """
    declared = declared or encoding.Declared()
    self.source = source
    self.shape = source.shape
    self.declared = declared
    self.sources = bands_lib.sources(
      [b for b in source.bands if b != bands_lib.SCENE_CLASS],
      missing,
      unread,
      source.name,
    )
    self.months = _months(source, declared)
    absent = sorted(set(range(1, 13)) - {m + 1 for m in self.months})
    logging.info(
      '%s: %d x %d pixels, %d acquisitions; %s.',
      source.name,
      *self.shape,
      (self.months >= 0).sum(),
      f'months without any, which are masked: {absent}'
      if absent
      else 'every month has one',
    )
    for band, other in self.sources.items():
      if band != other:
        logging.info(
          '%s is missing: %s stands in for it.',
          band,
          'zero' if other == bands_lib.ZERO else other,
        )
    self._check_values()

  def read(self, rows: slice, columns: slice) -> np.ndarray:
    """Returns the months of a window, which may reach over the edge.

    Args:
      rows: slice of rows.
      columns: slice of columns. Outside, the cube is mirrored, so that
        an encoder that sees neighbours maps the pixels at the edge, too.

    Returns:
      [12, C, Y, X] float32, reflectance x 10,000, NaN = missing. A month's
      value is the lower median of its clear acquisitions, as of the composite
      'clear' in data/composites.py; 'SCL', where there is one, tells which
      these are (below 9, and not 0).
    """
    inner, margins = zip(
      *(_inside(part, size) for part, size in zip((rows, columns), self.shape))
    )
    pixels = np.full(
      (
        composites.NUM_MONTHS,
        len(bands_lib.BANDS),
        *(part.stop - part.start for part in inner),
      ),
      np.nan,
      np.float32,
    )
    clear = self._clear(*inner)
    composed = {}
    for i, other in enumerate(self.sources.values()):
      if other == bands_lib.ZERO:
        continue
      if other not in composed:
        composed[other] = self._compose(self.source.read(other, *inner), clear)
      pixels[:, i] = composed[other]
    if not np.any(margins):
      return pixels
    return np.pad(pixels, [(0, 0), (0, 0), *margins], 'symmetric')

  def _clear(self, rows: slice, columns: slice) -> np.ndarray | None:
    """Returns clear pixels, bool [S, Y, X]; None without a classification."""
    if bands_lib.SCENE_CLASS not in self.source.bands:
      return None
    classes = self.source.read(bands_lib.SCENE_CLASS, rows, columns)
    return (classes != _NO_DATA_CLASS) & (classes < composites.CLOUD_CLASS)

  def _compose(
    self, values: np.ndarray, clear: np.ndarray | None
  ) -> np.ndarray:
    """Composes acquisitions [S, Y, X] to months [12, Y, X]."""
    if clear is not None:
      values = np.where(clear, values, np.float32(np.nan))
    composed = np.full(
      (composites.NUM_MONTHS, *values.shape[1:]), np.nan, np.float32
    )
    for month in range(composites.NUM_MONTHS):
      chosen = values[self.months == month]
      if len(chosen) == 1:
        composed[month] = chosen[0]
      elif len(chosen):
        composed[month] = _lower_median(chosen)
    return composed

  def _check_values(self) -> None:
    """Checks the values of windows along the diagonal and in the corners."""
    ends = [max(size - _SAMPLE, 0) for size in self.shape]
    starts = {
      tuple(int(end * part) for end in ends) for part in (0, 0.25, 0.5, 0.75, 1)
    }
    windows = [
      [
        slice(start, min(start + _SAMPLE, size))
        for start, size in zip(corner, self.shape)
      ]
      for corner in sorted(starts)
    ]
    band = next(x for x in self.sources.values() if x != bands_lib.ZERO)
    values = np.concatenate(
      [np.ravel(self.source.read(band, *window)) for window in windows]
    )
    title = f'{band} of {self.source.name}'
    if not np.isfinite(values).any():
      logging.warning(
        '%s has no value in the places looked at; if the map stays '
        'empty, check what means "missing" (--nodata).',
        title,
      )
    code = self.source.encoding_of(band)
    reflectance.check_values(values, title, reflectance.MAP, stored=code.stored)
    if self.source.dates.max() >= _OFFSET_SINCE and not code.offset_known:
      reflectance.check_offset(values[:, None], (band,), title, reflectance.MAP)


def _months(source: encoding.Source, declared: encoding.Declared) -> np.ndarray:
  """Returns the month of each step, int [S] 0 .. 11; -1 if it is not read."""
  if declared.months:
    if len(declared.months) != len(source.dates) or not all(
      1 <= month <= 12 for month in declared.months
    ):
      raise ValueError(
        f'--months {" ".join(map(str, declared.months))}: expected 1 .. 12 '
        f'for each of the {len(source.dates)} steps of {source.name}.'
      )
    return np.array(declared.months) - 1
  if np.isnat(source.dates).any():
    raise ValueError(
      f'{source.name} has {np.isnat(source.dates).sum()} steps without a '
      'date; say which months they are: --months 11 12 1 2 ...'
    )
  dates = source.dates.astype('datetime64[M]')
  if declared.start:
    first = _month(declared.start)
  else:
    first = dates.min()
    if dates.max() - first >= np.timedelta64(12, 'M'):
      raise ValueError(
        f'{source.name} runs from {first} to {dates.max()}; choose twelve '
        f'months by the first of them, such as --start '
        f'{dates.max() - np.timedelta64(11, "M")}.'
      )
  inside = (dates >= first) & (dates < first + np.timedelta64(12, 'M'))
  if not inside.any():
    raise ValueError(
      f'{source.name} has nothing in the twelve months from {first}: it '
      f'runs from {dates.min()} to {dates.max()}.'
    )
  return np.where(inside, dates.astype(int) % 12, -1)


def _month(text: str) -> np.datetime64:
  try:
    return np.datetime64(text, 'M')
  except ValueError as error:
    raise ValueError(
      f'--start {text} is no month; write YYYY-MM, such as 2020-11.'
    ) from error


def _inside(part: slice, size: int) -> tuple[slice, tuple[int, int]]:
  """Returns the part of a slice within [0, size), and the margins outside."""
  start, stop = max(part.start, 0), min(part.stop, size)
  return slice(start, stop), (start - part.start, part.stop - stop)


def _lower_median(values: np.ndarray) -> np.ndarray:
  """Returns the lower median [...] of [A, ...] without NaN; NaN if all are."""
  ordered = np.sort(values, axis=0)  # NaN last.
  middle = np.maximum(np.isfinite(values).sum(0) - 1, 0) // 2
  return np.take_along_axis(ordered, middle[None], axis=0)[0]
