"""From a place on disk to what the pixel encoder reads, one step each.

Every transform returns a new dict and leaves its input alone. `aligning` and
`classifying` put the steps in order.
"""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import typing as npt

from fusion_jax.data import composites, labels
from fusion_jax.data.transforms import steps as steps_lib
from fusion_jax.types import Example, Statistics

BANDS = composites.BANDS
# Low and high percentiles of each band in Sen4Map, reflectance x 10,000; the
# public code calls them mean and std. Source: terratorch, datasets/sen4map.py.
LOW = np.array(
  [67.0, 122.0, 93.27, 158.5, 160.77, 174.27, 162.27, 149.0, 84.5, 66.27],
  np.float32,
)
HIGH = np.array(
  [
    2089.0,
    2598.45,
    3214.5,
    3620.45,
    4033.61,
    4613.0,
    4825.45,
    4945.72,
    5140.84,
    4414.45,
  ],
  np.float32,
)
SCALINGS = ('published', 'range')
# Fraction of a month's values that may be missing.
_MOST_MISSING = 0.5


def aligning(
  side: int,
  *,
  scaling: str = 'published',
  missing_bands: Sequence[str] = (),
  train: bool = True,
  fields: Sequence[str] = (),
) -> tuple[steps_lib.Map, ...]:
  """Returns the steps from a place to its pixels and the vectors of its photos.

  Args:
    side: pixels per side of the crop.
    scaling: how reflectance is scaled, 'published' or 'range', as `Scale`
      describes it.
    missing_bands: names of bands that the sensor lacks.
    train: whether a place without any photo is an error.
    fields: names of further fields to keep as they are, such as labels.
  """
  return (
    Crop(side),
    Scale(scaling, tuple(missing_bands)),
    Number(),
    MarkViews(required=train),
    steps_lib.Keep(('pixels', 'keep', 'views', 'has_photo', 'id', *fields)),
  )


def classifying(
  side: int,
  label: str,
  *,
  scaling: str = 'published',
  missing_bands: Sequence[str] = (),
) -> tuple[steps_lib.Map, ...]:
  """Returns the steps from a place to its pixels and one label, 'label'.

  Args:
    side: pixels per side of the crop.
    label: name of the field that holds the label.
    scaling: how reflectance is scaled, 'published' or 'range', as `Scale`
      describes it.
    missing_bands: names of bands that the sensor lacks.
  """
  return (
    Crop(side),
    Scale(scaling, tuple(missing_bands)),
    TakeLabel(label),
    steps_lib.Keep(('pixels', 'keep', 'label')),
  )


@dataclasses.dataclass(frozen=True)
class Crop(steps_lib.Map):
  """Cuts out the pixels around the centre.

  Reads and replaces 'pixels' [T, C, Y, X].

  Attributes:
    side: pixels per side of the crop.
  """

  side: int

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with cropped pixels.

    Raises:
      ValueError: if there are fewer pixels than the crop needs.
    """
    pixels = example['pixels']
    if pixels.shape[-1] < self.side or pixels.shape[-2] < self.side:
      raise ValueError(
        f'{example["key"]} has {pixels.shape[-2]} x {pixels.shape[-1]} '
        f'pixels, the model reads {self.side} x {self.side}; prepare the data '
        'with more pixels, or set config.model.side to '
        f'{min(pixels.shape[-2:])} or less.'
      )
    return {**example, 'pixels': composites.centre_crop(pixels, self.side)}


@dataclasses.dataclass(frozen=True)
class Scale(steps_lib.Map):
  """Scales reflectance to [0, 1] and marks the months that are present.

  Reads 'pixels' [T, C, Y, X], reflectance x 10,000, and 'valid' [T] bool if the
  example has it. Replaces 'pixels' by float32, and adds 'keep' [T] bool: the
  valid months with at least half of their values. A band without any value in
  the whole year says nothing about a month and does not count. Values that are
  missing (NaN) become 0, as a dropped band is in training.

  Attributes:
    scaling: 'published' is (x - low) / high, as in the public code; 'range' is
      (x - low) / (high - low), as in terratorch. Both are clipped to [0, 1], in
      evaluation too, where the newest public code does not clip.
    missing: names of bands that are missing everywhere; the values in their
      place are ignored.

  Raises:
    ValueError: if there is no such scaling or band.
  """

  scaling: str = 'published'
  missing: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    if self.scaling not in SCALINGS:
      raise ValueError(f'scaling={self.scaling!r} is not one of {SCALINGS}.')
    if unknown := sorted(set(self.missing) - set(BANDS)):
      raise ValueError(
        f'There is no band {unknown}; choose missing bands of {BANDS}.'
      )

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with scaled pixels and 'keep'.

    Raises:
      ValueError: if the example has other bands, or reflectance on another
        scale.
    """
    pixels, keep = self.prepare(
      example['pixels'], example.get('valid', True), example['key']
    )
    return {**example, 'pixels': pixels, 'keep': keep}

  def prepare(
    self, pixels: npt.ArrayLike, valid: npt.ArrayLike, name: str
  ) -> tuple[np.ndarray, np.ndarray]:
    """Scales the pixels of one place or, with leading axes, of many.

    Args:
      pixels: [..., T, C, Y, X], reflectance x 10,000; NaN where missing.
      valid: bool, [..., T] or of a shape that broadcasts to it, True for months
        that may be shown.
      name: name of the place in error messages. With '' the scale is not
        checked, because a few dark pixels do not tell it.

    Returns:
      Pixels [..., T, C, Y, X] float32 in [0, 1], and which months to keep,
      [..., T] bool.

    Raises:
      ValueError: if there are other bands, or reflectance on another scale.
    """
    pixels = np.asarray(pixels, np.float32)
    if pixels.shape[-3] != len(BANDS):
      raise ValueError(
        f'{name} has {pixels.shape[-3]} bands, but must have '
        f'{", ".join(BANDS)}, in this order.'
      )
    if name:
      check_scale(pixels, name)
    present = np.isfinite(pixels)
    present[..., [BANDS.index(band) for band in self.missing], :, :] = False
    scaled = scale(np.where(present, pixels, 0), self.scaling)
    return (
      np.where(present, scaled, np.float32(0)),
      _known(present) & np.asarray(valid, bool),
    )


@dataclasses.dataclass(frozen=True)
class MarkViews(steps_lib.Map):
  """Marks the photos that exist.

  Reads 'views' [V, D], vectors of photos, NaN where there is no photo. Replaces
  them by float32 with 0 in place of NaN, and adds 'has_photo' [V] bool, True
  for photos that exist.

  Attributes:
    required: whether a place must have at least one photo.
  """

  required: bool = True

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with 'views' and 'has_photo'.

    Raises:
      ValueError: if the place has no photo and must have one.
    """
    views = np.asarray(example['views'], np.float32)
    exists = np.asarray(np.isfinite(views).all(axis=-1))
    if self.required and not exists.any():
      raise ValueError(
        f'{example["key"]} has no photo; prepare the training split from '
        'places with photos only.'
      )
    return {
      **example,
      'has_photo': exists,
      'views': np.where(exists[:, None], views, np.float32(0)),
    }


@dataclasses.dataclass(frozen=True)
class Number(steps_lib.Map):
  """Adds 'id' int32, a hash of 'key', which is equal for equal places."""

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with 'id'."""
    number = zlib.crc32(str(example['key']).encode())
    return {**example, 'id': np.uint32(number).astype(np.int32)}


@dataclasses.dataclass(frozen=True)
class TakeLabel(steps_lib.Map):
  """Adds 'label' int32, the label of one task; -1 for no class.

  Attributes:
    field: name of the field that holds the label.
  """

  field: str

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with 'label'."""
    return {**example, 'label': np.int32(example[self.field])}


def _known(present: np.ndarray) -> np.ndarray:
  """Returns the months with at least half of the values of their bands.

  Args:
    present: [..., T, C, Y, X] bool, True for values that are not missing.

  Returns:
    [..., T] bool.
  """
  with_values = np.asarray(present.any(axis=(-4, -2, -1)))
  number = np.sum(with_values, axis=-1, keepdims=True)
  values = present.mean(axis=(-2, -1)).sum(axis=-1)
  return (values >= (1 - _MOST_MISSING) * number) & (number > 0)


def class_names(statistics: Statistics, label: str) -> tuple[str, ...]:
  """Returns the names of a label's classes, in the order of its values.

  Args:
    statistics: statistics of a data set. If it has 'classes', {name of a label:
      names of its classes}, these count, otherwise those of data/labels.py.
    label: name of the label.

  Raises:
    ValueError: if there is no such label.
  """
  known = statistics.get('classes', {})
  if label in known:
    return tuple(known[label])
  if label not in labels.TASKS:
    raise ValueError(
      f'The data set has no label {label!r}; choose one of '
      f'{", ".join(sorted({*known, *labels.TASKS}))}, or another data set.'
    )
  return labels.classes(label)


def scale(pixels: np.ndarray, scaling: str = 'published') -> np.ndarray:
  """Scales reflectance to [0, 1].

  Args:
    pixels: [..., C, Y, X], reflectance x 10,000.
    scaling: 'published' or 'range', as `Scale` describes them.

  Returns:
    [..., C, Y, X] float32, clipped to [0, 1].
  """
  low, high = (x[:, None, None] for x in (LOW, HIGH))
  spread = high if scaling == 'published' else high - low
  return np.clip((pixels - low) / spread, 0, 1).astype(np.float32)


def check_scale(pixels: np.ndarray, name: str) -> None:
  """Raises an error if values look like reflectance from 0 to 1.

  Args:
    pixels: [...] float, which should be reflectance x 10,000; NaN is ignored.
    name: name of the example in the error message.

  Raises:
    ValueError: if no value is above 2, and not all are whole numbers.
  """
  known = pixels[np.isfinite(pixels)]
  if known.size and 0 < known.max() <= 2 and (known % 1).any():
    raise ValueError(
      f'{name} has reflectance up to {known.max():.3g}, but must have '
      'reflectance x 10,000. Multiply it by 10,000, or prepare the data again.'
    )
