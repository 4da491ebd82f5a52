"""Recipes of the simulated Earth: images with weather, and pixels."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from fusion_jax.data.builders import layout
from fusion_jax.datasets import recipe

if TYPE_CHECKING:
  from fusion_jax.data.builders import places, shards
  from fusion_jax.simulation import pixels

# Version of the simulated Earth. It changes with any byte of an example.
EARTH = '0.1.0'

_SPLITS = ('train', 'val', 'test')
_SMALLEST_IMAGE = 16  # Pixels per side.
_PIXEL_SIZES = (1, 3, 5, 7, 9)  # Pixels per side.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated(recipe.Recipe):
  """The simulated Earth: images and weather, without a download.

  Attributes:
    seed: Seed of the simulated Earth; the same seed gives the same bytes.
    image_size: Pixels of 10 m per side of every image.
    splits: Number of examples of every split (default: train=6000 val=256
      test=512).
    images: Image modalities to make (default: all of them).
    examples_per_shard: Number of examples in one file, at most.
    compression: Compression of the records; zstd:1 takes half the space and
      reads a third slower.
  """

  name: ClassVar[str] = 'simulated'
  generator: ClassVar[str] = EARTH

  seed: int = 0
  image_size: int = 264
  splits: Mapping[str, int] = dataclasses.field(
    default_factory=lambda: {'train': 6_000, 'val': 256, 'test': 512}
  )
  images: tuple[recipe.ImageName, ...] = ()
  examples_per_shard: int = 256
  compression: str = 'uncompressed'

  def __post_init__(self) -> None:
    _normalize_splits(self)
    recipe.normalize_set(self, 'images')
    recipe.check_at_least(self, 'seed', 0)
    recipe.check_at_least(self, 'image_size', _SMALLEST_IMAGE)
    recipe.check_choices(self, 'images', get_args(recipe.ImageName))
    recipe.check_at_least(self, 'examples_per_shard', 1)
    recipe.check_compression(self)

  def open_reader(self) -> 'shards.Indexed':
    """Opens the simulated Earth, in shards."""
    from fusion_jax import simulation
    from fusion_jax.data.builders import shards

    earth = simulation.SimulatedEarth(
      seed=self.seed,
      image_size=self.image_size,
      splits=self.splits,
      fields=self.images or simulation.FIELDS,
    )
    return shards.Indexed(earth, self.examples_per_shard)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulatedPixels(recipe.Recipe):
  """Simulated LUCAS points: pixels, vectors of photos, labels.

  Attributes:
    seed: Seed of the simulated Earth; the same seed gives the same bytes.
    size: Pixels of 10 m per side around every point: 1, 3, 5, 7 or 9.
    splits: Number of points of every split (default: train=6000 val=256
      test=512).
    composite: Monthly medians with clouds as zeros, as published, or of clear
      pixels only.
    examples_per_shard: Number of points in one file, at most.
    compression: Compression of the records; zstd:1 takes half the space and
      reads a third slower.
  """

  name: ClassVar[str] = 'simulated_pixels'
  generator: ClassVar[str] = EARTH

  seed: int = 0
  size: int = 1
  splits: Mapping[str, int] = dataclasses.field(
    default_factory=lambda: {'train': 6_000, 'val': 256, 'test': 512}
  )
  composite: recipe.Composite = 'published'
  examples_per_shard: int = 256
  compression: str = 'uncompressed'

  def __post_init__(self) -> None:
    _normalize_splits(self)
    recipe.check_at_least(self, 'seed', 0)
    if self.size not in _PIXEL_SIZES:
      raise ValueError(
        f'size={self.size} of {self.name} is none of '
        f'{", ".join(map(str, _PIXEL_SIZES))} pixels per side.'
      )
    recipe.check_choice(self, 'composite', get_args(recipe.Composite))
    recipe.check_at_least(self, 'examples_per_shard', 1)
    recipe.check_compression(self)

  def open_reader(self) -> 'places.IndexedPlaces':
    """Opens the simulated points, in shards."""
    from fusion_jax.data.builders import places
    from fusion_jax.simulation import pixels

    earth = pixels.SimulatedPixels(
      self.seed, self.size, dict(self.splits), self.composite
    )
    return places.IndexedPlaces(earth, self.examples_per_shard)

  def write_beside(self, reader: Any, out: pathlib.Path) -> None:
    """Writes what the simulated Earth knows of its points.

    `prompts/{task}.npz` (six templates, those that select models) and
    `prompts/{task}.{kind}.npz` are prompt vectors (`data.prompt_files`),
    `scores.json` is the best that can be reached (`simulation.pixel_scores`),
    and `scenicness/` how people would rate the places of the test split.
    """
    write_knowledge(reader.source, out)


def write_knowledge(earth: 'pixels.SimulatedPixels', out: pathlib.Path) -> None:
  """Writes prompt vectors, best scores and scenicness of simulated points.

  Args:
    earth: the simulated points.
    out: folder of the data set.
  """
  from fusion_jax.data import labels, prompt_files
  from fusion_jax.simulation import photos, pixel_scores, scenicness

  folder = out / 'prompts'
  folder.mkdir(parents=True, exist_ok=True)
  for task in labels.TASKS:
    for kind in photos.KINDS:
      name = task if kind == 'validation' else f'{task}.{kind}'
      prompt_files.write(
        folder / f'{name}.npz', earth.concepts.prompts(task, kind)
      )
  if 'test' in earth.splits:
    scenicness.write(earth, out / 'scenicness')
  if {'train', 'test'} <= set(earth.splits):
    layout.write_whole(
      out / 'scores.json', json.dumps(pixel_scores.scores(earth), indent=1)
    )


def _normalize_splits(dataset: Simulated | SimulatedPixels) -> None:
  """Makes the splits a plain dictionary, and checks it.

  Raises:
    ValueError: for an unknown split, or one without examples.
  """
  splits = dict(dataset.splits)
  recipe.normalize(dataset, 'splits', splits)
  if unknown := sorted(set(splits) - set(_SPLITS)):
    raise ValueError(
      f'{dataset.name} has no split {unknown}; there are {list(_SPLITS)}.'
    )
  for split, number in splits.items():
    if not isinstance(number, int) or number < 1:
      raise ValueError(
        f'splits: {split}={number!r} of {dataset.name} is not a whole number '
        'of 1 or more; leave a split out that is not wanted.'
      )
  if not splits:
    raise ValueError(
      f'splits of {dataset.name} is empty; name one, such as train=100.'
    )
