"""Reads weather from NetCDF and Zarr with xarray."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from fusion_jax import geo
from fusion_jax.data import plausibility, windows
from fusion_jax.data.sources import (
  weather_meaning,
  weather_units,
  xarray_times,
)

_LAT = ('latitude', 'lat')
_LON = ('longitude', 'lon')
TIMES = ('time', 'valid_time')
_MEMBERS = ('number', 'realization', 'member', 'ensemble', 'ens', 'member_id')


class XarrayFile:
  """The weather records of one NetCDF file or Zarr store.

  Attributes:
    path: path of the file or store.
    records: the records.
    members: names of the ensemble members that it holds.
    num_undated: number of fields without a time, which are left out.
  """

  def __init__(
    self,
    path: str,
    names: Mapping[str, Sequence[str]],
    declared: weather_units.Declared | None = None,
  ):
    """Finds variables, coordinates and times.

    Args:
      path: path of the file or store.
      names: {role: variable names}, as `gridded.NAMES`.
      declared: what the user says of the file.

    Raises:
      weather_units.NoWeatherError: if the file has no known variable.
      weather_units.DamagedFileError: if it cannot be read.
      ValueError: if it lacks a coordinate or does not say what its values are.
    """
    self.path = str(path)
    self.declared = declared or weather_units.Declared()
    self.data, self._stored = xarray_times.open_file(path)
    self.records: list[weather_units.Record] = []
    self.members: set[str] = set()
    self.num_undated = 0
    variables = [
      (role, name)
      for role in names
      for name in names[role]
      if name in self.data
    ]
    if not variables:
      raise weather_units.NoWeatherError(
        f'{self.path} holds neither 2 m temperature nor precipitation '
        f'(looked for {", ".join(n for r in names for n in names[r])}); it '
        f'holds {", ".join(map(str, self.data.data_vars))}. Name the '
        'variable with --temperature or --precipitation if it is one.'
      )
    self.lat, self.lon = self._coordinate(_LAT), self._coordinate(_LON)
    self._grid = self._read_grid()
    for role, name in variables:
      self._list(role, name)

  def _read_grid(self) -> geo.Grid | geo.Points:
    """Reads the places of the cells."""
    lats, lons = self.data[self.lat], self.data[self.lon]
    if lats.ndim > 1:
      raise ValueError(
        f'{self.path} is not on a latitude-longitude grid: '
        f'{self.lat} has the dimensions {lats.dims}.'
      )
    lat, lon = np.atleast_1d(lats.values), np.atleast_1d(lons.values)
    # Grids that go around the globe may begin anywhere.
    turned = np.where(np.abs(lon) <= 720, geo.wrap_longitude(lon), lon)
    plausibility.check_place(
      lat, turned, f'{self.path}: {self.lat}, {self.lon}'
    )
    is_list = lats.ndim == 1 and lats.dims == lons.dims
    return (geo.Points if is_list else geo.Grid)(lat, lon)

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
    array, chosen = self._choose_member(self.data[name])
    space = set(self.space)
    dims = [
      d
      for d in array.dims
      if d not in space and (array.sizes[d] > 1 or d in TIMES + ('step',))
    ]
    other_dims = [d for d in dims if d not in TIMES + ('step',)]
    if other_dims or not any(t in array.coords for t in TIMES):
      raise ValueError(
        f'{name} in {self.path} has the dimensions '
        f'{array.dims}; expected a time, at most a forecast '
        'step, latitude and longitude. Select one entry of any '
        'other, such as a member or a level, and store that; '
        '--member selects a member.'
      )
    base, end = self._times(array, dims)
    dated = (base != xarray_times.NAT) & (end != xarray_times.NAT)
    self.num_undated += int((~dated).sum())
    if not dated.any():
      raise ValueError(f'{name} in {self.path} has no time that is a date.')
    times = np.unique(end[dated])
    step = int(np.median(np.diff(times))) if len(times) > 1 else 0
    daily = weather_meaning.daily_series(
      role, array.attrs, step, self.declared, f'{name} in {self.path}'
    )
    for i, index in enumerate(np.ndindex(*(array.sizes[d] for d in dims))):
      if dated[i]:
        where = name, role, {**chosen, **dict(zip(dims, index))}
        self._add(role, daily, int(base[i]), int(end[i]), step, where)

  def _choose_member(
    self, array: xr.DataArray
  ) -> tuple[xr.DataArray, dict[Any, int]]:
    """Returns the values of the chosen ensemble member, and their index.

    Raises:
      ValueError: if the file does not have that member, or has several and
        none is chosen.
    """
    dim = next((d for d in _MEMBERS if d in array.dims), '')
    coordinate = next((d for d in _MEMBERS if d in array.coords), dim)
    if not coordinate:
      return array, {}
    names = [_text(x) for x in np.ravel(array[coordinate].values)]
    self.members |= set(names)
    if self.declared.member:
      if self.declared.member not in names:
        raise weather_units.NoWeatherError(
          f'{self.path} has the ensemble members {", ".join(names)}, not '
          f'{self.declared.member}.'
        )
      index = names.index(self.declared.member)
    elif len(names) > 1:
      raise ValueError(
        f'{array.name} in {self.path} has the dimensions {array.dims}: choose '
        f'one of the members {", ".join(names)} with --member {names[0]}.'
      )
    else:
      index = 0
    return (array.isel({dim: index}), {dim: index}) if dim else (array, {})

  def _times(
    self, array: xr.DataArray, dims: Sequence[Any]
  ) -> list[np.ndarray]:
    """Returns run and valid times [n], s since 1970, in the order of `dims`."""
    name = next(
      (t for t in TIMES if t in dims),
      next(t for t in TIMES if t in array.coords),
    )
    end = xarray_times.seconds(
      array[name], self._stored.variables[name], self.path
    )
    known = end.values[end.values != xarray_times.NAT]
    # Without steps, all times belong to one run.
    base = xr.DataArray(known.min() if known.size else xarray_times.NAT)
    if 'step' in array.coords and name == 'time':
      base, end = end, end + self._steps(array)
      end = xr.where(base == xarray_times.NAT, base, end)
    shape = xr.DataArray(
      np.zeros([array.sizes[d] for d in dims], np.int64), dims=dims
    )
    return [
      (times + shape).transpose(*dims).values.ravel() for times in (base, end)
    ]

  def _steps(self, array: xr.DataArray) -> xr.DataArray:
    """Returns the forecast steps in s.

    Raises:
      ValueError: if they have no unit.
    """
    steps = array.coords['step']
    if steps.dtype.kind != 'm':
      raise ValueError(
        f'{self.path}: step holds {np.ravel(steps.values)[0]} without a unit; '
        'set its attribute units, for instance to hours.'
      )
    seconds = steps.values.astype('timedelta64[s]').astype(np.int64)
    return xr.DataArray(seconds, dims=steps.dims)

  def _add(
    self, role: str, daily: str, base: int, end: int, step: int, where: Any
  ) -> None:
    """Adds one record, if its time defines its interval."""
    if daily:
      variable, start, end = daily, end, end + windows.DAY
    elif role == 't2m':
      variable, start = 't2m', end
    else:
      variable, start = 'tp', self._start(role, base, end, step)
      if start is None:
        return  # At step 0, nothing has accumulated yet.
      if role == 'tp' and self.declared.reset_hours:
        base = start  # A run of its own, whichever file holds its last hour.
      if step == end - start == windows.DAY and start % windows.DAY == 0:
        variable = 'tp_sum_daily'
    self.records.append(
      weather_units.Record(variable, start, end, base, self, where)
    )

  def _start(self, role: str, base: int, end: int, step: int) -> int | None:
    """Returns the start of the interval of an amount; None if it is empty."""
    if role == 'tp' and self.declared.reset_hours:
      reset = self.declared.reset_hours * windows.HOUR
      return (end - 1) // reset * reset
    if (
      role == 'tp' and 'step' in self.data.coords
    ):  # It accumulates from the start of the run.
      return base if base < end else None
    if not step:
      raise ValueError(
        f'Precipitation in {self.path} has a single time, so the hours it '
        'is the sum of are unknown; join the files along time, or pass '
        '--reset-hours, or --daily-values day for a sum over that day.'
      )
    return end - step

  @property
  def space(self) -> tuple[Any, ...]:
    """The dimensions of the places."""
    dims = self.data[self.lat].dims + self.data[self.lon].dims
    return tuple(dict.fromkeys(dims))

  def values(self, array: xr.DataArray, name: str, where: str) -> np.ndarray:
    """Reads an array, as float64.

    Args:
      array: [...] part of a variable, not yet read.
      name: name of the variable.
      where: file and time, for messages.

    Raises:
      ValueError: if it cannot be read.
    """
    try:
      return array.values.astype(np.float64)
    except Exception as error:  # Of HDF5 and of codecs, each of its own kind.
      raise ValueError(
        f'{where} {name} cannot be read ({type(error).__name__}: {error}); '
        'fetch the file again.'
      ) from error

  def unit(self, name: str) -> str:
    """Returns the unit of a variable, as the file spells it."""
    return str(self.data[name].attrs.get('units', 'none'))

  def grid(self, record: weather_units.Record) -> geo.Grid | geo.Points:
    """Returns the grid or the points of all records."""
    del record
    return self._grid

  def read(self, record: weather_units.Record) -> np.ndarray:
    """Returns the field of a record, [P] in K or in mm over its interval.

    Raises:
      ValueError: if it cannot be read, or be what it is called.
    """
    name, role, index = record.where
    array = self.data[name].isel(index).transpose(..., *self.space)
    field = f'{self.path}, {weather_units.iso(record.end)},'
    values = self.values(array, name, field).ravel()
    role = 't2m' if role.startswith('t2m') else role
    return weather_units.convert(
      values,
      role,
      self.unit(name),
      record.end - record.start,
      field,
      self.declared,
    )


def _text(value: Any) -> str:
  """Returns the name of an ensemble member."""
  if isinstance(value, bytes):
    return value.decode('utf-8', 'replace')
  return f'{value:g}' if isinstance(value, float) else str(value)
