"""Reads folders of samples: GeoTIFFs of each modality, a table of places."""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

import rasterio.errors
from absl import logging

from fusion_jax import geo
from fusion_jax.data import dates, examples, readers
from fusion_jax.data.sources import sample_images

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
    for name in images:
      for key in self.rows:
        path = sample_images.find(pathlib.Path(self.root) / name, key)
        if path is not None:
          return examples.Schema(images, sample_images.width(path, name))
    raise FileNotFoundError(
      f'{self.root} has no image of a sample_id of its samples.csv, such as '
      f'{images[0]}/{next(iter(self.rows))}.tif.'
    )

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
        dates.parse_time(row['s2_datetime_utc']),
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
          path = sample_images.find(pathlib.Path(self.root) / name, key)
          if path:
            example[name] = sample_images.read(path, name)
      except (rasterio.errors.RasterioError, ValueError) as error:
        logging.warning('Left out sample %s: %s', key, error)
        yield readers.Skipped(key, f'{type(error).__name__}: {error}')
        continue
      yield sample_images.with_offset(example)
