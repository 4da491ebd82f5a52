"""Cuts the same square from all images and codes of an example."""

import dataclasses
from collections.abc import Sequence

import grain

from fusion_jax import modalities as modality_table

Modalities = Sequence[modality_table.Modality]
_PATCH = modality_table.PATCH


@dataclasses.dataclass(frozen=True)
class RandomCrop(grain.transforms.RandomMap):
  """Cuts the same square at random from all images of an example.

  Reads and replaces the images and codes of `selected`. Codes stand for the
  whole patches around the centre: where an example has some, the square moves
  by whole patches within these.
  """
  selected: Modalities
  size: int  # Pixels, a multiple of the patch.

  def random_map(self, example, rng):
    return _crop(example, self.selected, self.size,
                 lambda spare: int(rng.integers(spare + 1)))


@dataclasses.dataclass(frozen=True)
class CentreCrop(grain.transforms.Map):
  """`RandomCrop` without the chance: the square at the centre."""
  selected: Modalities
  size: int

  def map(self, example):
    return _crop(example, self.selected, self.size, lambda spare: spare // 2)


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


def _crop(example, selected, size, choose):
  """The example with the same square of all its images and codes.

  Args:
    example: see the transforms.
    selected: modalities.
    size: pixels of the square.
    choose: from the room to move, in pixels or patches, to the offset.
  """
  images = [m.field for m in selected
            if m.kind == 'image' and is_there(example, m)]
  codes = [field(m) for m in selected
           if m.kind == 'tokens' and is_there(example, m)]
  if not images and not codes:
    return example
  cropped, offsets = {}, None
  if codes:
    grid = _common_size(example, codes, size // _PATCH)
    count = size // _PATCH
    offsets = [choose(n - count) for n in grid]
    window = tuple(slice(start, start + count) for start in offsets)
    cropped |= {name: example[name][window] for name in codes}
  if images:
    extent = _common_size(example, images, size)
    if codes:  # The grid of codes stands at the centre of the image.
      offsets = [(n - rows * _PATCH) // 2 + start * _PATCH
                 for n, rows, start in zip(extent, grid, offsets)]
    else:
      offsets = [choose(n - size) for n in extent]
    window = tuple(slice(start, start + size) for start in offsets)
    cropped |= {name: example[name][window] for name in images}
  return {**example, **cropped}


def _common_size(example, names, least):
  sizes = {example[name].shape[:2] for name in names}
  if len(sizes) > 1 or min(min(sizes)) < least:
    raise ValueError(
        f'Example {example.get("key", "")!r}: ' + ', '.join(
            f'{name} is {example[name].shape[:2]}' for name in names) +
        f'; all should be of one size, at least {least} a side.')
  return sizes.pop()
