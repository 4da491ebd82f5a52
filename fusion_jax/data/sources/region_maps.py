"""Reads maps of Europe at LUCAS points: habitats, biogeographical regions.

The European Environment Agency publishes the ecosystem types of Europe (EUNIS,
2012, v3.1) as a raster and the biogeographical regions (2016) as polygons.
"""

import csv
import os
import pathlib
from typing import Any

import numpy as np
import rasterio
import rasterio.features
import rasterio.warp
from absl import logging
from numpy import typing as npt

from fusion_jax.data import labels, lucas_grid
from fusion_jax.untrusted import nested, rasters
from fusion_jax.untrusted.reading import reading

_LAEA = 'EPSG:3035'
_WGS84 = 'EPSG:4326'
_KM = 1000.0
_NAME_COLUMNS = ('short_name', 'code', 'name')  # As in the published regions.


def read(
  path: str | os.PathLike[str], task: str, table: str | os.PathLike[str] = ''
) -> 'Raster | Polygons':
  """Reads a map as a function from points to class indices, int32 [P].

  Args:
    path: a raster (GeoTIFF or another with a coordinate system), or polygons
      (GeoJSON, in degrees or with its `crs`; convert others with ogr2ogr).
    task: 'eunis' or 'bioregion' (`data.labels`).
    table: CSV with the columns value and name: the class of every value of a
      raster; others are no class. By default its values are class indices.

  Returns:
    Function from all LUCAS points that are read, int [P], to class indices, -1
    for none. Its method `classes_at` is the same for some of them.

  Raises:
    ValueError: if the file has another format, or names an unknown class. The
      function raises it if, without a table, a value is no class index.
  """
  if pathlib.Path(path).suffix.lower() in ('.geojson', '.json'):
    with reading(path, 'GeoJSON of polygons'):
      return Polygons(path, task)
  return Raster(path, task, table)


class Raster:
  """A raster of classes.

  A point on the corner of pixels, as all are of a map in the grid of LUCAS, has
  the class of the pixel to its right and below.
  """

  def __init__(
    self,
    path: str | os.PathLike[str],
    task: str,
    table: str | os.PathLike[str] = '',
  ):
    """Opens a raster; arguments and errors are those of `read`."""
    try:
      self._raster = rasters.opened(path)
    except ValueError as error:
      raise ValueError(f'{error} Polygons are read as .geojson.') from error
    if self._raster.crs is None:
      raise ValueError(
        f'{path} has no coordinate system; set one, for '
        'instance with gdal_edit.py.'
      )
    if self._raster.count != 1:
      raise ValueError(
        f'{path} has {self._raster.count} bands; a map of classes has one. Is '
        'it a picture of the map? Give the map itself.'
      )
    self._path, self._has_table = path, bool(table)
    self._classes = (
      _table(table, task)
      if table
      else {i: i for i in range(len(labels.classes(task)))}
    )

  def __call__(self, point_ids: npt.ArrayLike) -> np.ndarray:
    """Returns the classes at all LUCAS points; warns if there is none.

    Args:
      point_ids: int [P], the eight digits of each point.

    Returns:
      int32 [P], indices of classes, -1 where the map has no class.

    Raises:
      ValueError: if, without a table, a value is no index of a class.
    """
    classes = self.classes_at(point_ids)
    _warn_of_none(self._path, classes)
    return classes

  def classes_at(self, point_ids: npt.ArrayLike) -> np.ndarray:
    """Returns the same for some of the points, which may all have no class.

    Args:
      point_ids: int [P], the eight digits of each point.

    Returns:
      int32 [P], -1 where the map has no class.
    """
    x, y = _metres(point_ids)
    if self._raster.crs != rasterio.CRS.from_user_input(_LAEA):
      with reading(self._path, 'map', 'set its coordinate system'):
        x, y = rasterio.warp.transform(_LAEA, self._raster.crs, x, y)[:2]
    values = self._raster.sample(list(zip(x, y)), indexes=1, masked=True)
    with reading(self._path, 'map', 'copy it again'):
      return np.array([self._class_of(value[0]) for value in values], np.int32)

  def _class_of(self, value: Any) -> int:
    if np.ma.is_masked(value):
      return labels.NONE
    if not self._has_table and int(value) not in self._classes:
      raise ValueError(
        f'{self._path} has the value {int(value)}, which is no class index '
        f'(0 to {len(self._classes) - 1}); say what its values mean in a '
        'table (--eunis-table).'
      )
    return self._classes.get(int(value), labels.NONE)


class Polygons:
  """Polygons with names of classes.

  They are burned once into a grid of 1 km whose cells are centred on whole
  kilometres, where LUCAS points lie: a point is in a polygon if its cell's
  centre is, so nothing is lost.
  """

  def __init__(self, path: str | os.PathLike[str], task: str):
    """Reads polygons; arguments and errors are those of `read`."""
    try:
      collection = nested.read_json(path)
      features = [
        feature for feature in collection['features'] if feature['geometry']
      ]
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(f'{path} is no GeoJSON of features: {error}.') from error
    if not features:
      raise ValueError(f'{path} has no polygon.')
    self._path = path
    crs = _crs(collection)
    _check_degrees(path, crs, features)
    shapes = [
      (
        rasterio.warp.transform_geom(crs, _LAEA, feature['geometry']),
        _class_of(path, feature, task),
      )
      for feature in features
    ]
    _check_axes(path, crs, features)
    boxes = np.array([rasterio.features.bounds(shape) for shape, _ in shapes])
    west, south = np.floor(boxes[:, :2].min(0) / _KM)
    east, north = np.ceil(boxes[:, 2:].max(0) / _KM)
    self._west, self._north = int(west), int(north)
    self._grid: np.ndarray = rasterio.features.rasterize(
      [(shape, index + 1) for shape, index in shapes],
      (self._north - int(south) + 1, int(east) - self._west + 1),
      transform=rasterio.Affine(
        _KM, 0, (west - 0.5) * _KM, 0, -_KM, (north + 0.5) * _KM
      ),
      dtype=np.uint8,
    )

  def __call__(self, point_ids: npt.ArrayLike) -> np.ndarray:
    """Returns the classes at all LUCAS points, and checks that the map fits.

    Coordinates with the northing first lie elsewhere in Europe. They are found
    out by the points, which then lie in polygons if the axes are exchanged.

    Args:
      point_ids: int [P], the eight digits of each point.

    Returns:
      int32 [P], indices of classes, -1 where the map has no class.

    Raises:
      ValueError: if most of them lie in polygons with the axes exchanged, and
        fewer without.
    """
    classes = self.classes_at(point_ids)
    covered = int((classes != labels.NONE).sum())
    ids = np.asarray(point_ids, np.int64)
    exchanged = self._look_up(ids % 10_000, ids // 10_000) != labels.NONE
    # A map of a part of Europe may have points there by chance, but few.
    if exchanged.sum() > covered and exchanged.mean() >= 0.5:
      raise ValueError(
        f'{self._path} covers {covered} of {len(ids)} points, and '
        f'{exchanged.sum()} with easting and northing exchanged; GeoJSON has '
        'the easting first. Exchange them.'
      )
    _warn_of_none(self._path, classes)
    return classes

  def classes_at(self, point_ids: npt.ArrayLike) -> np.ndarray:
    """Returns the same for some of the points, which may all have no class.

    Args:
      point_ids: int [P], the eight digits of each point.

    Returns:
      int32 [P], -1 where the map has no class.
    """
    ids = np.asarray(point_ids, np.int64)
    return self._look_up(ids // 10_000, ids % 10_000)

  def _look_up(self, east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Returns the classes at eastings and northings [P] in whole km."""
    row, column = self._north - north, east - self._west
    grid = np.asarray(self._grid)
    rows, columns = grid.shape
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    classes = grid[np.where(inside, row, 0), np.where(inside, column, 0)]
    return np.where(inside, classes.astype(np.int32) - 1, labels.NONE)


def _warn_of_none(path: str | os.PathLike[str], classes: np.ndarray) -> None:
  """Logs that a map has a class at none of its points."""
  if len(classes) and (classes == labels.NONE).all():
    logging.warning(
      '%s has no class at any of %d points; is it a map of their area?',
      path,
      len(classes),
    )


def _metres(point_ids):
  """Returns easting [P] and northing [P] of points in metres, exactly."""
  ids = np.asarray(point_ids, np.int64)
  lucas_grid.coordinates(ids)  # Refuses what is no point.
  return (ids // 10_000 * _KM).tolist(), (ids % 10_000 * _KM).tolist()


def _crs(collection):
  """Returns the coordinate system of a GeoJSON; degrees by default."""
  crs = collection.get('crs') or {}
  name = crs.get('properties', {}).get('name', '')
  digits = name.rpartition(':')[2]
  return f'EPSG:{digits}' if digits.isdigit() else _WGS84


def _check_degrees(path, crs, features):
  """Checks that coordinates without a declared system are degrees."""
  if crs != _WGS84:
    return
  for feature in features:
    west, south, east, north = rasterio.features.bounds(feature['geometry'])
    if west < -360 or east > 360 or south < -90 or north > 90:
      raise ValueError(
        f'{path} has coordinates up to {max(east, north):g} and no other '
        'coordinate system than degrees; set its `crs`, or convert it with '
        'ogr2ogr -t_srs EPSG:4326.'
      )


def _check_axes(path, crs, features):
  """Checks that degrees do not lie in Europe only with the axes exchanged."""
  if not rasterio.CRS.from_user_input(crs).is_geographic:
    return
  boxes = np.array(
    [rasterio.features.bounds(feature['geometry']) for feature in features]
  )
  inside = _in_europe(*boxes.T)
  exchanged = _in_europe(*boxes[:, [1, 0, 3, 2]].T)
  if exchanged.sum() > inside.sum():
    raise ValueError(
      f'{path}: {exchanged.sum()} of {len(boxes)} polygons lie in Europe only '
      'with latitude and longitude exchanged; GeoJSON has the longitude first. '
      'Exchange them.'
    )


def _in_europe(west, south, east, north):
  """Returns which boxes in degrees lie in the surroundings of Europe."""
  return (west > -35) & (east < 50) & (south > 26) & (north < 73)


def _class_of(path, feature, task):
  """Returns the class index of one polygon."""
  properties = {
    name.lower(): value
    for name, value in (feature.get('properties') or {}).items()
  }
  for column in _NAME_COLUMNS:
    try:
      index = labels.of_name(task, properties.get(column, ''))
    except ValueError:
      continue
    if index != labels.NONE:
      return index
  raise ValueError(
    f'{path}: a polygon with {properties} names no class of '
    f'{task} in {", ".join(_NAME_COLUMNS)}; there are '
    f'{", ".join(labels.classes(task))}.'
  )


def _table(path, task):
  """Reads {value of the raster: class index}."""
  with open(path, newline='', encoding='utf-8-sig') as file:
    rows = list(csv.DictReader(file))
  if not rows or not {'value', 'name'} <= set(rows[0]):
    raise ValueError(
      f'{path} has the columns {list(rows[0]) if rows else []};'
      ' expected value and name.'
    )
  return {int(row['value']): labels.of_name(task, row['name']) for row in rows}
