"""From a place on disk to what the pixel encoder reads, one step each.

Every transform returns a new dict and leaves its input alone. `aligning` and
`classifying` put the steps in order.
"""

import dataclasses
import zlib

import grain
import numpy as np

from fusion_jax.data import composites, labels
from fusion_jax.data.transforms import pretrain as pretrain_transforms

BANDS = composites.BANDS
# Low and high percentiles of Sen4Map, reflectance x 10,000, band by band; the
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
_MOST_MISSING = 0.5  # Share of a month's values.


def aligning(
  side, *, scaling='published', missing_bands=(), train=True, fields=()
):
  """The steps to pixels and the views of a place.

  Args:
    side: k, pixels of the crop.
    scaling: see `Scale`.
    missing_bands: names of bands that the sensor lacks.
    train: whether a place without any photo is an error.
    fields: to keep as they are, such as labels.
  """
  return (
    Crop(side),
    Scale(scaling, tuple(missing_bands)),
    Number(),
    MarkViews(required=train),
    pretrain_transforms.Keep(
      ('pixels', 'keep', 'views', 'there', 'id', *fields)
    ),
  )


def classifying(side, label, *, scaling='published', missing_bands=()):
  """The steps to pixels and one label, called 'label'; see `aligning`."""
  return (
    Crop(side),
    Scale(scaling, tuple(missing_bands)),
    TakeLabel(label),
    pretrain_transforms.Keep(('pixels', 'keep', 'label')),
  )


class Remembered:
  """Examples after steps without draws, each computed once and kept.

  Reading and scaling a place takes as long as training on it with a small
  model. One of 1 x 1 pixels takes 13 kB.

  Args:
    source: `len` and `[i]`.
    steps: as of `aligning`.
  """

  def __init__(self, source, steps):
    self._source = source
    self._steps = steps
    self._found = {}

  def __len__(self):
    return len(self._source)

  def __repr__(self):
    return repr(self._source)

  def __getitem__(self, i):
    i = int(i)
    if i not in self._found:
      example = self._source[i]
      for step in self._steps:
        example = step.map(example)
      self._found[i] = example
    return self._found[i]


@dataclasses.dataclass(frozen=True)
class Crop(grain.transforms.Map):
  """Cuts the k x k pixels around the centre.

  Reads and replaces `pixels` [T, C, Y, X].
  """

  side: int

  def map(self, example):
    pixels = example['pixels']
    if pixels.shape[-1] < self.side or pixels.shape[-2] < self.side:
      raise ValueError(
        f'{example["key"]} has {pixels.shape[-2]} x {pixels.shape[-1]} '
        f'pixels, the model reads {self.side} x {self.side}; prepare the '
        'data with more, or set config.model.side to what there is.'
      )
    return {**example, 'pixels': composites.centre_crop(pixels, self.side)}


@dataclasses.dataclass(frozen=True)
class Scale(grain.transforms.Map):
  """Brings reflectance to [0, 1] and marks the months that are there.

  Reads `pixels` [T, C, Y, X], reflectance x 10,000, and `valid` bool [T]
  where the example has it. Replaces `pixels` by float32, and adds `keep` bool
  [T]: the valid months with at least half of their values; a band without any
  value in the whole year says nothing about a month and does not count. What is
  missing (NaN) in these is 0, as a dropped band is in training.

  Attributes:
    scaling: 'published', (x - low) / high, as the public code; or 'range',
      (x - low) / (high - low), as terratorch. Both are clipped, also in
      evaluation, where the newest public code does not.
    missing: names of bands that are missing everywhere; whatever stands in
      their place is ignored.

  Raises:
    ValueError: for an unknown scaling or band; later for other bands, or
      reflectance on another scale.
  """

  scaling: str = 'published'
  missing: tuple[str, ...] = ()

  def __post_init__(self):
    if self.scaling not in SCALINGS:
      raise ValueError(f'scaling={self.scaling!r} is not one of {SCALINGS}.')
    if unknown := sorted(set(self.missing) - set(BANDS)):
      raise ValueError(f'There is no band {unknown}; there are {BANDS}.')

  def map(self, example):
    pixels, keep = self.prepare(
      example['pixels'], example.get('valid', True), example['key']
    )
    return {**example, 'pixels': pixels, 'keep': keep}

  def prepare(self, pixels, valid, name):
    """Pixels and `keep` of one place or, with leading axes, of many.

    Args:
      pixels: [..., T, C, Y, X].
      valid: bool, [..., T] or what broadcasts to it.
      name: for messages; '' does not look at the scale, which is not to be
        told from a few dark pixels.
    """
    pixels = np.asarray(pixels, np.float32)
    if pixels.shape[-3] != len(BANDS):
      raise ValueError(
        f'{name} has {pixels.shape[-3]} bands; wanted are '
        f'{", ".join(BANDS)}, in this order.'
      )
    if name:
      check_scale(pixels, name)
    there = np.isfinite(pixels)
    there[..., [BANDS.index(band) for band in self.missing], :, :] = False
    scaled = scale(np.where(there, pixels, 0), self.scaling)
    return (
      np.where(there, scaled, np.float32(0)),
      _known(there) & np.asarray(valid, bool),
    )


@dataclasses.dataclass(frozen=True)
class MarkViews(grain.transforms.Map):
  """Marks the photos that are there.

  Reads `views` [V, D], NaN where there is no photo. Replaces them by float32
  with 0 there, and adds `there` bool [V].
  """

  required: bool = True  # Whether a place must have at least one.

  def map(self, example):
    views = np.asarray(example['views'], np.float32)
    there = np.isfinite(views).all(axis=-1)
    if self.required and not there.any():
      raise ValueError(
        f'{example["key"]} has no photo; prepare the training split from '
        'places with photos only.'
      )
    return {
      **example,
      'there': there,
      'views': np.where(there[:, None], views, np.float32(0)),
    }


@dataclasses.dataclass(frozen=True)
class Number(grain.transforms.Map):
  """Adds `id`, int32, a hash of `key`: equal for the same place."""

  def map(self, example):
    number = zlib.crc32(str(example['key']).encode())
    return {**example, 'id': np.uint32(number).astype(np.int32)}


@dataclasses.dataclass(frozen=True)
class TakeLabel(grain.transforms.Map):
  """Calls the field of one label 'label', int32, -1 for none."""

  field: str

  def map(self, example):
    return {**example, 'label': np.int32(example[self.field])}


def _known(there):
  """Months [..., T] with at least half of the values of their bands."""
  number = there.any(axis=(-4, -2, -1)).sum(axis=-1)[..., None]
  values = there.mean(axis=(-2, -1)).sum(axis=-1)
  return (values >= (1 - _MOST_MISSING) * number) & (number > 0)


def class_names(statistics, label):
  """Names of a label's classes, in the order of its values.

  Args:
    statistics: of a data set; where it has `classes`, {label: names}, these
      count, else those of data/labels.py.
    label: name.
  """
  known = statistics.get('classes', {})
  return tuple(known[label] if label in known else labels.classes(label))


def scale(pixels, scaling='published'):
  """Reflectance x 10,000 [..., C, Y, X] to [0, 1]; see `Scale`."""
  low, high = (x[:, None, None] for x in (LOW, HIGH))
  spread = high if scaling == 'published' else high - low
  return np.clip((pixels - low) / spread, 0, 1).astype(np.float32)


def check_scale(pixels, name):
  """Raises if values look like reflectance from 0 to 1.

  Args:
    pixels: of any shape, reflectance x 10,000; NaN is ignored.
    name: of the example, for the message.

  Raises:
    ValueError: if no value is above 2, and not all are whole numbers.
  """
  known = pixels[np.isfinite(pixels)]
  if known.size and 0 < known.max() <= 2 and (known % 1).any():
    raise ValueError(
      f'{name} has reflectance up to {known.max():.3g}; wanted is reflectance'
      ' x 10,000. Multiply it, or prepare the data again.'
    )
