"""Reads cubes in Zarr and NetCDF with xarray."""

import os

import numpy as np
import rasterio
import xarray as xr

from fusion_jax.data import bands as bands_lib
from fusion_jax.data import dates
from fusion_jax.data.sources import netcdf
from fusion_jax.mapping import crs as crs_lib
from fusion_jax.mapping import cube_sources

_AXES = {
  'time': ('t', 'time', 'date', 'month', 'step'),
  'band': ('band', 'bands', 'channel', 'variable'),
  'y': ('y', 'lat', 'latitude', 'northing'),
  'x': ('x', 'lon', 'longitude', 'easting'),
}
_TOLERANCE = 1e-3  # Largest deviation from an even grid, in pixels.


class XarraySource:
  """A `cube_sources.Source`: a variable for each band, or an axis of bands."""

  def __init__(
    self, path: str | os.PathLike[str], declared: cube_sources.Declared
  ):
    """Opens the file, and reads its coordinates only.

    Args:
      path: path of a Zarr store or a NetCDF file.
      declared: what the user states about the file.

    Raises:
      ValueError: if axes, bands, coordinates or a coordinate system are
        missing.
    """
    self.name = str(path)
    self._data = _open(path)
    self._arrays, self._axes = _find_bands(self._data, self.name)
    first = next(iter(self._arrays.values()))[0]
    self.bands = tuple(self._arrays)
    self.dates = _dates(self._data, self._axes['time'], first, self.name)
    ys, xs = (
      _centres(self._data, self._axes[axis], self.name) for axis in 'yx'
    )
    self._flip = ys[-1] > ys[0]
    self.transform = _transform(ys[::-1] if self._flip else ys, xs, self.name)
    self.crs = _crs(self._data, first, self._axes, declared.crs, self.name)
    self.shape = (len(ys), len(xs))
    self.chunk = self._chunk(first)
    self._encodings = {
      band: _encoding(array, declared, self.name)
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
    values = part.transpose(*order).values
    values = values if len(order) == 3 else values[None]
    values = _as_stored(values, array.attrs)
    values = values[:, ::-1] if self._flip else values
    if band == bands_lib.SCENE_CLASS:
      return values
    return self._encodings[band].decode(values)

  def _chunk(self, array):
    chunks = array.encoding.get('chunksizes') or array.encoding.get('chunks')
    chunks = chunks or array.shape
    sizes = dict(zip(array.dims, chunks))
    return sizes[self._axes['y']], sizes[self._axes['x']]


def _open(path):
  """Opens a dataset, of which nothing but times is decoded."""
  is_file = str(path).endswith(('.nc', '.nc4', '.cdf', '.h5'))
  try:
    if is_file:
      return xr.open_dataset(
        path, engine=netcdf.engine(path), mask_and_scale=False
      )
    return xr.open_zarr(path, mask_and_scale=False, chunks=None)
  except (OSError, ValueError, KeyError) as error:
    raise ValueError(
      f'{path} cannot be read as {"NetCDF" if is_file else "Zarr"}: {error}'
    ) from error


def _find_bands(data, name):
  """Returns {band: (array, index of the band or None)}, and the axes."""
  axes, arrays = {}, {}
  for variable, array in data.data_vars.items():
    dims = {
      axis: next((d for d in array.dims if d.lower() in names), '')
      for axis, names in _AXES.items()
    }
    if not (dims['y'] and dims['x']):
      continue
    if dims['band']:
      band_indices = _named(array, dims['band'])
    else:
      band_indices = {bands_lib.find(variable): None}
    band_indices = {
      band: i for band, i in band_indices.items() if bands_lib.known(band)
    }
    if band_indices:
      axes = axes or dims
      arrays |= {band: (array, i) for band, i in band_indices.items()}
  if not arrays:
    raise ValueError(
      f'{name} has no variable with axes y and x and the name of a band; it '
      f'has {", ".join(map(str, data.variables))}. Name the variables, or '
      "the entries of the coordinate 'band', such as B02."
    )
  return arrays, axes


def _named(array, axis):
  """Returns {band: index} of an axis of bands."""
  if axis in array.coords:
    names = array[axis].values
  else:
    names = array.attrs.get('long_name', ())
  names = [names] if isinstance(names, str) else list(names)
  return {
    bands_lib.find(text.decode() if isinstance(text, bytes) else text): i
    for i, text in enumerate(names)
    if isinstance(text, (str, bytes))
  }


def _dates(data, axis, array, name):
  """Returns the dates of the steps, datetime64[D] [S]; NaT without a date."""
  if not axis:
    return np.array(['NaT'], 'datetime64[D]')
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


def _crs(data, array, axes, declared, name):
  """Returns the coordinate system, which may be stored in several places."""
  if declared:
    return crs_lib.parse(declared, '--crs')
  mapping = array.attrs.get('grid_mapping', array.encoding.get('grid_mapping'))
  places = [
    data.variables[key].attrs
    for key in (mapping, 'spatial_ref', 'crs')
    if key in data.variables
  ]
  for attrs in (*places, array.attrs, data.attrs):
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


def _encoding(array, declared, name):
  """Returns the encoding of a variable."""
  attrs = array.attrs
  fill = [
    np.asarray(attrs[key]).ravel()
    for key in ('_FillValue', 'missing_value')
    if key in attrs
  ]
  fill = [_as_stored(x.astype(array.dtype), attrs) for x in fill]
  try:
    return declared.encoding(
      array.dtype,
      attrs.get('scale_factor'),
      attrs.get('add_offset'),
      tuple(np.concatenate(fill)) if fill else (),
    )
  except ValueError as error:
    raise ValueError(f'{name}, {array.name}: {error}') from error


def _as_stored(values, attrs):
  """Returns signed integers as unsigned, if NetCDF's attributes say so."""
  if str(attrs.get('_Unsigned', '')).lower() == 'true':
    return values.view(f'u{values.dtype.itemsize}')
  return values
