"""Reads cubes in Zarr and NetCDF with xarray."""

import contextlib
import os
import pathlib
from typing import Any

import numpy as np
import rasterio
import xarray as xr

from fusion_jax.data import bands as bands_lib
from fusion_jax.data import dates
from fusion_jax.data.sources import netcdf
from fusion_jax.data.sources.imagery import crs as crs_lib
from fusion_jax.data.sources.imagery import (
  encoding,
  pixel_corners,
  xarray_bands,
)
from fusion_jax.data.sources.imagery import layers as layers_lib
from fusion_jax.untrusted import memory
from fusion_jax.untrusted.reading import reading

_TOLERANCE = 1e-3  # Largest deviation from an even grid, in pixels.


class XarraySource:
  """A `encoding.Source`: a variable for each band, or an axis of bands."""

  def __init__(
    self, path: str | os.PathLike[str] | Any, declared: encoding.Declared
  ):
    """Opens the file, and reads its coordinates only.

    Args:
      path: path of a Zarr store or a NetCDF file; or an `xarray.Dataset` or
        `xarray.DataArray`.
      declared: what the user states about the file.

    Raises:
      ValueError: if axes, bands, coordinates or a coordinate system are
        missing.
    """
    self._data = _open(path)
    in_memory = hasattr(path, 'dims')
    self.name = f'The {type(path).__name__}' if in_memory else str(path)
    try:
      self._read_layout(declared, '' if in_memory else pathlib.Path(path).stem)
    except Exception:
      if not in_memory:
        self._data.close()
      raise

  def _read_layout(self, declared: encoding.Declared, file: str) -> None:
    """Reads bands, coordinates and encodings; `file` is its name or ''."""
    sensor = xarray_bands.sensor_of(
      [file, *self._data.data_vars],
      self._data.attrs,
      *(array.attrs for array in self._data.data_vars.values()),
    )
    self._arrays, self._axes = _find_bands(self._data, self.name, sensor)
    first = next(iter(self._arrays.values()))[0]
    self.bands = tuple(self._arrays)
    self.dates = _dates(self._data, self._axes['time'], first, self.name)
    self.times = _times(self._data, self._axes['time'], self.dates)
    ys, xs = (
      _centres(self._data, self._axes[axis], self.name) for axis in 'yx'
    )
    self._flip = ys[-1] > ys[0]
    self.transform = pixel_corners.corrected(
      _transform(ys[::-1] if self._flip else ys, xs, self.name),
      [first.attrs, self._data.attrs, *_mappings(self._data, first)],
      self.name,
    )
    self.crs = _crs(self._data, first, self._axes, declared.crs, self.name)
    self.shape = (len(ys), len(xs))
    self.chunk = self._chunk(first)
    self._encodings = {
      band: xarray_bands.encoding_of(array, declared, self.name, sensor)
      for band, (array, _) in self._arrays.items()
    }

  def read(self, band: str, rows: slice, columns: slice) -> np.ndarray:
    """Reads a window of a band, [S, Y, X].

    Args:
      band: name of the band, or 'SCL'.
      rows: slice of rows.
      columns: slice of columns.

    Returns:
      float32 reflectance x 10,000, or classes of 'SCL'.
    """
    array, index = self._arrays[band]
    if self._flip:
      size = self.shape[0]
      rows = slice(size - rows.stop, size - rows.start)
    chosen = {self._axes['y']: rows, self._axes['x']: columns}
    if index is not None:
      chosen[self._axes['band']] = index
    part = array.isel(chosen)
    order = [
      self._axes[axis] for axis in ('time', 'y', 'x') if self._axes[axis]
    ]
    memory.check(2 * part.nbytes, self.name, 'a window')
    with reading(self.name, 'cube', 'copy it again'):
      values = part.transpose(*order).values
    values = values if len(order) == 3 else values[None]
    values = xarray_bands.as_stored(values, array.attrs)
    values = values[:, ::-1] if self._flip else values
    if band == bands_lib.SCENE_CLASS:
      return values
    return self._encodings[band].decode(values)

  def encoding_of(self, band: str) -> encoding.Encoding:
    """Returns how the file stores a band.

    Args:
      band: name of the band.
    """
    return self._encodings[band]

  def _chunk(self, array):
    chunks = array.encoding.get('chunksizes') or array.encoding.get('chunks')
    chunks = chunks or array.shape
    sizes = dict(zip(array.dims, chunks))
    return sizes[self._axes['y']], sizes[self._axes['x']]


def _open(path):
  """Opens a dataset, of which nothing but times is decoded."""
  if isinstance(path, xr.DataArray):
    path = path.to_dataset(name=path.name or 'values', promote_attrs=True)
  if isinstance(path, xr.Dataset):
    return path
  is_file = str(path).endswith(('.nc', '.nc4', '.cdf', '.h5'))
  try:
    return netcdf.opened(path, not is_file, mask_and_scale=False)
  except (OSError, ValueError, KeyError) as error:
    raise ValueError(
      f'{path} cannot be read as {"NetCDF" if is_file else "Zarr"}: {error}'
    ) from error


def _find_bands(data, title, sensor):
  """Returns {band: (array, index of the band or None)}, and the axes."""
  axes, arrays, spellings = {}, {}, {}
  for variable, array in data.data_vars.items():
    dims = xarray_bands.axes_of(array)
    if not (dims['y'] and dims['x']):
      continue
    if dims['band']:
      names = xarray_bands.names_along(array, dims['band'])
      band_indices = xarray_bands.indices(names, sensor, title)
    else:
      band = _band_of(variable, array, sensor)
      band_indices = {band: None} if bands_lib.known(band) else {}
    if not band_indices:
      continue
    axes = axes or dims
    for band, i in band_indices.items():
      exact = bands_lib.is_exact(variable)
      if band in arrays and exact == spellings[band][0]:
        raise ValueError(
          f'{title} has several bands of the names {[band]}: '
          f'{[spellings[band][1], str(variable)]}; keep one of each.'
        )
      if band not in arrays or exact:
        arrays[band] = array, i
        spellings[band] = exact, str(variable)
  if not arrays:
    raise ValueError(
      f'{title} has no variable with axes y and x and the name of a band; it '
      f'has {", ".join(map(str, data.variables))}'
      f'{f", of {sensor}" if sensor else ""}. Name the variables, or '
      "the entries of the coordinate 'band', such as B02."
    )
  return arrays, axes


def _band_of(variable, array, sensor):
  """Returns the band of a variable by its name or its `long_name`."""
  texts = variable, array.attrs.get('long_name', '')
  found = [bands_lib.find(text, sensor) for text in texts]
  return next(filter(bands_lib.known, found), '')


def _dates(data, axis, array, name):
  """Returns the dates of the steps, datetime64[D] [S]; NaT without a date."""
  if not axis:
    return _scalar_time(data).astype('datetime64[D]')
  count = array.sizes[axis]
  if axis not in data.coords:
    return np.full(count, 'NaT', 'datetime64[D]')
  values = data[axis].values
  if values.dtype.kind in 'iu' and values.min() >= 1 and values.max() <= 12:
    year = np.datetime64('2000-01', 'M')  # Only the month counts.
    return (year + (values.astype(int) - 1)).astype('datetime64[D]')
  if dates.are_numbers(values):
    return np.full(count, 'NaT', 'datetime64[D]')  # Numbers of the steps.
  return dates.read(values, f'{name}: {axis!r}')


def _times(data, axis, days):
  """Returns the times of the steps, datetime64[s] [S]; NaT where not known.

  Days alone, which are all at midnight, tell no time.
  """
  if not axis:
    return dates.without_days(_scalar_time(data))
  values = data[axis].values if axis in data.coords else days
  if values.dtype.kind == 'M':
    return dates.without_days(values)
  return np.full(len(days), 'NaT', 'datetime64[s]')


def _scalar_time(data):
  """Returns the time [1] of a dataset without an axis of time, or NaT.

  It may be a coordinate without an axis, or an attribute.
  """
  for key in (*xarray_bands.AXES['time'], *layers_lib.TIME_TAGS):
    if key in data.coords and data[key].dtype.kind == 'M':
      return data[key].values.ravel()[:1].astype('datetime64[s]')
    if isinstance(text := data.attrs.get(key), str):
      with contextlib.suppress(ValueError):
        return np.array([dates.parse_time(text)], 'datetime64[s]')
  return np.array(['NaT'], 'datetime64[s]')


def _centres(data, axis, name):
  """Returns the coordinates [N] of an axis."""
  if axis not in data.coords:
    raise ValueError(
      f'{name} has no coordinates for its axis {axis!r}, so '
      'its place is unknown.'
    )
  return data[axis].values


def _step(centres, name):
  """Returns the step of evenly spaced centres [N], in any floating type."""
  precision = 0.0
  if centres.dtype.kind == 'f':
    precision = float(np.spacing(np.abs(centres).max()))
  centres = centres.astype(np.float64)
  step = (centres[-1] - centres[0]) / max(len(centres) - 1, 1)
  if not step:
    raise ValueError(f'{name} has only one place; two or more are needed.')
  regular = centres[0] + step * np.arange(len(centres))
  deviation = np.abs(centres - regular).max()
  if deviation > max(_TOLERANCE * abs(step), min(precision, abs(step) / 4)):
    raise ValueError(
      f'{name} is not evenly spaced: a step is {step:g}, and a place lies '
      f'{deviation / abs(step):.2g} steps from where it should.'
    )
  return step


def _transform(ys, xs, name):
  """Returns the affine transform of a grid of centres, north up."""
  dx = _step(xs, f'{name}: x')
  dy = _step(ys, f'{name}: y')
  if dx < 0:
    raise ValueError(f'{name}: x runs from east to west; reverse it.')
  return rasterio.Affine(
    dx, 0, float(xs[0]) - dx / 2, 0, dy, float(ys[0]) - dy / 2
  )


def _mappings(data, array):
  """Returns the attributes of the variables that place the grid."""
  mapping = array.attrs.get('grid_mapping', array.encoding.get('grid_mapping'))
  return [
    data.variables[key].attrs
    for key in (mapping, 'spatial_ref', 'crs')
    if key in data.variables
  ]


def _crs(data, array, axes, declared, name):
  """Returns the coordinate system, which may be stored in several places."""
  if declared:
    return crs_lib.parse(declared, '--crs')
  for attrs in (*_mappings(data, array), array.attrs, data.attrs):
    for key in crs_lib.KEYS:
      if text := crs_lib.text(attrs.get(key)):
        return crs_lib.parse(text, f'{name}: {key}')
    if 'grid_mapping_name' in attrs:
      return crs_lib.from_cf(attrs, name)
  for key in crs_lib.KEYS:
    if key in data.variables and not data.variables[key].ndim:
      if text := crs_lib.text(data.variables[key].values.item()):
        return crs_lib.parse(text, f'{name}: {key}')
  if axes['y'].lower().startswith('lat'):
    return rasterio.CRS.from_epsg(4326)
  raise ValueError(
    f'{name} names no coordinate system; pass one, such as --crs EPSG:32631.'
  )
