"""Monthly and annual composites of Sentinel-2 series; NumPy only."""

from typing import Literal

import numpy as np

BANDS = ('B2', 'B3', 'B4', 'B5', 'B6', 'B7', 'B8', 'B8A', 'B11', 'B12')
NUM_MONTHS = 12
Kind = Literal['published', 'clear']
KINDS = ('published', 'clear')
CLOUD_CLASS = 9  # SCL from here on is cloud, cirrus or snow.


def monthly(counts, scene_class, months, kind='published'):
  """One value a month: the lower median over its acquisitions.

  Args:
    counts: [A, C, Y, X] int, reflectance x 10,000, of A acquisitions.
    scene_class: [A, Y, X] int, Sentinel-2 scene classification (SCL).
    months: bool [A, 12], which acquisition belongs to which month.
    kind: 'published': pixels of SCL >= 9 (high cloud, cirrus, snow; not
      shadow nor medium cloud) count as 0, a month without acquisitions takes
      all of the year, and 1 is added. 'clear': such pixels are left out, and
      a month without any clear one is not valid.

  Returns:
    (composite [12, C, Y, X] int16, clipped to its range; valid bool [12]:
    whether the month may be shown to a model. Of 'published' all are: the
    public model is trained on zeros and filled months as if they were seen.
    Of 'clear' those whose centre pixel was seen clear; others, and pixels
    beside it that were not, are 0.)

  Raises:
    ValueError: without acquisitions, or for another kind.

  Source: github.com/pallavijain-pj/TimeSenCLIP, src/Data/lucas_sen_data.py
  (MIT). 'clear' is the choice where zeros in a median are unwanted; the
  default reproduces the paper.
  """
  if kind not in KINDS:
    raise ValueError(f'There is no composite {kind!r}; there are {KINDS}.')
  if not len(counts):
    raise ValueError('There are no acquisitions.')
  clear = np.asarray(scene_class) < CLOUD_CLASS
  if kind == 'published':
    zeroed = np.where(clear[:, None], counts, 0)
    return _published(zeroed, months), np.ones(NUM_MONTHS, bool)
  return _clear(np.asarray(counts), clear, months)


def annual(counts, scene_class):
  """[C, Y, X] int16, the lower median over all acquisitions, clouds as 0.

  Unlike a month's it has no 1 added (the same source).
  """
  clear = np.asarray(scene_class) < CLOUD_CLASS
  return _as_int16(lower_median(np.where(clear[:, None], counts, 0)))


def lower_median(values):
  """[...] of [A, ...]: the lower of the two middle values where A is even."""
  middle = (len(values) - 1) // 2
  return np.partition(values, middle, axis=0)[middle]


def centre_crop(images, size):
  """The central [..., size, size] of [..., Y, X]; odd sizes have a centre.

  The start is Y // 2 - size // 2, as published: of 64 pixels, pixel 32 is
  the centre.

  Raises:
    ValueError: if the images are smaller.
  """
  whole = min(images.shape[-2:])
  if size > whole:
    raise ValueError(
      f'A crop of {size} x {size} pixels does not fit into '
      f'{images.shape[-2]} x {images.shape[-1]}; take at most '
      f'{whole}.'
    )
  y, x = (n // 2 - size // 2 for n in images.shape[-2:])
  return images[..., y : y + size, x : x + size]


def _published(zeroed, months):
  composite = [
    lower_median(zeroed[chosen] if chosen.any() else zeroed)
    for chosen in np.asarray(months).T
  ]
  return _as_int16(np.stack(composite).astype(np.int32) + 1)


def _clear(counts, clear, months):
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


def _as_int16(values):
  """Clipped: brighter than 3.2 is cloud or glint, whose value is unused."""
  limits = np.iinfo(np.int16)
  return np.clip(values, limits.min, limits.max).astype(np.int16)
