"""Reads images as GeoTIFF: bands, units, places and times; users' scenes."""

import dataclasses
import datetime
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rasterio
import rasterio.errors
import rasterio.warp
from absl import logging

from fusion_jax import geo, modalities
from fusion_jax.data import readers
from fusion_jax.data.sources import scene_values

_TIME_TAGS = (
  'datetime',
  'TIFFTAG_DATETIME',
  'acquisition_time',
  'ACQUISITIONDATETIME',
  'DATATAKE_1_DATATAKE_SENSING_START',
)
_PIXEL_M = 10.0
_DARKEST = -2000  # Counts below are no reflectance, whatever the noise.
OFFSET = 1000  # Added to counts by processing baselines since 04.00.


@dataclasses.dataclass(frozen=True)
class Scene:
  """A georeferenced Sentinel-2 image.

  Attributes:
    key: name of the file without its ending.
    name: 'S2L2A' or 'S2L1C'.
    image: [Y, X, C] int16, reflectance x 10,000, north up.
    lat: latitude of the centre in degrees.
    lon: longitude of the centre in degrees, in [-180, 180).
    time: seconds since 1970 UTC.
    crs: coordinate system, such as 'EPSG:32718'.
    transform: affine map from pixels to coordinates of `crs`, north up.
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
  def example(self) -> readers.Example:
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
  """Reads a Sentinel-2 scene of a user.

  Args:
    path: GeoTIFF or another raster with a coordinate system. Bands are found
      by their descriptions, see `bands.find` (B01, B1, B04_10m, red, in any
      order, others ignored); without descriptions there must be exactly the
      bands of `name`, in its order. Tags of scale and offset are applied.
    name: 'S2L2A' (12 bands) or 'S2L1C' (13, with B10).
    time: time of the acquisition in UTC, ISO 8601 or seconds since 1970; by
      default the time in the file's tags.
    offset: number that is subtracted from every count but 0, which means no
      data: 1000 for products of the processing baselines since 04.00 (January
      2022) that still carry it.

  Returns:
    `Scene`.

  Raises:
    ValueError: if bands, units, place or time are wrong; the message names a
      remedy.
  """
  with open_raster(path) as raster:
    order = band_order(raster, path, modalities.IMAGE_FIELDS[name].bands)
    scene_values.check_masks(raster, order, path)
    counts = scene_values.decode(raster, order, path, offset)
    counts = check_counts(counts, path, raster.nodata)
    lat, lon = _centre(raster, path)
    pixel_m = scene_values.pixel_m(raster)
    transform, crs = raster.transform, raster.crs.to_string()
    time = _time(raster.tags(), path) if time is None else parse_time(time)
  if np.abs(np.subtract(pixel_m, _PIXEL_M)).max() > 0.5:
    logging.warning(
      '%s has pixels of %.3g x %.3g m on the ground, but the models are '
      'trained on pixels of %g m; resample it.',
      path,
      *pixel_m,
      _PIXEL_M,
    )
  if transform.e > 0:
    counts = counts[:, ::-1]
    top = transform.f + transform.e * counts.shape[1]
    transform = rasterio.Affine(
      transform.a, 0, transform.c, 0, -transform.e, top
    )
  _warn_of_empty(counts, path)
  _warn_of_offset(counts, path, offset)
  image = np.ascontiguousarray(np.moveaxis(counts, 0, -1), np.int16)
  image = np.where(image, image - np.int16(offset), np.int16(0))
  return Scene(
    pathlib.Path(path).stem, name, image, lat, lon, time, crs, transform
  )


def open_raster(path: str | os.PathLike[str]) -> Any:
  """Opens a raster.

  Args:
    path: path of the file.

  Returns:
    A dataset of rasterio, which is to be closed.

  Raises:
    ValueError: if the file cannot be read as an image.
  """
  try:
    return rasterio.open(path)
  except rasterio.errors.RasterioIOError as error:
    raise ValueError(f'{path} cannot be read as an image: {error}') from error


def band_order(
  raster: Any, path: str | os.PathLike[str], expected: Sequence[str]
) -> list[int]:
  """Returns the numbers of the expected bands in a raster, from 1.

  Args:
    raster: open raster.
    path: path of the raster, for messages.
    expected: names of the bands, in the order of the result.

  Raises:
    ValueError: if a band is missing, or bands without names are not as many as
      the expected bands.
  """
  band_indices = scene_values.named_bands(raster.descriptions, path, expected)
  if all(band in band_indices for band in expected):
    return [band_indices[band] for band in expected]
  bands = [name for name in band_indices if name in modalities.S2L1C_BANDS]
  if bands and any(band in modalities.S2L1C_BANDS for band in expected):
    missing = [band for band in expected if band not in band_indices]
    raise ValueError(
      f'{path} lacks the bands {missing}; it has {bands}. '
      f'Expected are {", ".join(expected)}.'
    )
  if band_indices and set(expected) & set(modalities.S2L1C_BANDS):
    raise ValueError(
      f'{path} has bands of the names {[x for x in raster.descriptions if x]}, '
      f'none of which is a band of Sentinel-2; expected are '
      f'{", ".join(expected)}, in any order and spelling.'
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


def check_counts(
  values: np.ndarray, path: str | os.PathLike[str], nodata: float | None = None
) -> np.ndarray:
  """Checks that values are reflectance x 10,000, and returns them.

  Args:
    values: [C, Y, X], counts of all bands.
    path: path of the file, for messages.
    nodata: value of pixels without a value, None if the file declares none.

  Raises:
    ValueError: if pixels have no value or are not finite, or the values are
      reflectance itself or do not fit into int16.
  """
  if nodata and (values == nodata).any():  # Dark water has the value 0, too.
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
        f'{path} holds values up to {top:.3g}, so reflectance itself; expected '
        'reflectance x 10,000: multiply it and store it as int16.'
      )
  check_range(values, np.int16, path)
  dark = values < _DARKEST
  if dark.any():
    raise ValueError(
      f'{path} has values down to {values.min():g}, in {dark.mean():.1%} of '
      'its pixels; no surface has such a reflectance. If they stand for no '
      'value, fill or crop them.'
    )
  return values


def check_range(
  values: np.ndarray, dtype: Any, path: str | os.PathLike[str]
) -> None:
  """Checks that integers of a type can hold values.

  Args:
    values: values [...] of a file.
    dtype: data type that will hold them; any values fit into floats.
    path: path of the file, for messages.

  Raises:
    ValueError: if a value is outside the range of the type.
  """
  if np.dtype(dtype).kind == 'f' or not values.size:
    return
  info, low, high = np.iinfo(dtype), values.min(), values.max()
  if not (info.min <= low and high <= info.max):  # NaN is refused, too.
    raise ValueError(
      f'{path} holds {low} .. {high}, more than an {info.dtype} '
      f'can: {info.min} .. {info.max}.'
    )


def _warn_of_empty(counts: np.ndarray, path: str | os.PathLike[str]) -> None:
  """Warns of pixels of counts [C, Y, X] that are 0 in every band."""
  empty = ~counts.any(axis=0)
  if empty.any():
    logging.warning(
      '%.1f %% of the pixels of %s are 0 in every band, so '
      'without a value; the models take them for dark ground.',
      100 * empty.mean(),
      path,
    )


def _warn_of_offset(
  counts: np.ndarray, path: str | os.PathLike[str], offset: int
) -> None:
  """Warns where the offset of newer baselines may still be in the counts."""
  if not offset and counts.min(initial=OFFSET) >= OFFSET:
    logging.warning(
      'No pixel of %s is below %d: if it carries the offset of '
      'processing baselines since 04.00, say so (offset=%d).',
      path,
      OFFSET,
      OFFSET,
    )


def _centre(raster: Any, path: str | os.PathLike[str]) -> tuple[float, float]:
  """Returns latitude and longitude of the raster's centre in degrees."""
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
  """Returns the time of the acquisition from the file's tags, s since 1970."""
  text = next((tags[name] for name in _TIME_TAGS if name in tags), None)
  if text is None:
    raise ValueError(
      f'{path} has no tag of the acquisition time '
      f'({", ".join(_TIME_TAGS[:2])}); pass the time in UTC, '
      'for instance --time 2020-04-08T14:37:29.'
    )
  return parse_time(text)


def parse_time(time: str | float) -> int:
  """Converts a time to seconds since 1970 UTC.

  Args:
    time: seconds since 1970, or a text in ISO 8601 or in TIFF's form of dates.

  Raises:
    ValueError: for a text in another form.
  """
  if not isinstance(time, str):
    return int(time)
  text = time.strip().rstrip('Z')
  text = re.sub(
    r'\.\d+', '', text
  )  # These are nanoseconds; a time zone may follow.
  if text[4:5] == ':':  # TIFF writes 2020:04:08 14:37:29.
    text = text[:10].replace(':', '-') + text[10:]
  try:
    moment = datetime.datetime.fromisoformat(text)
  except ValueError as error:
    raise ValueError(
      f'{time!r} is no time in UTC such as 2020-04-08T14:37:29.'
    ) from error
  if moment.tzinfo is None:
    moment = moment.replace(tzinfo=datetime.UTC)
  return int(moment.timestamp())
