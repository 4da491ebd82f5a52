"""Recipes of archives of images: TerraMesh, and folders of GeoTIFFs."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal, cast, get_args

from fusion_jax import extras
from fusion_jax.data import readers
from fusion_jax.datasets import gridded_weather, recipe

if TYPE_CHECKING:
  from fusion_jax.data.sources import samples, terramesh


# TerraMesh's parts, as the names of its tars begin; '' for both.
Subset = Literal['', 'majortom', 'ssl4eos12']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples(gridded_weather.GriddedWeather):
  """A folder of your own GeoTIFFs, with weather.

  Attributes:
    source: Folder with a folder of GeoTIFFs for each modality, and
      samples.csv.
    images: Image modalities to read (default: all that have a folder).
    val: Sample ids of the validation split (default: the last sample).
    compression: Compression of the records; zstd:1 takes half the space and
      reads a third slower.
  """

  name: ClassVar[str] = 'samples'

  source: str
  images: tuple[recipe.ImageName, ...] = ()
  val: tuple[str, ...] = ()
  compression: str = 'uncompressed'

  def __post_init__(self) -> None:
    recipe.normalize_paths(self, 'source')
    recipe.normalize_set(self, 'images', 'val')
    recipe.check_choices(self, 'images', get_args(recipe.ImageName))
    self.check_weather()
    recipe.check_compression(self)

  def open_reader(self) -> readers.Reader:
    """Opens the samples, joined with weather where it is given."""
    recipe.check_folder(self, 'source', 'GeoTIFFs and samples.csv')
    with extras.needed('terramesh', 'Reading GeoTIFFs'):
      from fusion_jax.data.sources import samples
    return _join(self, samples.SampleFolder(self.source, self.val, self.images))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TerraMesh(gridded_weather.GriddedWeather):
  """TerraMesh as published, with weather.

  Attributes:
    source: Folder that holds train/ and val/, and in them a folder of tars
      for each modality.
    images: Image modalities to read (default: all that have a folder).
    subset: Part to read, by the names of its tars, to train on a mixture of
      both (default: both).
    compression: Compression of the records; zstd:1 takes half the space and
      reads a third slower.
  """

  name: ClassVar[str] = 'terramesh'

  source: str
  images: tuple[recipe.ImageName, ...] = ()
  subset: Subset = ''
  compression: str = 'uncompressed'

  def __post_init__(self) -> None:
    recipe.normalize_paths(self, 'source')
    recipe.normalize_set(self, 'images')
    recipe.check_choices(self, 'images', get_args(recipe.ImageName))
    if self.subset not in get_args(Subset):
      raise ValueError(
        f'subset={self.subset!r} is not one of {get_args(Subset)}.'
      )
    self.check_weather()
    recipe.check_compression(self)

  def open_reader(self) -> readers.Reader:
    """Opens the tars, joined with weather where it is given."""
    recipe.check_folder(self, 'source', 'train/ and val/')
    with extras.needed('terramesh', 'Reading TerraMesh'):
      from fusion_jax.data.sources import terramesh
    return _join(
      self, terramesh.TerraMesh(self.source, self.images, subset=self.subset)
    )


def _join(
  dataset: gridded_weather.GriddedWeather,
  images: 'samples.SampleFolder | terramesh.TerraMesh',
) -> readers.Reader:
  """A reader of images, joined with the weather of a recipe if it has any."""
  from fusion_jax.data.builders import weather

  reader = cast(readers.PlacedReader, images)  # Their schema is cached.
  fields = dataset.open_weather()
  return weather.WithWeather(reader, fields) if fields else reader
