"""Cuts the same square from all images and codes of an example."""

import dataclasses
from collections.abc import Sequence

import grain

from fusion_jax import modalities as modality_table

Modalities = Sequence[modality_table.Modality]
_PATCH = modality_table.PATCH
CORNERS = 'codes/corners'  # [squares, 2] pixels: where codes belong.


@dataclasses.dataclass(frozen=True)
class RandomCrop(grain.transforms.RandomMap):
  """Cuts the same square at random from all images of an example.

  Reads and replaces the images and codes of `selected`. Codes stand for the
  squares that were tokenised (see `data/builders/codes.py`): where an example
  has some, one of these is drawn, and within it the square moves by whole
  patches.
  """

  selected: Modalities
  size: int  # Pixels, a multiple of the patch.

  def random_map(self, example, rng):
    return _crop(
      example,
      self.selected,
      self.size,
      lambda count: int(rng.integers(count)),
      lambda spare: int(rng.integers(spare + 1)),
    )


@dataclasses.dataclass(frozen=True)
class CentreCrop(grain.transforms.Map):
  """`RandomCrop` without the chance: the square at the centre.

  Of the squares that were tokenised the first is the one at the centre.
  """

  selected: Modalities
  size: int

  def map(self, example):
    return _crop(
      example,
      self.selected,
      self.size,
      lambda count: 0,
      lambda spare: spare // 2,
    )


def field(modality):
  """Where an example holds the pixels or codes of an image."""
  if modality.kind == 'tokens':
    return f'codes/{modality.name}'
  return modality.field


def is_there(example, modality):
  """Whether the example has anything of the modality."""
  if modality.is_sequence:
    return modality.name in example.get('ids', {})
  return field(modality) in example and example[field(modality)].size > 0


def _crop(example, selected, size, choose, move):
  """The example with the same square of all its images and codes.

  Args:
    example: see the transforms.
    selected: modalities.
    size: pixels of the square.
    choose: from the number of squares that were tokenised to one of them.
    move: from the room to move, in pixels or patches, to the offset.
  """
  images = [
    m.field for m in selected if m.kind == 'image' and is_there(example, m)
  ]
  codes = {
    field(m): _by_square(example[field(m)])
    for m in selected
    if m.kind == 'tokens' and is_there(example, m)
  }
  if not images and not codes:
    return example
  cropped = {}
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


def _by_square(codes):
  """Codes [squares, rows, columns]; one grid alone is one square."""
  return codes[None] if codes.ndim == 2 else codes


def _corner(example, square, extent, grid):
  """First row and column of a tokenised square in the images.

  Without a note of it, it stands at the centre.
  """
  if CORNERS in example:
    return [int(start) for start in example[CORNERS][square]]
  return [(n - count * _PATCH) // 2 for n, count in zip(extent, grid)]


def _window(offsets, size):
  return tuple(slice(start, start + size) for start in offsets)


def _common_size(example, shapes, least):
  """The shape that all `shapes`, {name: (rows, columns)}, share."""
  sizes = set(shapes.values())
  if len(sizes) > 1 or min(min(sizes)) < least:
    raise ValueError(
      f'Example {example.get("key", "")!r}: '
      + ', '.join(f'{name} is {shape}' for name, shape in shapes.items())
      + f'; all should be of one size, at least {least} a side.'
    )
  return sizes.pop()
