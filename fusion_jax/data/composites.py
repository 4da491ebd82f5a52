"""Monthly and annual composites of Sentinel-2 series; NumPy only."""

from typing import Literal

import numpy as np
from numpy import typing as npt

BANDS: tuple[str, ...] = (
  'B2',
  'B3',
  'B4',
  'B5',
  'B6',
  'B7',
  'B8',
  'B8A',
  'B11',
  'B12',
)
NUM_MONTHS = 12
Kind = Literal['published', 'clear']
KINDS = ('published', 'clear')
CLOUD_CLASS = 9  # SCL values from 9 on are cloud, cirrus or snow.


def monthly(
  counts: npt.ArrayLike,
  scene_class: npt.ArrayLike,
  months: npt.ArrayLike,
  kind: Kind = 'published',
) -> tuple[np.ndarray, np.ndarray]:
  """Returns one image for each month: lower medians over its acquisitions.

  Args:
    counts: [A, C, Y, X] int, reflectance x 10,000 of A acquisitions.
    scene_class: [A, Y, X] int, Sentinel-2 scene classification (SCL).
    months: [A, 12] bool, True for the months that an acquisition belongs to.
    kind: 'published' counts pixels of SCL >= 9 (high cloud, cirrus, snow, but
      not shadow or medium cloud) as 0, fills a month without acquisitions from
      all of the year, and adds 1. 'clear' leaves such pixels out; a month
      without any clear pixel is not valid.

  Returns:
    The composites [12, C, Y, X] int16, clipped to the range of int16; and [12]
    bool, whether a month may be shown to a model. With 'published' all months
    are valid, because the public model was trained on zeros and filled months
    as if they had been seen. With 'clear' those months are valid whose centre
    pixel was seen clear; other months, and other pixels that were not, are 0.

  Raises:
    ValueError: if there are no acquisitions, or if there is no such kind.

  Source: github.com/pallavijain-pj/TimeSenCLIP, src/Data/lucas_sen_data.py
  (MIT). The default reproduces the paper; choose 'clear' where zeros in a
  median are not wanted.
  """
  if kind not in KINDS:
    raise ValueError(f'There is no composite {kind!r}; choose one of {KINDS}.')
  counts = np.asarray(counts)
  if not len(counts):
    raise ValueError('There are no acquisitions to make composites of.')
  clear = np.asarray(scene_class) < CLOUD_CLASS
  if kind == 'published':
    zeroed = np.where(clear[:, None], counts, 0)
    return _published(zeroed, months), np.ones(NUM_MONTHS, bool)
  return _clear(counts, clear, months)


def annual(counts: npt.ArrayLike, scene_class: npt.ArrayLike) -> np.ndarray:
  """Returns the lower median over all acquisitions of a year, clouds as 0.

  Unlike in a monthly composite, 1 is not added (as in the same source).

  Args:
    counts: [A, C, Y, X] int, reflectance x 10,000 of A acquisitions.
    scene_class: [A, Y, X] int, Sentinel-2 scene classification (SCL).

  Returns:
    [C, Y, X] int16.
  """
  clear = np.asarray(scene_class) < CLOUD_CLASS
  return _as_int16(lower_median(np.where(clear[:, None], counts, 0)))


def lower_median(values: np.ndarray) -> np.ndarray:
  """Returns the median [...] of values [A, ...] over their first axis.

  Of an even number of values it is the smaller one of the two in the middle.
  """
  middle = (len(values) - 1) // 2
  return np.partition(values, middle, axis=0)[middle]


def centre_crop(images: np.ndarray, size: int) -> np.ndarray:
  """Cuts the central square out of images.

  The crop starts at Y // 2 - size // 2, as published: of 64 pixels, pixel 32 is
  the centre.

  Args:
    images: [..., Y, X].
    size: pixels per side of the square.

  Returns:
    [..., size, size], a view of the images.

  Raises:
    ValueError: if the images are smaller than the square.
  """
  whole = min(images.shape[-2:])
  if size > whole:
    raise ValueError(
      f'A crop of {size} x {size} pixels does not fit into '
      f'{images.shape[-2]} x {images.shape[-1]} pixels; take at most {whole}.'
    )
  y, x = (n // 2 - size // 2 for n in images.shape[-2:])
  return images[..., y : y + size, x : x + size]


def _published(zeroed: np.ndarray, months: npt.ArrayLike) -> np.ndarray:
  """Returns medians [12, C, Y, X] int16 of images whose clouds are 0."""
  composite = [
    lower_median(zeroed[chosen] if chosen.any() else zeroed)
    for chosen in np.asarray(months).T
  ]
  return _as_int16(np.stack(composite).astype(np.int32) + 1)


def _clear(
  counts: np.ndarray, clear: np.ndarray, months: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  """Returns medians [12, C, Y, X] int16 of clear pixels, and validity [12]."""
  composite = np.zeros((NUM_MONTHS, *counts.shape[1:]), np.int32)
  valid = np.zeros(NUM_MONTHS, bool)
  centre = tuple(n // 2 for n in clear.shape[1:])
  top = np.iinfo(np.int32).max
  for month, chosen in enumerate(np.asarray(months).T):
    seen = clear[chosen]
    number = seen.sum(0)  # [Y, X]
    if not number.any():
      continue
    last = np.sort(
      np.where(seen[:, None], counts[chosen].astype(np.int32), top), axis=0
    )
    middle = np.maximum(number - 1, 0) // 2
    values = np.take_along_axis(last, middle[None, None], axis=0)[0]
    composite[month] = np.where(number > 0, values, 0)
    valid[month] = number[centre] > 0
  return _as_int16(composite), valid


def _as_int16(values: np.ndarray) -> np.ndarray:
  """Clips to int16; reflectance above 3.2 is cloud or glint and not used."""
  limits = np.iinfo(np.int16)
  return np.clip(values, limits.min, limits.max).astype(np.int16)
