"""Recipes of labelled pixels: Sen4Map with LUCAS, and WorldCereal."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from fusion_jax import extras
from fusion_jax.datasets import recipe

if TYPE_CHECKING:
  from fusion_jax.data.builders import labelled, sen4map

Band = Literal['B2', 'B3', 'B4', 'B5', 'B6', 'B7', 'B8', 'B8A', 'B11', 'B12']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sen4Map(recipe.Recipe):
  """Sen4Map, joined with LUCAS labels, photos and maps.

  Attributes:
    source: Folder with train.h5, val.h5 and test.h5, or some of them.
    size: Pixels of 10 m per side of the crop around every place.
    composite: Monthly medians with clouds as zeros, as published, or of clear
      pixels only.
    missing_bands: Names of the bands that the files lack.
    survey: CSV of the LUCAS micro-data (default: the attributes of the HDF5
      files).
    labels: CSV of the published labels of the test split.
    photos: Vectors of the photos, which `prepare photos` writes.
    bioregions: Map of the biogeographical regions.
    eunis: Map of the habitats.
    eunis_table: CSV with value and name of each value of the map of habitats.
    examples_per_shard: Number of places in one file, at most.
    compression: Compression of the records; zstd:1 takes half the space and
      reads a third slower.
  """

  name: ClassVar[str] = 'sen4map'

  source: str
  size: int = 1
  composite: recipe.Composite = 'published'
  missing_bands: tuple[Band, ...] = ()
  survey: str = ''
  labels: str = ''
  photos: str = ''
  bioregions: str = ''
  eunis: str = ''
  eunis_table: str = ''
  examples_per_shard: int = 256
  compression: str = 'uncompressed'

  def __post_init__(self) -> None:
    recipe.normalize_paths(self, 'source', *JOINED)
    recipe.normalize_set(self, 'missing_bands')
    recipe.check_at_least(self, 'size', 1)
    recipe.check_choice(self, 'composite', get_args(recipe.Composite))
    recipe.check_choices(self, 'missing_bands', get_args(Band))
    recipe.check_at_least(self, 'examples_per_shard', 1)
    recipe.check_compression(self)

  def open_reader(self) -> 'sen4map.Sen4Map':
    """Opens the HDF5 files and what is joined to them."""
    with extras.needed('pixels', 'Reading Sen4Map'):
      from fusion_jax.data.builders import sen4map
    return sen4map.Sen4Map(
      files=sen4map.find_files(self.source),
      size=self.size,
      composite=self.composite,
      missing_bands=self.missing_bands,
      survey=self.survey,
      labels=self.labels,
      photos=self.photos,
      bioregions=self.bioregions,
      eunis=self.eunis,
      eunis_table=self.eunis_table,
      examples_per_shard=self.examples_per_shard,
    )


# Fields of `Sen4Map` that are files joined to its places.
JOINED = ('survey', 'labels', 'photos', 'bioregions', 'eunis', 'eunis_table')


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldCereal(recipe.Recipe):
  """Labelled pixels of one Parquet file of WorldCereal.

  Attributes:
    source: Parquet file of the samples.
    compression: Compression of the records; zstd:1 takes half the space and
      reads a third slower.
  """

  name: ClassVar[str] = 'worldcereal'

  source: str
  compression: str = 'uncompressed'

  def __post_init__(self) -> None:
    recipe.normalize_paths(self, 'source')
    recipe.check_compression(self)

  def open_reader(self) -> 'labelled.WorldCereal':
    """Opens the Parquet file."""
    with extras.needed('eval', 'Reading Parquet files'):
      from fusion_jax.data.builders import labelled
    if not pathlib.Path(self.source).is_file():
      raise ValueError(
        f'--source={self.source!r} is no file; worldcereal needs one Parquet '
        'file of samples.'
      )
    return labelled.WorldCereal(self.source)
