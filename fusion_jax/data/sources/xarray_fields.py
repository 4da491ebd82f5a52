"""Reads weather from NetCDF and Zarr with xarray."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from fusion_jax import geo
from fusion_jax.data import windows
from fusion_jax.data.sources import netcdf, weather_units

_LAT = ('latitude', 'lat')
_LON = ('longitude', 'lon')
_TIMES = ('time', 'valid_time')


def is_zarr(path: str | os.PathLike[str]) -> bool:
  """Returns whether a folder is a Zarr store of version 2 or 3."""
  return any(
    os.path.exists(os.path.join(path, name))
    for name in ('.zgroup', '.zmetadata', 'zarr.json')
  )


class XarrayFile:
  """The weather records of one NetCDF file or Zarr store."""

  def __init__(
    self, path: str, names: Mapping[str, Sequence[str]], reset_hours: int = 0
  ):
    """Finds variables, coordinates and times.

    Args:
      path: path of the file or store.
      names: {role: variable names}, as `gridded.NAMES`.
      reset_hours: hours of the day at whose multiples precipitation starts
        from zero again, see `gridded.Weather`.

    Raises:
      ValueError: if the file has no known variable or lacks a coordinate.
    """
    self.path = str(path)
    self.reset_hours = reset_hours
    engine = 'zarr' if is_zarr(path) else netcdf.engine(path)
    self.data = xr.open_dataset(path, engine=engine, decode_timedelta=True)
    self.lat, self.lon = self._coordinate(_LAT), self._coordinate(_LON)
    lats, lons = self.data[self.lat], self.data[self.lon]
    if lats.ndim > 1:
      raise ValueError(
        f'{self.path} is not on a latitude-longitude grid: '
        f'{self.lat} has the dimensions {lats.dims}.'
      )
    self.stations = lats.ndim == 1 and lats.dims == lons.dims
    kind = geo.Points if self.stations else geo.Grid
    self._grid = kind(np.atleast_1d(lats.values), np.atleast_1d(lons.values))
    self.records = []
    variables = [
      (role, name)
      for role in names
      for name in names[role]
      if name in self.data
    ]
    if not variables:
      raise ValueError(
        f'{self.path} holds neither 2 m temperature nor precipitation '
        f'(looked for {", ".join(n for r in names for n in names[r])}); it '
        f'holds {", ".join(map(str, self.data.data_vars))}. Name the '
        'variable with --temperature or --precipitation if it is one.'
      )
    for role, name in variables:
      self._list(role, name)

  def _coordinate(self, names: Sequence[str]) -> str:
    """Returns the name of the latitude or longitude."""
    for name in names:
      if name in self.data.variables:
        return name
    for name, variable in self.data.variables.items():
      if variable.attrs.get('standard_name') in names:
        return str(name)
    raise ValueError(
      f'{self.path} has no coordinate {names[0]}; it has '
      f'{", ".join(map(str, self.data.coords))}.'
    )

  def _list(self, role: str, name: str) -> None:
    """Adds the records of one variable, one for each time."""
    array = self.data[name]
    space = {*self.data[self.lat].dims, *self.data[self.lon].dims}
    dims = [
      d
      for d in array.dims
      if d not in space and (array.sizes[d] > 1 or d in _TIMES + ('step',))
    ]
    other_dims = [d for d in dims if d not in _TIMES + ('step',)]
    if other_dims or not any(t in array.coords for t in _TIMES):
      raise ValueError(
        f'{name} in {self.path} has the dimensions '
        f'{array.dims}; expected a time, at most a forecast '
        'step, latitude and longitude. Select one entry of any '
        'other, such as a member or a level, and store that.'
      )
    base, end = self._times(array, dims)
    times = np.unique(end)
    step = int(np.median(np.diff(times))) if len(times) > 1 else 0
    for i, index in enumerate(np.ndindex(*(array.sizes[d] for d in dims))):
      where = name, role, dict(zip(dims, index))
      self._add(role, int(base[i]), int(end[i]), step, where)

  def _times(self, array, dims):
    """Returns run and valid times [n], s since 1970, in the order of `dims`."""
    name = next(
      (t for t in _TIMES if t in dims),
      next(t for t in _TIMES if t in array.coords),
    )
    end = array[name]
    base = end.min()  # Without steps, all times belong to one run.
    if 'step' in array.coords and name == 'time':
      base, end = end, end + array.coords['step']
    shape = xr.DataArray(
      np.zeros([array.sizes[d] for d in dims], np.int64), dims=dims
    )
    return [
      (times.astype('datetime64[s]').astype(np.int64) + shape)
      .transpose(*dims)
      .values.ravel()
      for times in (base, end)
    ]

  def _add(self, role, base, end, step, where):
    """Adds one record, if its time defines its interval.

    One value per day is that of the whole day, unless CF's cell methods call it
    one of a point in time.
    """
    methods = self.data[where[0]].attrs.get('cell_methods', '')
    daily = step == windows.DAY and 'time: point' not in methods
    if role in ('t2m_min_daily', 't2m_max_daily') or daily:
      variable = {
        't2m': 't2m_mean_daily',
        'tp': 'tp_sum_daily',
        'rate': 'tp_sum_daily',
      }.get(role, role)
      start, end = end, end + windows.DAY
    elif role == 't2m':
      variable, start = 't2m', end
    else:
      variable, start = 'tp', self._start(role, base, end, step)
      if start is None:
        return  # At step 0, nothing has accumulated yet.
      if role == 'tp' and self.reset_hours:
        base = start  # A run of its own, whichever file holds its last hour.
    self.records.append(
      weather_units.Record(variable, start, end, base, self, where)
    )

  def _start(self, role: str, base: int, end: int, step: int) -> int | None:
    """Returns the start of the interval of an amount; None if it is empty."""
    if role == 'tp' and self.reset_hours:
      reset = self.reset_hours * windows.HOUR
      return (end - 1) // reset * reset
    if (
      role == 'tp' and 'step' in self.data.coords
    ):  # It accumulates from the start of the run.
      return base if base < end else None
    if not step:
      raise ValueError(
        f'Precipitation in {self.path} has a single time, so the hours it '
        'is the sum of are unknown; join the files along time, or pass '
        'reset_hours.'
      )
    return end - step

  def grid(self, record: weather_units.Record) -> geo.Grid | geo.Points:
    """Returns the grid or the points of all records."""
    del record
    return self._grid

  def read(self, record: weather_units.Record) -> np.ndarray:
    """Returns the field of a record, [P] in K or in mm over its interval."""
    name, role, index = record.where
    space = dict.fromkeys(self.data[self.lat].dims + self.data[self.lon].dims)
    array = self.data[name].isel(index).transpose(..., *space)
    values = array.values.astype(np.float64).ravel()
    unit = self.data[name].attrs.get('units', 'none')
    role = 't2m' if role.startswith('t2m') else role
    return weather_units.convert(
      values, role, unit, record.end - record.start, self.path
    )
