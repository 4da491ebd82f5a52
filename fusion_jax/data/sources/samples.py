"""Reads folders of samples: GeoTIFFs of each modality, a table of places."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

import rasterio.errors
import rasterio.warp
from absl import logging

from fusion_jax import geo
from fusion_jax.data import examples, readers
from fusion_jax.data.sources import sample_images, sample_table
from fusion_jax.data.sources.imagery import layers

_ENDINGS = sample_images.ENDINGS
_NUM_PLACE_FIELDS = 4  # Of an example: key, lat, lon, time.
_FAR_KM = 100.0  # Of an image from the place that the table gives.


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
  def rows(self) -> dict[str, sample_table.Sample]:
    """Rows of the table, {sample_id: row}."""
    path = pathlib.Path(self.root) / 'samples.csv'
    rows = sample_table.read(path)
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
        if path := self._files[name].get(key):
          return examples.Schema(images, sample_images.width(path, name))
    raise FileNotFoundError(
      f'{self.root} has no image of a sample_id of its samples.csv, such as '
      f'{images[0]}/{next(iter(self.rows))}.tif.'
    )

  @functools.cached_property
  def _files(self) -> dict[str, dict[str, pathlib.Path]]:
    """The images, {modality: {sample_id: path}}."""
    files = {}
    for name in self.images or examples.IMAGE_TYPES:
      files[name] = {}
      for path in sorted((pathlib.Path(self.root) / name).glob('*')):
        if not path.is_dir() and path.suffix not in _ENDINGS:
          continue
        key = path.stem if path.suffix in _ENDINGS else path.name
        if (other := files[name].setdefault(key, path)) != path:
          raise ValueError(
            f'{other} and {path} are both of sample {key}; move one away.'
          )
    return files

  def _check_files(self) -> None:
    """Checks that samples have images, and says which images have no sample.

    Raises:
      ValueError: if no sample has one.
    """
    rows = self.rows
    keys = {key for files in self._files.values() for key in files}
    folders = ', '.join(name for name, files in self._files.items() if files)
    if keys and keys.isdisjoint(rows):
      raise ValueError(
        f'No sample of {pathlib.Path(self.root) / "samples.csv"} has an image '
        f'in {folders}: its sample_ids are such as {sorted(rows)[:3]}, '
        f'the images are called such as {sorted(keys)[:3]}. Name them alike.'
      )
    if unused := sorted(keys - set(rows)):
      logging.warning(
        'Left out %d images of %s that have no row in samples.csv: %s%s.',
        len(unused),
        self.root,
        ', '.join(unused[:3]),
        ', ...' if len(unused) > 3 else '',
      )

  def parts(self) -> dict[str, list[tuple[str, ...]]]:
    """Returns {split: its shards}; every split is one shard.

    Raises:
      ValueError: if no sample has an image, or the table has another form.
    """
    self._check_files()
    val = self.val or tuple(self.rows)[-1:]
    train = tuple(key for key in self.rows if key not in val)
    return {'train': [train], 'val': [val]}

  def places(
    self, split: str, part: Sequence[str]
  ) -> dict[str, tuple[float, float, int]]:
    """Returns {key: (degrees north, degrees east, UTC seconds since 1970)}."""
    del split
    rows = {key: self.rows[key] for key in part}
    return {key: (row.lat, row.lon, row.time) for key, row in rows.items()}

  def read(
    self, split: str, part: Sequence[str]
  ) -> Iterator[readers.Example | readers.Skipped]:
    """Yields the samples of a split; a modality without a file is absent."""
    for key, (lat, lon, time) in self.places(split, part).items():
      example = {'key': key, 'lat': lat, 'lon': lon, 'time': time}
      try:
        for name in self.schema.images:
          if path := self._files[name].get(key):
            _check_place(path, lat, lon)
            example[name] = sample_images.read(path, name)
        if len(example) == _NUM_PLACE_FIELDS:
          raise ValueError(
            f'there is no {key}.tif in {", ".join(self.schema.images)}'
          )
      except (rasterio.errors.RasterioError, ValueError) as error:
        logging.warning('Left out sample %s: %s', key, error)
        yield readers.Skipped(key, f'{type(error).__name__}: {error}')
        continue
      yield sample_images.with_offset(example)


def _check_place(path: pathlib.Path, lat: float, lon: float) -> None:
  """Checks that an image lies where the table says, if it has a place.

  Raises:
    ValueError: if it lies elsewhere.
  """
  if path.suffix in ('.nc', '.zarr'):
    return
  if path.is_dir():  # Of a file a band, which say the same.
    files = (file for end in _ENDINGS for file in path.glob(f'*{end}'))
    path = next(files, path)
  if path.is_dir():
    return
  with layers.open_raster(path) as raster:
    t, crs = raster.transform, raster.crs
    columns, rows = raster.width / 2, raster.height / 2
  if crs is None:
    return
  x = t.c + t.a * columns + t.b * rows
  y = t.f + t.d * columns + t.e * rows
  lons, lats = rasterio.warp.transform(crs, 'EPSG:4326', [x], [y])[:2]
  far = float(geo.distance_km(lat, lon, lats[0], lons[0]))
  if far > _FAR_KM:
    exchanged = geo.distance_km(lon, lat, lats[0], lons[0]) <= _FAR_KM
    raise ValueError(
      f'{path} lies at {lats[0]:.2f} N, {lons[0]:.2f} E, {far:.0f} km from '
      f'{lat:g} N, {lon:g} E in samples.csv'
      + (
        '; latitude and longitude are exchanged there'
        if exchanged
        else '; correct one of them'
      )
    )
