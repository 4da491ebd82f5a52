"""Reads hourly observations of weather stations, CSV files with gaps.

A CSV file states neither its units nor its time zone, so the caller declares
them; nothing is guessed. Values become kelvin and mm, hours UTC.
"""

import collections
import csv
import dataclasses
import datetime
import functools
import gzip
import math
import pathlib
import zoneinfo
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from absl import logging

from fusion_jax.data import plausibility, windows
from fusion_jax.untrusted.reading import reading_text

TEMPERATURE_UNITS = {  # Unit -> (factor, offset) to kelvin.
  'K': (1.0, 0.0),
  'degC': (1.0, 273.15),
  'degF': (5 / 9, 273.15 - 32 * 5 / 9),
}
PRECIPITATION_UNITS = {'mm': (1.0, 0.0), 'inch': (25.4, 0.0)}
_UNITS = {
  'temperature': TEMPERATURE_UNITS,
  'precipitation': PRECIPITATION_UNITS,
}


@dataclasses.dataclass(frozen=True)
class Stations:
  """Files of stations, and the meaning of their columns.

  Attributes:
    paths: CSV files with a header, plain or '.gz'.
    places: {station: (lat, lon)} degrees; stations without a place are left
      out.
    station: column that names the station.
    time: column of ISO 8601 times, or four columns of year, month, day, hour.
    time_zone: time zone of times that carry no offset, such as 'UTC' or
      'America/New_York'. An hour that the end of summer time repeats is taken
      in the file's order; if it occurs once, it is the first.
    temperature: (column, unit) with a unit of `TEMPERATURE_UNITS`; () for none.
    precipitation: (column, unit) of the sum over an hour, with a unit of
      `PRECIPITATION_UNITS`; () for none.
    hour_of_sum: whether that hour 'ends' or 'starts' at the row's time.
    missing: texts that mean a missing value; numbers are compared as such, so
      that -999 stands for -999.0, too.
  """

  paths: tuple[str, ...]
  places: Mapping[str, tuple[float, float]]
  station: str
  time: str | tuple[str, ...]
  time_zone: str
  temperature: tuple[str, ...] = ()
  precipitation: tuple[str, ...] = ()
  hour_of_sum: Literal['ends', 'starts'] = 'ends'
  missing: tuple[str, ...] = ('', 'NA')

  def __post_init__(self) -> None:
    for name in ('paths', 'missing'):
      object.__setattr__(self, name, tuple(map(str, getattr(self, name))))
    if not isinstance(self.time, str):
      object.__setattr__(self, 'time', tuple(self.time))
    object.__setattr__(
      self,
      'places',
      {name: tuple(place) for name, place in dict(self.places).items()},
    )
    _check(self)

  def __getstate__(self) -> dict[str, Any]:  # The table is not pickled.
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
    }

  @property
  def cells(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns latitude [P] and longitude [P] of the stations in degrees."""
    return tuple(np.array(list(self.places.values()), np.float64).T)

  @functools.cached_property
  def table(self) -> dict[str, tuple[int, dict[str, np.ndarray]]]:
    """Returns {station: (first hour since 1970, {variable: float64 [n]})}.

    Values are in K or mm. Hours without a row are NaN. Precipitation belongs to
    the hour at which its sum ends.
    """
    rows = collections.defaultdict(dict)
    for path in self.paths:
      _read(path, self, rows)
    absent = sorted(set(self.places) - set(rows))
    if absent:
      raise ValueError(
        f'{", ".join(self.paths)} have no rows of the stations '
        f'{absent}; take them out of `places`.'
      )
    shift = {'temperature': 0, 'precipitation': self.hour_of_sum == 'starts'}
    return {
      name: _fill(values_by_hour, shift)
      for name, values_by_hour in rows.items()
    }

  def series(
    self, lat: np.ndarray, lon: np.ndarray, time: np.ndarray
  ) -> dict[str, np.ndarray]:
    """Returns every series around times at stations, in K or mm.

    Args:
      lat: float [P], latitudes of stations in degrees.
      lon: float [P], longitudes of stations in degrees.
      time: [P] seconds since 1970 UTC.

    Raises:
      ValueError: if there is no station at a place.
    """
    start = windows.first_hour(time)
    hours = np.arange(windows.NUM_HOURS)
    hourly = {'temperature': [], 'precipitation': []}
    for place, first in zip(zip(lat, lon), start):
      table_first, values = self.table[self._station_at(*place)]
      for variable, parts in hourly.items():
        # Column i of precipitation is the sum that ends at first + 1 + i.
        index = hours + first - table_first + (variable == 'precipitation')
        parts.append(_take(values[variable], index))
    return windows.series(
      np.asarray(time, np.int64),
      np.stack(hourly['temperature']),
      np.stack(hourly['precipitation']),
    )

  def _station_at(self, lat: float, lon: float) -> str:
    for name, place in self.places.items():
      if np.allclose(place, (lat, lon), rtol=0, atol=1e-6):
        return name
    raise ValueError(
      f'There is no station at {lat}, {lon}; they are at {self.places}.'
    )


def _check(declared):
  """Checks that everything is declared that a CSV file does not state."""
  if not declared.time_zone:
    raise ValueError(
      "time_zone is not declared; name it, as 'UTC' or 'America/New_York'."
    )
  try:
    zoneinfo.ZoneInfo(declared.time_zone)
  except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
    raise ValueError(
      f'time_zone={declared.time_zone!r} is no zone of the tz database; '
      "names are such as 'UTC' or 'America/New_York' (where the system has "
      'none, `pip install tzdata`).'
    ) from error
  if not isinstance(declared.time, str) and len(declared.time) != 4:
    raise ValueError(
      f'time={declared.time} is neither one column nor the '
      'four of year, month, day and hour.'
    )
  if not declared.temperature and not declared.precipitation:
    raise ValueError(
      'Neither temperature nor precipitation is declared; give '
      "one, such as temperature=('temp', 'degF')."
    )
  for variable, units in _UNITS.items():
    column_and_unit = getattr(declared, variable)
    if column_and_unit and (
      isinstance(column_and_unit, str)
      or len(column_and_unit) != 2
      or column_and_unit[1] not in units
    ):
      raise ValueError(
        f'{variable}={column_and_unit!r} does not declare a column and its '
        f'unit; the unit is one of {sorted(units)}.'
      )
  for name, place in declared.places.items():
    if len(list(place)) != 2:
      raise ValueError(f'places: {name!r} is at {place}, not at (lat, lon).')
    plausibility.check_place(place[0], place[1], f'places: {name!r} at {place}')
  if declared.hour_of_sum not in ('ends', 'starts'):
    raise ValueError(
      f'hour_of_sum={declared.hour_of_sum!r} is neither ends nor starts.'
    )


def _read(path, declared, rows):
  """Adds a file's values to `rows`, {station: {hour: {variable: value}}}."""
  repeated = collections.Counter()  # Number of rows by station and local time.
  zone = zoneinfo.ZoneInfo(declared.time_zone)
  unplaced = collections.Counter()
  opened = gzip.open if pathlib.Path(path).suffix == '.gz' else open
  with (
    opened(path, 'rt', newline='', encoding='utf-8-sig') as file,
    reading_text(path, 'table'),
  ):
    reader = csv.DictReader(file)
    _check_columns(path, reader.fieldnames or (), declared)
    for number, row in enumerate(reader, start=2):
      where = f'{path}, line {number}'
      name = row[declared.station]
      if name not in declared.places:
        unplaced[name] += 1
        continue
      time = _time(row, declared.time, where)
      if time.tzinfo is None:
        time = _in_zone(time, zone, repeated[name, time], where)
        repeated[name, time.replace(tzinfo=None, fold=0)] += 1
      hour = _hour(time, where)
      values = {
        variable: _value(row, variable, declared, where) for variable in _UNITS
      }
      previous = rows[name].setdefault(hour, values)
      if not all(_same(previous[v], values[v]) for v in values):
        raise ValueError(
          f'{where}: station {name} already has another value '
          'of this hour; keep one row per hour.'
        )
  for name, count in unplaced.items():
    logging.warning(
      '%s: left out %d rows of %r, which has no place.', path, count, name
    )


def _check_columns(path, columns, declared):
  time = (declared.time,) if isinstance(declared.time, str) else declared.time
  required = [
    declared.station,
    *time,
    *declared.temperature[:1],
    *declared.precipitation[:1],
  ]
  missing = [name for name in required if name not in columns]
  if missing:
    raise ValueError(
      f'{path} has no column {missing}; its columns are '
      f'{list(columns)}. Declare what they are called.'
    )


def _time(row, columns, where):
  """Returns the time of a row, local if it has no offset."""
  try:
    if isinstance(columns, str):
      return datetime.datetime.fromisoformat(row[columns])
    year, month, day, hour = (int(row[name]) for name in columns)
    return datetime.datetime(year, month, day, hour)
  except ValueError as error:
    raise ValueError(f'{where}: the time cannot be read: {error}.') from error


def _in_zone(time, zone, times_before, where):
  """Returns a local time with its zone; repeated hours come in order."""
  first = time.replace(tzinfo=zone)
  second = first.replace(fold=1)
  if first.utcoffset() < second.utcoffset():
    raise ValueError(
      f'{where}: {time.isoformat()} does not exist in '
      f'{zone.key}, where summer time begins; is the time zone '
      'right?'
    )
  return second if times_before else first


def _hour(time, where):
  """Returns the hours since 1970 UTC of a time with its zone."""
  seconds = time.timestamp()
  if seconds % windows.HOUR:
    raise ValueError(
      f'{where}: {time.isoformat()} is not on the hour; round '
      'the times to the hour that they stand for.'
    )
  return int(seconds) // windows.HOUR


def _value(row, variable, declared, where):
  """Returns the value in K or mm; NaN if it is missing or not declared."""
  column_and_unit = getattr(declared, variable)
  if not column_and_unit:
    return math.nan
  column, unit = column_and_unit
  text = (row[column] or '').strip()
  number = _number(text)
  codes = {x for x in map(_number, declared.missing) if math.isfinite(x)}
  if text in declared.missing or number in codes:
    return math.nan
  factor, offset = _UNITS[variable][unit]
  if not math.isfinite(number):
    raise ValueError(
      f'{where}: {column}={text!r} is no number; if it stands for a missing '
      'value, add it to `missing`.'
    )
  value = number * factor + offset
  low, high = plausibility.KELVIN if variable == 'temperature' else (0.0, 500.0)
  if not low <= value <= high:
    raise ValueError(
      f'{where}: {column}={text} {unit} is {value:.1f} '
      f'{"K" if variable == "temperature" else "mm"}, outside {low:g} .. '
      f'{high:g}; is the unit right? If {text} stands for a missing value, '
      'add it to `missing`.'
    )
  return value


def _number(text: str) -> float:
  """Returns the number that a text spells; NaN if none."""
  try:
    return float(text)
  except ValueError:
    return math.nan


def _same(a: float, b: float) -> bool:
  return a == b or (math.isnan(a) and math.isnan(b))


def _fill(values_by_hour, shift):
  """Returns first hour and {variable: [n]} of {hour: {variable: value}}."""
  first, last = min(values_by_hour), max(values_by_hour)
  values = {variable: np.full(last - first + 2, np.nan) for variable in shift}
  for hour, row in values_by_hour.items():
    for variable, value in row.items():
      values[variable][hour - first + shift[variable]] = value
  return first, values


def _take(values: np.ndarray, index: np.ndarray) -> np.ndarray:
  """Takes values by an index, with NaN outside of them."""
  inside = (index >= 0) & (index < len(values))
  return np.where(inside, values[np.where(inside, index, 0)], np.nan)
