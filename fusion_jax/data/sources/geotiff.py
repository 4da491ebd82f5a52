"""Images as GeoTIFF: a folder of samples, and a user's own scene."""

import csv
import dataclasses
import datetime
import functools
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import rasterio
import rasterio.errors
import rasterio.warp
from absl import logging

from fusion_jax import geo, modalities
from fusion_jax.data import examples, readers
from fusion_jax.types import Example

_TIME_TAGS = (
  'datetime',
  'TIFFTAG_DATETIME',
  'acquisition_time',
  'ACQUISITIONDATETIME',
  'DATATAKE_1_DATATAKE_SENSING_START',
)
_PIXEL_M = 10.0
_CIRRUS_LIMIT = 900  # As in `terramesh`.
_OFFSET = 1000


@dataclasses.dataclass(frozen=True)
class Scene:
  """A georeferenced Sentinel-2 image.

  Attributes:
    key: the file's name without ending.
    name: 'S2L2A' or 'S2L1C'.
    image: [Y, X, C] int16, reflectance x 10,000, north up.
    lat: degrees of the centre.
    lon: degrees of the centre, in [-180, 180).
    time: seconds since 1970 UTC.
    crs: coordinate system, such as 'EPSG:32718'.
    transform: affine.Affine, pixel to coordinates of `crs`, north up.
  """

  key: str
  name: str
  image: np.ndarray
  lat: float
  lon: float
  time: int
  crs: str
  transform: rasterio.Affine

  @property
  def example(self) -> Example:
    """Returns the scene as an example of a data set, without weather."""
    return {
      'key': self.key,
      'lat': np.float64(self.lat),
      'lon': np.float64(self.lon),
      'time': np.int64(self.time),
      self.name: self.image,
    }


def read_scene(
  path: str | os.PathLike[str],
  name: str = 'S2L2A',
  time: str | float | None = None,
  offset: int = 0,
) -> Scene:
  """Reads a Sentinel-2 scene of one's own.

  Args:
    path: GeoTIFF or another raster with a coordinate system. Bands are found
      by their descriptions (B01 or B1, any order, others ignored); without
      descriptions there must be exactly the bands of `name`, in its order.
    name: 'S2L2A' (12 bands) or 'S2L1C' (13, with B10).
    time: time of the acquisition, ISO 8601 or seconds since 1970, UTC; by
      default that of the file's tag.
    offset: subtracted from every count: 1000 for products of the processing
      baselines since 04.00 (January 2022) that still carry it.

  Returns:
    `Scene`.

  Raises:
    ValueError: for wrong bands, units, place or time; it says what to do.
  """
  with _open(path) as raster:
    order = _band_order(raster, path, modalities.IMAGE_FIELDS[name].bands)
    counts = _check_counts(raster.read(order), path, raster.nodata)
    lat, lon = _centre(raster, path)
    transform, crs = raster.transform, raster.crs.to_string()
    time = _time(raster.tags(), path) if time is None else _seconds(time)
  if abs(abs(transform.a) - _PIXEL_M) > 0.5:
    logging.warning(
      '%s has pixels of %g, not of %g m: the models know the '
      'latter; resample it.',
      path,
      transform.a,
      _PIXEL_M,
    )
  if transform.e > 0:
    counts = counts[:, ::-1]
    top = transform.f + transform.e * counts.shape[1]
    transform = rasterio.Affine(
      transform.a, 0, transform.c, 0, -transform.e, top
    )
  _warn_of_empty(counts, path)
  if not offset and counts.min(initial=_OFFSET) >= _OFFSET:
    logging.warning(
      'No pixel of %s is below %d: if it carries the offset of '
      'processing baselines since 04.00, say so (offset=%d).',
      path,
      _OFFSET,
      _OFFSET,
    )
  image = np.ascontiguousarray(np.moveaxis(counts, 0, -1), np.int16)
  image -= np.int16(offset)
  return Scene(
    pathlib.Path(path).stem, name, image, lat, lon, time, crs, transform
  )


@dataclasses.dataclass(frozen=True)
class SampleFolder:
  """A builder's source: `{root}/{modality}/{sample_id}.tif` and `samples.csv`.

  The table has the columns sample_id, lat, lon, s2_datetime_utc, as the five
  published TerraMesh examples have it.

  Attributes:
    root: the folder.
    val: sample_ids of the validation split; by default the last of the table.
    images: modalities to read; by default all that have a folder.
  """

  root: str
  val: tuple[str, ...] = ()
  images: tuple[str, ...] = ()

  @functools.cached_property
  def rows(self) -> dict[str, dict[str, str]]:
    """Rows of the table by sample_id."""
    path = pathlib.Path(self.root) / 'samples.csv'
    with open(path, newline='', encoding='utf-8') as file:
      rows = {row['sample_id']: row for row in csv.DictReader(file)}
    if unknown := set(self.val) - set(rows):
      raise ValueError(
        f'{path} lacks {sorted(unknown)}; it has {sorted(rows)}.'
      )
    return rows

  @functools.cached_property
  def schema(self) -> examples.Schema:
    """What every example holds: image modalities and pixels per side."""
    images = tuple(
      name
      for name in self.images or examples.IMAGE_TYPES
      if (pathlib.Path(self.root) / name).is_dir()
    )
    if not images:
      raise FileNotFoundError(
        f'{self.root} has no folder of a modality; wanted is one or more of '
        f'{", ".join(self.images or examples.IMAGE_TYPES)}.'
      )
    first = next(
      path
      for name in images
      for path in sorted((pathlib.Path(self.root) / name).glob('*.tif'))
    )
    with _open(first) as raster:
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
    found = {}
    for key in part:
      row = self.rows[key]
      lon = geo.wrap_longitude(float(row['lon']))
      found[key] = (
        float(row['lat']),
        float(lon),
        _seconds(row['s2_datetime_utc']),
      )
    return found

  def read(
    self, split: str, part: Sequence[str]
  ) -> Iterator[Example | readers.Skipped]:
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
  """Image [Y, X, C] of one modality of a sample."""
  with _open(path) as raster:
    order = _band_order(raster, path, modalities.IMAGE_FIELDS[name].bands)
    values = raster.read(order)
    if name in ('S2L2A', 'S2L1C'):
      values = _check_counts(values, path, raster.nodata)
    _check_range(values, examples.IMAGE_TYPES[name], path)
    north_up = raster.transform.e < 0
  values = values if north_up else values[:, ::-1]
  return np.ascontiguousarray(
    np.moveaxis(values, 0, -1), examples.IMAGE_TYPES[name]
  )


def _with_offset(example: Example) -> Example:
  """Adds the offset of S2L1C, told by its cirrus band B10."""
  if 'S2L1C' not in example:
    return example
  cirrus = example['S2L1C'][..., modalities.S2L1C_BANDS.index('B10')]
  offset = _OFFSET if np.median(cirrus) > _CIRRUS_LIMIT else 0
  if offset:
    logging.warning(
      'S2L1C of %s carries the offset of +%d; it is kept with '
      'it as S2L1C_offset.',
      example['key'],
      offset,
    )
  return {**example, 'S2L1C_offset': np.int16(offset)}


def _open(path: str | os.PathLike[str]) -> Any:
  """An open raster.

  Raises:
    ValueError: if it is none.
  """
  try:
    return rasterio.open(path)
  except rasterio.errors.RasterioIOError as error:
    raise ValueError(f'{path} cannot be read as an image: {error}') from error


def _band_order(
  raster: Any, path: str | os.PathLike[str], expected: Sequence[str]
) -> list[int]:
  """The raster's band numbers, from 1, of the expected bands."""
  named = {
    _canonical(text): i + 1
    for i, text in enumerate(raster.descriptions)
    if text
  }
  if all(band in named for band in expected):
    return [named[band] for band in expected]
  bands = [name for name in named if name in modalities.S2L1C_BANDS]
  if bands and any(band in modalities.S2L1C_BANDS for band in expected):
    lacking = [band for band in expected if band not in named]
    raise ValueError(
      f'{path} lacks the bands {lacking}; it has {bands}. '
      f'Expected are {", ".join(expected)}.'
    )
  if raster.count != len(expected):
    raise ValueError(
      f'{path} has {raster.count} bands without names; expected are '
      f'{len(expected)}: {", ".join(expected)}, in this order. Name the '
      'bands in their descriptions, and their order and number are free.'
      + (
        ' Thirteen bands are those of L1C.'
        if raster.count == 13 and len(expected) == 12
        else ''
      )
    )
  return list(range(1, raster.count + 1))


def _canonical(text: str) -> str:
  """'B1', 'b01' and 'B01 coastal' as B01; 'B8A' stays."""
  word = text.split()[0].upper() if text.split() else ''
  if word[:1] == 'B' and word[1:].isdigit():
    return f'B{int(word[1:]):02d}'
  return word if word == 'B8A' else text.strip().lower()


def _check_counts(
  values: np.ndarray, path: str | os.PathLike[str], nodata: float | None = None
) -> np.ndarray:
  """Values, if they look like reflectance x 10,000."""
  if nodata and (values == nodata).any():  # 0 is dark water, too.
    raise ValueError(
      f'{path} has pixels without a value ({nodata:g}); fill or crop them.'
    )
  if values.dtype.kind == 'f':
    top = np.nanmax(values, initial=0)
    if not np.isfinite(values).all():
      raise ValueError(
        f'{path} has pixels that are not finite; fill or crop them.'
      )
    if top <= 10:
      raise ValueError(
        f'{path} holds values up to {top:.3g}, so reflectance itself; wanted '
        'is reflectance x 10,000: multiply it and store it as int16.'
      )
  _check_range(values, np.int16, path)
  return values


def _check_range(
  values: np.ndarray, dtype: Any, path: str | os.PathLike[str]
) -> None:
  """Raises if integers of `dtype` cannot hold the values."""
  if np.dtype(dtype).kind == 'f' or not values.size:
    return
  info, low, high = np.iinfo(dtype), values.min(), values.max()
  if not (info.min <= low and high <= info.max):  # NaN is outside, too.
    raise ValueError(
      f'{path} holds {low} .. {high}, more than an {info.dtype} '
      f'can: {info.min} .. {info.max}.'
    )


def _warn_of_empty(counts: np.ndarray, path: str | os.PathLike[str]) -> None:
  """Says how many pixels of counts [C, Y, X] hold nothing in any band."""
  empty = ~counts.any(axis=0)
  if empty.any():
    logging.warning(
      '%.1f %% of the pixels of %s are 0 in every band, so '
      'without a value; the models take them for dark ground.',
      100 * empty.mean(),
      path,
    )


def _centre(raster: Any, path: str | os.PathLike[str]) -> tuple[float, float]:
  """Latitude and longitude of the raster's centre."""
  if raster.crs is None:
    raise ValueError(
      f'{path} has no coordinate system, so its place is '
      'unknown; set one, for instance with gdal_edit.py.'
    )
  transform = raster.transform
  if transform.b or transform.d:
    raise ValueError(f'{path} is rotated; warp it north up (gdalwarp).')
  x = transform.c + transform.a * raster.width / 2
  y = transform.f + transform.e * raster.height / 2
  lons, lats = rasterio.warp.transform(raster.crs, 'EPSG:4326', [x], [y])[:2]
  return lats[0], float(geo.wrap_longitude(lons[0]))


def _time(tags: Mapping[str, str], path: str | os.PathLike[str]) -> int:
  """Seconds since 1970 of the acquisition, from the file's tags."""
  text = next((tags[name] for name in _TIME_TAGS if name in tags), None)
  if text is None:
    raise ValueError(
      f'{path} has no tag of the acquisition time '
      f'({", ".join(_TIME_TAGS[:2])}); pass the time in UTC, '
      'for instance 2020-04-08T14:37:29.'
    )
  return _seconds(text)


def _seconds(time: str | float) -> int:
  """Seconds since 1970 of a number, of ISO 8601 or of TIFF's date; UTC."""
  if not isinstance(time, str):
    return int(time)
  text = time.strip().rstrip('Z')
  text = re.sub(r'\.\d+', '', text)  # Nanoseconds; a zone may follow.
  if text[4:5] == ':':  # TIFF writes 2020:04:08 14:37:29.
    text = text[:10].replace(':', '-') + text[10:]
  moment = datetime.datetime.fromisoformat(text)
  if moment.tzinfo is None:
    moment = moment.replace(tzinfo=datetime.UTC)
  return int(moment.timestamp())
