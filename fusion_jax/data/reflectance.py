"""Whether numbers can be reflectance x 10,000 of Sentinel-2.

The same checks stand wherever imagery enters: files, arrays, xarray objects.
What no surface shows is refused: reflectance itself, grey levels, values beyond
any cloud, images of zeros. What a surface could show, though hardly one does,
is warned about: the offset of a processing baseline, bands in another order.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from fusion_jax.data import bands as bands_lib

COUNTS = 10_000  # Of reflectance 1.
OFFSET = 1000  # Added to counts by processing baselines since 04.00.
DARKEST = -2000.0  # Less than noise and atmospheric correction leave.
BRIGHTEST = 65_000.0  # More reflectance than any surface or cloud has.
_SELF = 2  # Largest value of what is reflectance itself, but for outliers.
_PERCENT = 100  # Largest value of reflectance in percent, but for outliers.
FEW = 1e-3  # Share of pixels that may be outliers.
# Bands of one plateau of the near infrared: water, snow, clouds, soil, leaves
# and roofs all reflect nearly the same in each. The medians of eleven real
# images differ by 14 % at most.
_ALIKE = (('B7', 'B8'), ('B7', 'B8A'), ('B8', 'B8A'))
# Water vapour darkens B9; water in leaves, soil and snow darkens B12.
_NEVER_BRIGHTER = (('B9', 'B8A'), ('B12', 'B11'))
_DARK = 1000.0  # Differences of darker pixels are compared with this.
_MOST_DIFFERENT = 0.3  # Of the medians of such bands.
_MOST = 200_000  # Number of pixels that medians and shares are taken of.
_LEAST = 100  # Number of pixels whose median is looked at.
_LEAST_DARK = 1000  # Number of pixels of which one should be dark.
_CIRRUS = 900  # B10 is darker, unless it carries the offset.


@dataclasses.dataclass(frozen=True)
class Remedies:
  """What helps against values that are no reflectance, for users of an entry.

  Attributes:
    itself: against reflectance itself, in place of reflectance x 10,000.
    percent: against reflectance in percent.
    unit: against values in another unit.
    missing: against values that stand for "missing"; may hold '{value}'.
    offset: against the offset of processing baselines.
    order: against bands in another order.
  """

  itself: str
  percent: str
  unit: str
  missing: str
  offset: str
  order: str


MAP = Remedies(
  'and the file does not say it: pass --scale 1',
  'pass --scale 0.01',
  'say how it is stored, such as --scale 0.0001 (reflectance = value x scale + '
  'offset)',
  'If the stored value means "missing", pass it: --nodata {value}',
  'pass --offset -0.1',
  'name the bands in the file',
)
SCENE = Remedies(
  'and the file does not say it: pass --scale 1',
  'pass --scale 0.01',
  'say how it is stored, such as --scale 0.0001',
  'If they stand for no value, fill or crop them',
  f'say so: --offset {OFFSET}',
  'name the bands in their descriptions',
)
SAMPLE = Remedies(
  'expected is reflectance x 10,000: multiply it and store it as int16',
  'multiply it by 100 and store it as int16',
  'store reflectance x 10,000 as int16',
  'If they stand for no value, fill or crop them',
  f'subtract {OFFSET} before',
  'name the bands in their descriptions',
)
ARRAY = Remedies(
  'but must be reflectance x 10,000: multiply it by 10,000',
  'multiply it by 100',
  'give reflectance x 10,000',
  'If they stand for no value, put NaN in their place',
  f'subtract {OFFSET}',
  "name them: give an xarray.DataArray with the bands' names in its coordinate "
  "'band'",
)


def check_values(
  counts: np.ndarray,
  title: str,
  remedies: Remedies,
  *,
  stored: Callable[[float], float] = float,
  few: float = 0.0,
) -> None:
  """Checks that values can be reflectance x 10,000.

  Args:
    counts: [...] values; NaN and infinity are ignored.
    title: what they are, for messages.
    remedies: what helps.
    stored: function from reflectance x 10,000 to the number in the file.
    few: share of values that no surface has which is warned about, not refused.

  Raises:
    ValueError: if they cannot; says which value, where it is known how many,
      and what helps.
  """
  if counts.dtype.kind == 'f':
    counts = counts[np.isfinite(counts)]
  if not counts.size:
    return
  _check_unit(counts, title, remedies, stored)
  top, low = counts.max(), counts.min()
  if DARKEST <= low and top <= BRIGHTEST:
    return
  middle = np.median(counts)
  if middle > 2 * COUNTS and (counts > BRIGHTEST).mean() > 0.5:
    raise ValueError(
      f'{title} would have reflectances around {middle / COUNTS:.3g}; '
      f'{remedies.unit}.'
    )
  for value, unlikely in (top, counts > BRIGHTEST), (low, counts < DARKEST):
    if unlikely.any():
      number = f'{stored(float(value)):.6g}'
      advice = remedies.missing.format(value=number)
      message = (
        f'{title} has reflectance {value / COUNTS:.3g}, stored as {number}, '
        f'at {unlikely.mean():.2%} of the places looked at, which no surface '
        f'has. {advice}.'
      )
      if unlikely.mean() > few:
        raise ValueError(message)
      logging.warning('%s', message)


def _check_unit(counts, title, remedies, stored):
  """Checks that values [...] with fractions are not of a larger unit.

  A few pixels may be brighter: glints of the sun, fire, faulty ones.
  """
  values = np.ravel(counts)
  values = values[:: -(-len(values) // _MOST)]
  values = values[values != 0]
  if not (values % 1).any():
    return
  high = np.quantile(values, 1 - FEW, method='lower')
  if 0 < high <= _SELF:
    raise ValueError(
      f'{title} has values up to {high:.3g}, so reflectance itself, '
      f'{remedies.itself}.'
    )
  if 0 < high <= _PERCENT and stored(_PERCENT) == _PERCENT:  # No scale.
    raise ValueError(
      f'{title} has values with fractions up to {high:.3g}, so reflectance in '
      f'percent, not x 10,000; {remedies.percent}.'
    )


def refuse_grey(top: float, title: str, remedies: Remedies) -> None:
  """Refuses bytes without a scale.

  Args:
    top: largest value.
    title: what they are, for the message.
    remedies: what helps.

  Raises:
    ValueError: always.
  """
  raise ValueError(
    f'{title} holds grey levels (uint8, up to {top:g}), not reflectance x '
    f'10,000; {remedies.unit}.'
  )


def sample(image: np.ndarray) -> np.ndarray:
  """Returns some pixels [N, C] of an image [..., C], evenly spread."""
  pixels = image.reshape(-1, image.shape[-1])
  return pixels[:: -(-len(pixels) // _MOST)] if len(pixels) else pixels


def check_offset(
  image: np.ndarray,
  bands: Sequence[str],
  title: str,
  remedies: Remedies,
  least: int = 1,
) -> None:
  """Warns where the offset of newer processing baselines may be in the values.

  Args:
    image: [..., C] reflectance x 10,000, NaN where a value is missing.
    bands: names of the C bands, such as 'B02'. B10 sees no ground, so it tells
      for certain.
    title: what the image is, for the message.
    remedies: what helps.
    least: number of pixels of which one should be dark.
  """
  image = sample(image)
  if len(image) < least:
    return
  if 'B10' in bands:
    cirrus = image[..., list(bands).index('B10')]
    cirrus = cirrus[np.isfinite(cirrus) & (cirrus != 0)]
    carried = cirrus.size and np.median(cirrus) > _CIRRUS
    shown = 'B10 of %s is %.0f at half of its pixels', np.median(cirrus)
  else:
    measured = image[np.isfinite(image) & (image != 0)]
    share = (measured < OFFSET).mean() if measured.size else 1
    carried = share <= FEW
    shown = 'Of the values of %s, only %.2g %% are below 0.1', 100 * share
  if carried:
    logging.warning(
      shown[0] + ': if it carries the offset of processing baselines since '
      '04.00, %s.',
      title,
      shown[1],
      remedies.offset,
    )


def check_order(
  image: np.ndarray, bands: Sequence[str], title: str, remedies: Remedies
) -> None:
  """Warns where bands seem to be others than their names or places say.

  Args:
    image: [..., C] reflectance x 10,000, NaN where a value is missing.
    bands: names of the C bands, such as 'B02'.
    title: what the image is, for the message.
    remedies: what helps.
  """
  image = sample(image)
  index = {bands_lib.short(band): i for i, band in enumerate(bands)}
  for first, second in (*_ALIKE, *_NEVER_BRIGHTER):
    if first in index and second in index:
      signed = (first, second) in _NEVER_BRIGHTER
      difference = _difference(image, index[first], index[second], signed)
      if difference > _MOST_DIFFERENT:
        _warn_of_order(first, second, difference, bands, title, remedies)
        return


def check_images(
  images: np.ndarray,
  bands: Sequence[str],
  title: str,
  remedies: Remedies = ARRAY,
  refuse_empty: bool = True,
) -> None:
  """Checks images of users: units, missing values, offset and order of bands.

  Args:
    images: [..., Y, X, C] reflectance x 10,000, NaN where a value is missing;
      the leading axes count images.
    bands: names of the C bands, such as 'B02'.
    title: what they are, for messages.
    remedies: what helps.
    refuse_empty: whether to refuse images that are all zero, not only to warn.

  Raises:
    ValueError: if they cannot be reflectance x 10,000.
  """
  if images.dtype == np.uint8:
    refuse_grey(images.max(initial=0), title, remedies)
  check_values(images, title, remedies, few=FEW)
  check_empty(images, title, refuse_empty)
  check_order(images, bands, title, remedies)
  check_offset(images, bands, title, remedies, _LEAST_DARK)


def check_empty(images: np.ndarray, title: str, refuse: bool = True) -> None:
  """Checks that images have values: zeros in all bands are none.

  Args:
    images: [..., Y, X, C] values, NaN where one is missing.
    title: what they are, for messages.
    refuse: whether to refuse them if all are empty.

  Raises:
    ValueError: if every image is 0 in every pixel and band.
  """
  empty = np.ravel((images == 0).all(axis=(-3, -2, -1)))
  if refuse and empty.size and empty.all():
    raise ValueError(
      f'{title} is 0 in every pixel and band, so it has no value. Give an '
      'image with values; NaN is what stands for a missing one.'
    )
  if empty.any():
    logging.warning(
      '%d of %d images of %s have no value in any pixel and band (the first: '
      '%d), and their results mean nothing.',
      empty.sum(),
      empty.size,
      title,
      np.flatnonzero(empty)[0],
    )


def _difference(
  image: np.ndarray, first: int, second: int, signed: bool = False
) -> float:
  """Returns the median relative difference of two bands; 0 for few pixels."""
  x, y = np.ravel(image[..., first]), np.ravel(image[..., second])
  known = np.isfinite(x) & np.isfinite(y) & ((x != 0) | (y != 0))
  if known.sum() < _LEAST:
    return 0.0
  x, y = x[known].astype(np.float32), y[known].astype(np.float32)
  difference = (x - y) / np.maximum(np.maximum(x, y), _DARK)
  return float(np.median(difference if signed else np.abs(difference)))


def _warn_of_order(first, second, difference, bands, title, remedies) -> None:
  logging.warning(
    '%s: %s and %s differ by %.0f %% at half of the pixels, and no surface is '
    'known to reflect like that. Perhaps the bands do not stand in the order '
    '%s: %s.',
    title,
    first,
    second,
    100 * difference,
    ', '.join(bands),
    remedies.order,
  )
