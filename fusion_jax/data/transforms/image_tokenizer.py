"""Squares of one sensor's images: at random to train, side by side to judge.

Some data sets are too few scenes to set any aside. There every scene's eastern
third is held out: training sees no column of it, the evaluation nothing else.
"""

import dataclasses
from typing import Any

import grain
import numpy as np

from fusion_jax import modalities as modality_table

_TRIES = 1_000


def west(width):
  """(first, end) of the columns that train where the east is held out."""
  return 0, 2 * width // 3


def east(width):
  """(first, end) of the columns held out: the eastern third, rounded up."""
  return 2 * width // 3, width


def everywhere(width):
  """(first, end) of all columns."""
  return 0, width


class Joined:
  """Several sources one after the other: `len`, and `[i]`."""

  def __init__(self, *sources):
    self._sources = sources

  def __len__(self):
    return sum(map(len, self._sources))

  def __getitem__(self, index):
    for source in self._sources:
      if index < len(source):
        return source[index]
      index -= len(source)
    raise IndexError(index)

  def __repr__(self):
    return ' + '.join(map(repr, self._sources))


@dataclasses.dataclass(frozen=True)
class Having:
  """A source in which every example has the image: `len`, and `[i]`.

  In place of an example without it, of Sentinel-1 for instance, stands another
  that has it, always the same: drawn by its number. So nothing has to be
  searched before training starts.

  Attributes:
    source: examples, `len` and `[i]`.
    field: of the image.
  """

  source: Any
  field: str

  def __len__(self):
    return len(self.source)

  def __getitem__(self, index):
    example = self.source[index]
    if not _lacks(example, self.field):
      return example
    rng = np.random.default_rng(index)
    for other in rng.integers(len(self.source), size=_TRIES):
      example = self.source[other]
      if not _lacks(example, self.field):
        return example
    raise ValueError(
      f'{_TRIES} examples of {self.source} have no '
      f'{self.field}; prepare the data with it, or train '
      'another modality.'
    )


class Tiles:
  """Squares that cover some columns of every image: `len`, and `[i]`.

  Where an image does not divide, the last square of a row or column lies over
  the one before it; `counted` says which pixels are its own, so that each
  pixel counts once.

  Each is a dict: the image [Y, X, C] under its field, 'counted' [Y, X] bool,
  'scene', the number of the example, and 'corner' [2], its first row and
  column in it.
  """

  def __init__(
    self, source, field, size, columns=everywhere, num_examples=None
  ):
    """Reads every example once, for its size.

    Args:
      source: examples, `len` and `[i]`; those without the image are left out.
      field: of the image.
      size: pixels a side of the squares.
      columns: from the width of an image to (first, end) of what is covered.
      num_examples: the first so many that have the image; all by default.

    Raises:
      ValueError: if an image is smaller than a square, or if none has it.
    """
    self._source, self._field, self._size = source, field, size
    self.scenes = []  # (key, corner, shape) of what is covered, by scene.
    self._places = []
    for index in range(len(source)):
      if len(self.scenes) == (num_examples or len(source)):
        break
      example = source[index]
      if not _lacks(example, field):
        self._cover(index, example, columns)
    if not self._places:
      raise ValueError(f'No example of {source} has {field}.')

  def _cover(self, index, example, columns):
    height, width = example[self._field].shape[:2]
    first, end = columns(width)
    check_room(example, self._field, (height, end - first), self._size)
    scene = len(self.scenes)
    self.scenes.append((example['key'], (0, first), (height, end - first)))
    for top, from_row in _starts(height, self._size):
      for left, from_column in _starts(end - first, self._size):
        self._places.append(
          (index, scene, top, left + first, from_row, from_column)
        )

  def __len__(self):
    return len(self._places)

  def __getitem__(self, i):
    index, scene, top, left, from_row, from_column = self._places[i]
    size = self._size
    counted = np.zeros((size, size), bool)
    counted[from_row:, from_column:] = True
    image = self._source[index][self._field]
    return {
      self._field: image[top : top + size, left : left + size],
      'counted': counted,
      'scene': np.int32(scene),
      'corner': np.array([top, left], np.int32),
    }


@dataclasses.dataclass(frozen=True)
class RandomTile(grain.transforms.RandomMap):
  """Cuts a square of the image at random. Reads and replaces it.

  Attributes:
    field: of the image.
    size: pixels a side.
    columns: from the width of an image to (first, end) of where it may lie.
  """

  field: str
  size: int
  columns: Any = everywhere

  def random_map(self, example, rng):
    image = example[self.field]
    height, width = image.shape[:2]
    first, end = self.columns(width)
    check_room(example, self.field, (height, end - first), self.size)
    top = int(rng.integers(height - self.size + 1))
    left = first + int(rng.integers(end - first - self.size + 1))
    cut = image[top : top + self.size, left : left + self.size]
    return {**example, self.field: cut}


@dataclasses.dataclass(frozen=True)
class Flip(grain.transforms.RandomMap):
  """Mirrors half of the images from west to east, as TerraMind does.

  Attributes:
    field: of the image [Y, X, C], which is replaced.
    turn: whether to draw one of all eight flips and quarter turns instead.
  """

  field: str
  turn: bool = False

  def random_map(self, example, rng):
    image = example[self.field]
    if rng.integers(2):
      image = image[:, ::-1]
    if self.turn:
      image = np.rot90(image, rng.integers(4))
    return {**example, self.field: np.ascontiguousarray(image)}


@dataclasses.dataclass(frozen=True)
class Standardise(grain.transforms.Map):
  """Subtracts each band's mean and divides by its standard deviation.

  Reads the image; adds 'image' [Y, X, C] float32, of classes [Y, X, 1] int32,
  and 'present' [Y, X] bool, False where a band has no value (NaN), which
  becomes its mean.

  Attributes:
    modality: `Modality` of the tokens.
    mean: [C], of the stored values.
    std: [C].
  """

  modality: modality_table.Modality
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def map(self, example):
    return {
      **example,
      **standardise(
        example[self.modality.field], self.modality, self.mean, self.std
      ),
    }


@dataclasses.dataclass(frozen=True)
class DrawNoise(grain.transforms.RandomMap):
  """Draws how much noise the diffusion decoder is shown, and which.

  Adds 'step', int32 in 0 .. num_steps - 1, and 'noise', uint32, the seed of
  the noise: so both belong to example and epoch, on any number of devices and
  in any micro-batches.

  Attributes:
    num_steps: of the noise schedule.
    last_share: of the examples that are shown the last step, noise alone.
  """

  num_steps: int
  last_share: float = 0.0

  def __post_init__(self):
    if not 0 <= self.last_share <= 1:
      raise ValueError(f'last_share={self.last_share} is not a share, 0..1.')

  def random_map(self, example, rng):
    step = int(rng.integers(self.num_steps))
    if rng.uniform() < self.last_share:
      step = self.num_steps - 1
    return {
      **example,
      'step': np.int32(step),
      'noise': rng.integers(2**32, dtype=np.uint32),
    }


@dataclasses.dataclass(frozen=True)
class Keep(grain.transforms.Map):
  """Drops every field but these."""

  fields: tuple[str, ...]

  def map(self, example):
    return {field: example[field] for field in self.fields if field in example}


def standardise(image, modality, mean, std):
  """The 'image' and 'present' of `Standardise`, from [..., Y, X, C].

  Raises:
    ValueError: for another number of bands, or a class that does not exist.
  """
  image = np.asarray(image)
  if image.ndim < 3 or image.shape[-1] != len(modality.bands):
    raise ValueError(
      f'{modality.field} is {image.shape}; wanted is [rows, columns, '
      f'{len(modality.bands)}], the bands {", ".join(modality.bands)}.'
    )
  if is_classes(modality):
    if image.size and image.max() >= NUM_CLASSES:
      raise ValueError(
        f'{modality.field} has a class {image.max()}; there are '
        f'0..{NUM_CLASSES - 1}.'
      )
    return {
      'image': image.astype(np.int32),
      'present': np.ones(image.shape[:-1], bool),
    }
  values = (image - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
  finite = np.isfinite(values)
  return {
    'image': np.where(finite, values, 0).astype(np.float32),
    'present': finite.all(-1),
  }


NUM_CLASSES = 10  # Of LULC, 0 (no data) included.


def is_classes(modality):
  """Whether pixels are classes, not quantities."""
  return modality.field == 'LULC'


def check_room(example, field, shape, size):
  """Raises a ValueError if squares of `size` do not fit into `shape`."""
  if min(shape) < size:
    raise ValueError(
      f'{field} of example {example["key"]!r} has {shape[0]} x {shape[1]} '
      f'pixels for squares of {size}; set config.image_size to '
      f'{max(min(shape) // 32 * 32, 32)} or less.'
    )


def _starts(length, size):
  """(start, first pixel not covered before) of the squares along one side."""
  covered = 0
  while covered < length:
    start = min(covered, length - size)
    yield start, covered - start
    covered = start + size


def _lacks(example, field):
  return not example[field].size
