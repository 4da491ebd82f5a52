"""Reads users' scenes: one georeferenced image of Sentinel-2 each."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
from absl import logging

from fusion_jax import geo
from fusion_jax.data import dates, readers, reflectance
from fusion_jax.data.sources.imagery import encoding, scenes

_PIXEL_M = 10.0
OFFSET = reflectance.OFFSET


@dataclasses.dataclass(frozen=True)
class Scene:
  """A georeferenced Sentinel-2 image.

  Attributes:
    key: name of the file without its ending.
    name: 'S2L2A' or 'S2L1C'.
    image: [Y, X, C] int16, reflectance x 10,000, north up.
    lat: latitude of the centre of the file in degrees.
    lon: longitude of the centre of the file in degrees, in [-180, 180).
    time: seconds since 1970 UTC.
    crs: coordinate system, such as 'EPSG:32718'.
    transform: affine map from pixels of the image to coordinates of `crs`,
      north up.
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
  path: str | os.PathLike[str] | Any,
  name: str = 'S2L2A',
  time: str | float | None = None,
  offset: int | None = None,
  *,
  scale: float | None = None,
  nodata: float | None = None,
  size: int = 0,
  tiles: bool = False,
  hosts: Sequence[str] = (),
) -> Scene:
  """Reads a Sentinel-2 scene of a user.

  Args:
    path: raster, folder of rasters (product `*.SAFE`, patch of BigEarthNet),
      STAC item, Zarr store, NetCDF file or xarray object. Bands are found by
      their names, see `bands.find`, in any order, others ignored; only a raster
      whose bands have no name must hold exactly those of `name`, in its order.
    name: 'S2L2A' (12 bands) or 'S2L1C' (13, with B10).
    time: time of the acquisition in UTC, ISO 8601 or seconds since 1970; by
      default the time in the file's tags or in the name of its product.
    offset: number that is subtracted from every count but 0, which means no
      data: 1000 for products of the processing baselines since 04.00 (January
      2022) that still carry it. Default: as the file declares, else 0.
    scale: factor of a stored value in its reflectance. Default: as the file
      declares, else 0.0001.
    nodata: stored value that means "missing", whatever the file declares.
    size: pixels per side that a model sees; only the square of this size at the
      centre is read. 0 reads the whole scene.
    tiles: whether to read all whole squares of that size around the centre.
    hosts: hosts that the assets of a STAC item may be fetched from.

  Raises:
    ValueError: if bands, units, place or time are wrong; the message names a
      remedy.
  """
  negative = None if offset is None else -offset / encoding.COUNTS
  declared = encoding.Declared(
    scale, negative, nodata, empty=0.0, hosts=tuple(hosts)
  )
  seconds = None if time is None else dates.parse_time(time)
  scene = scenes.open_scene(path, name, declared, _day(seconds))
  seconds = _time(scene) if seconds is None else seconds
  _warn_of_pixels(scene)
  top, left, height, width = _window(scene, size, tiles)
  image = scene.read(slice(top, top + height), slice(left, left + width))
  _check(image, scene)
  return Scene(
    'scene' if hasattr(path, 'dims') else pathlib.Path(path).stem,
    name,
    image,
    *scene.centre(),
    seconds,
    scene.source.crs.to_string(),
    _moved(scene.source.transform, left, top),
  )


def _day(seconds: int | None) -> np.datetime64 | None:
  """Returns the date of a time in seconds since 1970, datetime64[D]."""
  if seconds is None:
    return None
  return np.datetime64(seconds, 's').astype('datetime64[D]')


def _window(
  scene: scenes.OpenScene, size: int, tiles: bool
) -> tuple[int, int, int, int]:
  """Returns first row and column, height and width of what is read."""
  shape = scene.source.shape
  if not size:
    return 0, 0, *shape
  top, left, rows, columns = geo.centred(shape, size, tiles, scene.title)
  return top, left, rows * size, columns * size


def _check(image: np.ndarray, scene: scenes.OpenScene) -> None:
  """Checks an image [Y, X, C] for pixels without a value, offset and order."""
  _warn_of_empty(image, scene.title)
  measured = np.where(image == 0, np.float32(np.nan), image)
  about = measured, scene.bands, scene.title, reflectance.SCENE
  reflectance.check_order(*about)
  if not scene.offset_known:
    reflectance.check_offset(*about)


def _moved(transform: Any, left: int, top: int) -> rasterio.Affine:
  """Returns the transform of an image without its first columns and rows."""
  return rasterio.Affine(
    transform.a,
    0,
    transform.c + left * transform.a,
    0,
    transform.e,
    transform.f + top * transform.e,
  )


def _warn_of_pixels(scene: scenes.OpenScene) -> None:
  """Warns of pixels of another size than the models are trained on."""
  pixel_m = scene.pixel_m()
  if np.abs(np.subtract(pixel_m, _PIXEL_M)).max() > 0.5:
    logging.warning(
      '%s has pixels of %.3g x %.3g m on the ground, but the models are '
      'trained on pixels of %g m; resample it.',
      scene.title,
      *pixel_m,
      _PIXEL_M,
    )


def _warn_of_empty(image: np.ndarray, title: str) -> None:
  """Warns of pixels of an image [Y, X, C] that are 0 in every band.

  Raises:
    ValueError: if all are.
  """
  empty = ~image.any(axis=-1)
  if empty.all():
    raise ValueError(
      f'{title} is 0 in every pixel and band that would be used, so it has no '
      'value there; give a scene whose centre has values.'
    )
  if empty.any():
    logging.warning(
      '%.1f %% of the pixels of %s are 0 in every band, so '
      'without a value; the models take them for dark ground.',
      100 * empty.mean(),
      title,
    )


def _time(scene: scenes.OpenScene) -> int:
  """Returns the time of the acquisition, seconds since 1970."""
  if np.isnat(scene.time):
    raise ValueError(
      f'{scene.title} has no tag of the acquisition time (datetime, '
      'TIFFTAG_DATETIME) and no product name with one; pass the time in UTC, '
      'for instance --time 2020-04-08T14:37:29.'
    )
  return int(scene.time.astype(np.int64))
