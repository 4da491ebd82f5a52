"""Squares that cover images side by side, and the columns that are held out.

Some data sets have too few scenes to set any aside. Of these, the eastern third
of every scene is held out: training sees no column of it, and the evaluation
sees nothing else.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fusion_jax.data import mixtures
from fusion_jax.types import Example, Source

# From the width of an image in pixels to the (first, end) of some columns.
Columns = Callable[[int], tuple[int, int]]
_TRIES = 1_000


def west(width: int) -> tuple[int, int]:
  """Returns (first, end) of the columns to train on if the east is held out."""
  return 0, 2 * width // 3


def east(width: int) -> tuple[int, int]:
  """Returns (first, end) of the columns held out: the eastern third."""
  return 2 * width // 3, width


def everywhere(width: int) -> tuple[int, int]:
  """Returns (first, end) of all columns."""
  return 0, width


class Joined:
  """Several sources of examples, one after the other."""

  def __init__(self, *sources: Source) -> None:
    """Joins sources.

    Args:
      *sources: sources of examples, in the order of their numbers.
    """
    self._sources = sources

  def __len__(self) -> int:
    """Returns the number of examples in all sources."""
    return sum(map(len, self._sources))

  def __getitem__(self, index: int) -> Example:
    """Returns example number `index`, counted over all sources."""
    for source in self._sources:
      if index < len(source):
        return source[index]
      index -= len(source)
    raise IndexError(index)

  def __repr__(self) -> str:
    return ' + '.join(map(repr, self._sources))


@dataclasses.dataclass(frozen=True)
class Having:
  """A source in which every example has a certain image.

  An example without the image, of Sentinel-1 for instance, is replaced by
  another one that has it. The replacement is drawn from the number of the
  example and is always the same, so nothing has to be searched before training
  starts.

  Attributes:
    source: source of examples.
    field: name of the field that holds the image.
  """

  source: Source
  field: str

  def __len__(self) -> int:
    """Returns the number of examples."""
    return len(self.source)

  def __getitem__(self, index: int) -> Example:
    """Returns example number `index`, or its replacement.

    Raises:
      ValueError: if hardly any example has the image.
    """
    example = self.source[index]
    if not _lacks(example, self.field):
      return example
    rng = np.random.default_rng(index)
    for other in rng.integers(len(self.source), size=_TRIES):
      example = self.source[other]
      if not _lacks(example, self.field):
        return example
    raise ValueError(
      f'{_TRIES} examples of {self.source} have no {self.field}; prepare the '
      'data with it, or train another modality.'
    )


def having(source: Source, field: str) -> Source:
  """Returns a source, or a mixture of sources, all examples with an image.

  Args:
    source: source of examples.
    field: name of the field that holds the image.
  """
  if isinstance(source, mixtures.Mixture):
    return source.map(lambda part: Having(part, field))
  return Having(source, field)


class Tiles:
  """Squares that cover some columns of every image.

  If an image does not divide into squares, the last square of a row or column
  overlaps the one before it; 'counted' marks the pixels that are its own, so
  that each pixel counts once.

  An example is a dict: the image [Y, X, C] under the name of its field,
  'counted' [Y, X] bool, 'scene' int32 (number of the image, counted from 0) and
  'corner' [2] int32, the first row and column of the square in the image.

  Attributes:
    scenes: (key of the example, corner, shape) of what is covered, one entry
      for each image; corner and shape are (rows, columns) in pixels.
  """

  scenes: list[tuple[str, tuple[int, int], tuple[int, int]]]

  def __init__(
    self,
    source: Source,
    field: str,
    size: int,
    columns: Columns = everywhere,
    num_examples: int | None = None,
  ) -> None:
    """Reads every example once, to learn the size of its image.

    Args:
      source: source of examples; those without the image are left out.
      field: name of the field that holds the image.
      size: pixels per side of the squares.
      columns: function from the width of an image to the columns to cover.
      num_examples: number of images to cover, from the start of the source; all
        of them by default.

    Raises:
      ValueError: if an image is smaller than a square, or if no example has the
        image.
    """
    self._source, self._field, self._size = source, field, size
    self.scenes = []
    # (example, scene, top, left, first own row, first own column) by square.
    self._places: list[tuple[int, int, int, int, int, int]] = []
    for index in range(len(source)):
      if len(self.scenes) == (num_examples or len(source)):
        break
      example = source[index]
      if not _lacks(example, field):
        self._cover(index, example, columns)
    if not self._places:
      raise ValueError(
        f'No example of {source} has {field}; prepare the data with it.'
      )

  def _cover(self, index: int, example: Example, columns: Columns) -> None:
    """Adds the squares of one image."""
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

  def __len__(self) -> int:
    """Returns the number of squares."""
    return len(self._places)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Returns square number `index`, counted over all images."""
    example, scene, top, left, from_row, from_column = self._places[index]
    size = self._size
    counted = np.zeros((size, size), bool)
    counted[from_row:, from_column:] = True
    image = self._source[example][self._field]
    return {
      self._field: image[top : top + size, left : left + size],
      'counted': counted,
      'scene': np.int32(scene),
      'corner': np.array([top, left], np.int32),
    }


def check_room(
  example: Example, field: str, shape: tuple[int, int], size: int
) -> None:
  """Raises an error if squares do not fit into an image.

  Args:
    example: example whose key the error names.
    field: name of the field that holds the image.
    shape: (rows, columns) that squares may cover, in pixels.
    size: pixels per side of the squares.

  Raises:
    ValueError: if `shape` has fewer than `size` rows or columns.
  """
  if min(shape) < size:
    raise ValueError(
      f'{field} of example {example["key"]!r} has {shape[0]} x {shape[1]} '
      f'pixels for squares of {size}; set config.image_size to '
      f'{max(min(shape) // 32 * 32, 32)} or less.'
    )


def _starts(length: int, size: int) -> Iterator[tuple[int, int]]:
  """Yields the starts of squares along one axis.

  Each comes with the first pixel of its square that no earlier one covers.
  """
  covered = 0
  while covered < length:
    start = min(covered, length - size)
    yield start, covered - start
    covered = start + size


def _lacks(example: Example, field: str) -> bool:
  """Returns whether an example has an empty image."""
  return not example[field].size
