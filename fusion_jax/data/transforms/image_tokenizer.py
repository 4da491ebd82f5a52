"""Squares of one sensor's images, as an image tokenizer is trained on them.

Every transform returns a new dict and leaves its input alone.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import typing as npt

from fusion_jax import modalities as modality_table
from fusion_jax.data.transforms import steps, tiles
from fusion_jax.types import Example

NUM_CLASSES = 10  # Classes of LULC, 0 (no data) included.


@dataclasses.dataclass(frozen=True)
class RandomTile(steps.RandomMap):
  """Cuts a square out of an image at random; reads and replaces the image.

  Attributes:
    field: name of the field that holds the image [Y, X, C].
    size: pixels per side of the square.
    columns: function from the width of an image to the columns in which the
      square may lie.
  """

  field: str
  size: int
  columns: tiles.Columns = tiles.everywhere

  def random_map(
    self, example: Example, rng: np.random.Generator
  ) -> dict[str, Any]:
    """Returns the example with a square of its image.

    Raises:
      ValueError: if the image is smaller than the square.
    """
    image = example[self.field]
    height, width = image.shape[:2]
    first, end = self.columns(width)
    tiles.check_room(example, self.field, (height, end - first), self.size)
    top = int(rng.integers(height - self.size + 1))
    left = first + int(rng.integers(end - first - self.size + 1))
    cut = image[top : top + self.size, left : left + self.size]
    return {**example, self.field: cut}


@dataclasses.dataclass(frozen=True)
class Flip(steps.RandomMap):
  """Mirrors half of the images from west to east, as TerraMind does.

  Attributes:
    field: name of the field that holds the image [Y, X, C], which is replaced.
    turn: whether to draw one of all eight flips and quarter turns instead.
  """

  field: str
  turn: bool = False

  def random_map(
    self, example: Example, rng: np.random.Generator
  ) -> dict[str, Any]:
    """Returns the example with its image flipped or not."""
    image = example[self.field]
    if rng.integers(2):
      image = image[:, ::-1]
    if self.turn:
      image = np.rot90(image, int(rng.integers(4)))
    return {**example, self.field: np.ascontiguousarray(image)}


@dataclasses.dataclass(frozen=True)
class Standardise(steps.Map):
  """Subtracts the mean of each band and divides by its standard deviation.

  Reads the image. Adds 'image', [Y, X, C] float32, or [Y, X, 1] int32 for
  classes; and 'present' [Y, X] bool, False where a band has no value (NaN).
  Such a value becomes the mean of its band.

  Attributes:
    modality: modality whose image is read.
    mean: [C], mean of each band in the stored unit.
    std: [C], standard deviation of each band in the stored unit.
  """

  modality: modality_table.Modality
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with 'image' and 'present'.

    Raises:
      ValueError: if the image has another number of bands, or a class that does
        not exist.
    """
    return {
      **example,
      **standardise(
        example[self.modality.field], self.modality, self.mean, self.std
      ),
    }


@dataclasses.dataclass(frozen=True)
class DrawNoise(steps.RandomMap):
  """Draws how much noise, and which noise, the diffusion decoder is shown.

  Adds 'step', int32 in 0 .. num_steps - 1, and 'noise', uint32, the seed of the
  noise. Both thus belong to an example and an epoch, on any number of devices
  and in any micro-batches.

  Attributes:
    num_steps: number of steps of the noise schedule.
    last_share: fraction of the examples that are shown the last step, which is
      pure noise, 0..1.
  """

  num_steps: int
  last_share: float = 0.0

  def __post_init__(self) -> None:
    if not 0 <= self.last_share <= 1:
      raise ValueError(
        f'last_share={self.last_share} is not a share; give a number from 0 to '
        '1.'
      )

  def random_map(
    self, example: Example, rng: np.random.Generator
  ) -> dict[str, Any]:
    """Returns the example with 'step' and 'noise'."""
    step = int(rng.integers(self.num_steps))
    if rng.uniform() < self.last_share:
      step = self.num_steps - 1
    return {
      **example,
      'step': np.int32(step),
      'noise': rng.integers(2**32, dtype=np.uint32),
    }


@dataclasses.dataclass(frozen=True)
class Keep(steps.Map):
  """Drops every field but some; an example may lack some of these.

  Attributes:
    fields: names of the fields to keep.
  """

  fields: tuple[str, ...]

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with these fields only."""
    return {field: example[field] for field in self.fields if field in example}


def standardise(
  image: npt.ArrayLike,
  modality: modality_table.Modality,
  mean: Sequence[float] | np.ndarray,
  std: Sequence[float] | np.ndarray,
) -> dict[str, np.ndarray]:
  """Standardises images, as `Standardise` does.

  Args:
    image: [..., Y, X, C] in the stored unit; NaN where missing.
    modality: modality of the image.
    mean: [C], mean of each band in the stored unit.
    std: [C], standard deviation of each band in the stored unit.

  Returns:
    'image', [..., Y, X, C] float32 (int32 for classes), and 'present',
    [..., Y, X] bool.

  Raises:
    ValueError: if the image has another number of bands, or a class that does
      not exist.
  """
  image = np.asarray(image)
  if image.ndim < 3 or image.shape[-1] != len(modality.bands):
    raise ValueError(
      f'{modality.field} is {image.shape}, but must be [rows, columns, '
      f'{len(modality.bands)}] with the bands {", ".join(modality.bands)}.'
    )
  if is_classes(modality):
    if image.size and image.max() >= NUM_CLASSES:
      raise ValueError(
        f'{modality.field} has a class {image.max()}, but classes must be in '
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
    'present': np.asarray(finite.all(-1)),
  }


def is_classes(modality: modality_table.Modality) -> bool:
  """Returns whether the pixels of a modality are classes, not quantities."""
  return modality.field == 'LULC'
