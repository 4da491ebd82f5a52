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
  xarray_runs,
  xarray_times,
)

_LAT = ('latitude', 'lat')
_LON = ('longitude', 'lon')
_MEMBERS = ('number', 'realization', 'member', 'ensemble', 'ens', 'member_id')


class XarrayFile:
  """The weather records of one NetCDF file or Zarr store.

  Attributes:
    path: path of the file or store.
    records: the records.
    members: names of the ensemble members that it holds.
    num_undated: number of fields without a time, which are left out.
    steps: amounts of forecast steps, and the starts of their runs.
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
    self.steps: list[tuple[int, weather_units.Record]] = []
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
      if d not in space
      and (array.sizes[d] > 1 or d in xarray_runs.TIMES + ('step',))
    ]
    other_dims = [d for d in dims if d not in xarray_runs.TIMES + ('step',)]
    if other_dims or not any(t in array.coords for t in xarray_runs.TIMES):
      raise ValueError(
        f'{name} in {self.path} has the dimensions '
        f'{array.dims}; expected a time, at most a forecast '
        'step, latitude and longitude. Select one entry of any '
        'other, such as a member or a level, and store that; '
        '--member selects a member.'
      )
    base, end = xarray_runs.run_times(array, self._stored, dims, self.path)
    dated = (base != xarray_times.NAT) & (end != xarray_times.NAT)
    self.num_undated += int((~dated).sum())
    if not dated.any():
      raise ValueError(f'{name} in {self.path} has no time that is a date.')
    times = np.unique(end[dated])
    spans = xarray_runs.stated_spans(
      self.data, self._stored, array, dims, self.path
    )
    step = int(np.median(np.diff(times))) if len(times) > 1 else 0
    if not step and spans[0, 0] != xarray_times.NAT:
      step = int(spans[1, 0] - spans[0, 0])
    daily = weather_meaning.daily_series(
      role, array.attrs, step, self.declared, f'{name} in {self.path}'
    )
    for i, index in enumerate(np.ndindex(*(array.sizes[d] for d in dims))):
      if dated[i]:
        where = name, role, {**chosen, **dict(zip(dims, index))}
        span = tuple(map(int, spans[:, i]))
        self._add(daily, (int(base[i]), int(end[i])), span, step, where)

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

  def _add(
    self,
    daily: str,
    times: tuple[int, int],
    span: tuple[int, ...],
    step: int,
    where: Any,
  ) -> None:
    """Adds one record, if its time defines its interval.

    Args:
      daily: daily series that it is of; '' for values of hours.
      times: start of its run, and its valid time, s since 1970.
      span: the interval that the file states, or `xarray_times.NAT`.
      step: usual seconds between times.
      where: its place in the file.
    """
    (base, end), role = times, where[1]
    if daily:
      start = end if span[0] == xarray_times.NAT else self._day(span, end)
      variable, end = daily, start + windows.DAY
    elif role == 't2m':
      variable, start = 't2m', end
    else:
      variable, (start, end) = (
        'tp',
        self._interval(base, end, span, step, where),
      )
      if start == end:
        return  # At step 0, nothing has accumulated yet.
      if role == 'tp' and self.declared.reset_hours:
        base = start  # A run of its own, whichever file holds its last hour.
      if step == end - start == windows.DAY and start % windows.DAY == 0:
        variable = 'tp_sum_daily'
    record = weather_units.Record(variable, start, end, base, self, where)
    self.records.append(record)
    if not daily and role == 'tp' and 'step' in self.data[where[0]].coords:
      self.steps.append((times[0], record))

  def _day(self, span: tuple[int, ...], time: int) -> int:
    """Returns the start of the UTC day with the middle of an interval.

    Raises:
      ValueError: if the interval is none of a day.
    """
    length = span[1] - span[0]
    if 2 * length > windows.DAY and 2 * length < 3 * windows.DAY:
      return (span[0] + length // 2) // windows.DAY * windows.DAY
    if self.declared.daily_values == 'day':
      return time
    raise ValueError(
      f'{self.path} has one value a day, but states an interval of '
      f'{length / windows.HOUR:g} h for that of {weather_units.iso(time)}; '
      'correct the bounds of its times, or pass --daily-values day if it is of '
      'the UTC day of its time.'
    )

  def _interval(
    self, base: int, end: int, span: tuple[int, ...], step: int, where: Any
  ) -> tuple[int, int]:
    """Returns the interval of an amount, which may be empty."""
    name, role = where[:2]
    if span[0] != xarray_times.NAT:
      start, end = span
      if role == 'rate' or not self.declared.reset_hours:
        return start, end
    if role == 'tp' and self.declared.reset_hours:
      reset = self.declared.reset_hours * windows.HOUR
      return (end - 1) // reset * reset, end
    if role == 'tp' and 'step' in self.data[name].coords:
      return min(base, end), end  # It accumulates from the start of the run.
    if not step:
      raise ValueError(
        f'Precipitation in {self.path} has a single time, so the hours it '
        'is the sum of are unknown; join the files along time, or pass '
        '--reset-hours, or --daily-values day for a sum over that day.'
      )
    return end - step, end

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
