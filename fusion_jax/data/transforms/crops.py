"""Cuts the same square out of all images and codes of an example."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.data.transforms import steps
from fusion_jax.types import Example

Modalities = Sequence[modality_table.Modality]
_PATCH = modality_table.PATCH
# Field with the first row and column of every tokenised square, [squares, 2]
# pixels.
CORNERS = 'codes/corners'


@dataclasses.dataclass(frozen=True)
class RandomCrop(steps.RandomMap):
  """Cuts the same square at random out of all images of an example.

  Reads and replaces the images and codes of `selected`. Codes belong to the
  squares that were tokenised (see `data/builders/codes.py`): if an example has
  such squares, one of them is drawn, and within it the crop moves by whole
  patches.

  Attributes:
    selected: modalities of the model.
    size: pixels per side of the crop, a multiple of the patch.
  """

  selected: Modalities
  size: int

  def random_map(self, example: Example, rng: np.random.Generator) -> Example:
    """Returns the example with its images and codes cropped.

    Raises:
      ValueError: if the images or codes differ in size, or are too small.
    """
    return _crop(
      example,
      self.selected,
      self.size,
      lambda count: int(rng.integers(count)),
      lambda spare: int(rng.integers(spare + 1)),
    )


@dataclasses.dataclass(frozen=True)
class CentreCrop(steps.Map):
  """Cuts the same square out of the centre of all images of an example.

  Reads and replaces the images and codes of `selected`. Of the squares that
  were tokenised, the first one is at the centre.

  Attributes:
    selected: modalities of the model.
    size: pixels per side of the crop, a multiple of the patch.
  """

  selected: Modalities
  size: int

  def map(self, example: Example) -> Example:
    """Returns the example with its images and codes cropped.

    Raises:
      ValueError: if the images or codes differ in size, or are too small.
    """
    return _crop(
      example,
      self.selected,
      self.size,
      lambda count: 0,
      lambda spare: spare // 2,
    )


def field(modality: modality_table.Modality) -> str:
  """Returns the field of an example that holds an image's pixels or codes."""
  if modality.kind == 'tokens':
    return f'codes/{modality.name}'
  return modality.field


def is_present(example: Example, modality: modality_table.Modality) -> bool:
  """Returns whether an example has any data of a modality."""
  if modality.is_sequence:
    return modality.name in example.get('ids', {})
  return field(modality) in example and example[field(modality)].size > 0


def _crop(
  example: Example,
  selected: Modalities,
  size: int,
  choose: Callable[[int], int],
  move: Callable[[int], int],
) -> Example:
  """Returns an example with the same square of all its images and codes.

  Args:
    example: example with images [Y, X, C] and codes [squares, rows, columns].
    selected: modalities of the model.
    size: pixels per side of the square.
    choose: function from the number of tokenised squares to the one to use.
    move: function from the number of spare pixels or patches along an axis to
      the offset of the square.
  """
  images = [
    m.field for m in selected if m.kind == 'image' and is_present(example, m)
  ]
  codes = {
    field(m): _by_square(example[field(m)])
    for m in selected
    if m.kind == 'tokens' and is_present(example, m)
  }
  if not images and not codes:
    return example
  cropped, grid, square, offsets = {}, (0, 0), 0, [0, 0]
  if codes:
    grid = _common_size(
      example, {name: x.shape[1:] for name, x in codes.items()}, size // _PATCH
    )
    square = choose(len(next(iter(codes.values()))))
    offsets = [move(n - size // _PATCH) for n in grid]
    window = _window(offsets, size // _PATCH)
    cropped |= {name: x[square][window] for name, x in codes.items()}
  if images:
    extent = _common_size(
      example, {name: example[name].shape[:2] for name in images}, size
    )
    if codes:
      corner = _corner(example, square, extent, grid)
      offsets = [start + n * _PATCH for start, n in zip(corner, offsets)]
    else:
      offsets = [move(n - size) for n in extent]
    window = _window(offsets, size)
    cropped |= {name: example[name][window] for name in images}
  return {**example, **cropped}


def _by_square(codes: np.ndarray) -> np.ndarray:
  """Returns codes [squares, rows, columns]; a single grid is one square."""
  return codes[None] if codes.ndim == 2 else codes


def _corner(
  example: Example,
  square: int,
  extent: tuple[int, int],
  grid: tuple[int, int],
) -> list[int]:
  """Returns the first row and column of a tokenised square, in pixels.

  An example that does not store it has its square at the centre.
  """
  if CORNERS in example:
    return [int(start) for start in example[CORNERS][square]]
  return [(n - count * _PATCH) // 2 for n, count in zip(extent, grid)]


def _window(offsets: Sequence[int], size: int) -> tuple[slice, ...]:
  return tuple(slice(start, start + size) for start in offsets)


def _common_size(
  example: Example, shapes: Mapping[str, tuple[int, ...]], least: int
) -> tuple[int, int]:
  """Returns the shape that all `shapes`, {name: (rows, columns)}, have.

  Args:
    example: example whose key an error names.
    shapes: {name of a field: (rows, columns)}.
    least: smallest number of rows and columns.

  Raises:
    ValueError: if the shapes differ, or if one is too small.
  """
  sizes = set(shapes.values())
  if len(sizes) > 1 or min(min(sizes)) < least:
    raise ValueError(
      f'Example {example.get("key", "")!r}: '
      + ', '.join(f'{name} is {shape}' for name, shape in shapes.items())
      + f'; all of them must have one size, at least {least} per side.'
    )
  rows, columns = sizes.pop()
  return rows, columns
