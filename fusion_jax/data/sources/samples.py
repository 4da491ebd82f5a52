"""Reads folders of samples: GeoTIFFs of each modality, a table of places."""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import rasterio.errors
from absl import logging

from fusion_jax import geo, modalities
from fusion_jax.data import examples, readers
from fusion_jax.data.sources import geotiff

_CIRRUS_LIMIT = 900  # As in `terramesh`.
_COLUMNS = ('sample_id', 'lat', 'lon', 's2_datetime_utc')  # Of samples.csv.


@dataclasses.dataclass(frozen=True)
class SampleFolder:
  """A builder's source: `{root}/{modality}/{sample_id}.tif` and `samples.csv`.

  The table has the columns sample_id, lat, lon, s2_datetime_utc, as the five
  published TerraMesh examples have it.

  Attributes:
    root: path of the folder.
    val: sample_ids of the validation split; by default the last of the table.
    images: modalities to read; by default all that have a folder.
  """

  root: str
  val: tuple[str, ...] = ()
  images: tuple[str, ...] = ()

  @functools.cached_property
  def rows(self) -> dict[str, dict[str, str]]:
    """Rows of the table, {sample_id: row}."""
    path = pathlib.Path(self.root) / 'samples.csv'
    if not path.is_file():
      raise FileNotFoundError(
        f'{path} is missing; write one with the columns {", ".join(_COLUMNS)}.'
      )
    with open(path, newline='', encoding='utf-8') as file:
      table = csv.DictReader(file)
      if missing := set(_COLUMNS) - set(table.fieldnames or ()):
        raise ValueError(
          f'{path} lacks the columns {", ".join(sorted(missing))}; it has '
          f'{", ".join(table.fieldnames or ())}.'
        )
      rows = {row['sample_id']: row for row in table}
    if not rows:
      raise ValueError(f'{path} has no row; write one for each sample.')
    if unknown := set(self.val) - set(rows):
      raise ValueError(
        f'{path} lacks {sorted(unknown)}; it has {sorted(rows)}.'
      )
    return rows

  @functools.cached_property
  def schema(self) -> examples.Schema:
    """The fields of the examples: image modalities and pixels per side."""
    images = tuple(
      name
      for name in self.images or examples.IMAGE_TYPES
      if (pathlib.Path(self.root) / name).is_dir()
    )
    if not images:
      raise FileNotFoundError(
        f'{self.root} has no folder of a modality; expected one or more of '
        f'{", ".join(self.images or examples.IMAGE_TYPES)}.'
      )
    first = next(
      path
      for name in images
      for path in sorted((pathlib.Path(self.root) / name).glob('*.tif'))
    )
    with geotiff.open_raster(first) as raster:
      return examples.Schema(images, raster.width)

  def parts(self) -> dict[str, list[tuple[str, ...]]]:
    """Returns {split: its shards}; every split is one shard."""
    val = self.val or tuple(self.rows)[-1:]
    train = tuple(key for key in self.rows if key not in val)
    return {'train': [train], 'val': [val]}

  def places(
    self, split: str, part: Sequence[str]
  ) -> dict[str, tuple[float, float, int]]:
    """Returns {key: (degrees north, degrees east, UTC seconds since 1970)}."""
    del split
    places = {}
    for key in part:
      row = self.rows[key]
      lon = geo.wrap_longitude(float(row['lon']))
      places[key] = (
        float(row['lat']),
        float(lon),
        geotiff.parse_time(row['s2_datetime_utc']),
      )
    return places

  def read(
    self, split: str, part: Sequence[str]
  ) -> Iterator[readers.Example | readers.Skipped]:
    """Yields the samples of a split; a modality without a file is absent."""
    for key, (lat, lon, time) in self.places(split, part).items():
      example = {'key': key, 'lat': lat, 'lon': lon, 'time': time}
      try:
        for name in self.schema.images:
          path = pathlib.Path(self.root) / name / f'{key}.tif'
          if path.exists():
            example[name] = _image(path, name)
      except (rasterio.errors.RasterioError, ValueError) as error:
        logging.warning('Left out sample %s: %s', key, error)
        yield readers.Skipped(key, f'{type(error).__name__}: {error}')
        continue
      yield _with_offset(example)


def _image(path: pathlib.Path, name: str) -> np.ndarray:
  """Reads the image [Y, X, C] of one modality of a sample."""
  with geotiff.open_raster(path) as raster:
    order = geotiff.band_order(
      raster, path, modalities.IMAGE_FIELDS[name].bands
    )
    values = raster.read(order)
    if name in ('S2L2A', 'S2L1C'):
      values = geotiff.check_counts(values, path, raster.nodata)
    geotiff.check_range(values, examples.IMAGE_TYPES[name], path)
    north_up = raster.transform.e < 0
  values = values if north_up else values[:, ::-1]
  return np.ascontiguousarray(
    np.moveaxis(values, 0, -1), examples.IMAGE_TYPES[name]
  )


def _with_offset(example: readers.Example) -> readers.Example:
  """Adds the offset of S2L1C, derived from its cirrus band B10."""
  if 'S2L1C' not in example:
    return example
  cirrus = example['S2L1C'][..., modalities.S2L1C_BANDS.index('B10')]
  offset = geotiff.OFFSET if np.median(cirrus) > _CIRRUS_LIMIT else 0
  if offset:
    logging.warning(
      'S2L1C of %s carries the offset of +%d; it is kept with '
      'it as S2L1C_offset.',
      example['key'],
      offset,
    )
  return {**example, 'S2L1C_offset': np.int16(offset)}
