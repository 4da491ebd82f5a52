"""Records of weather, and the conversion of their values to kelvin and mm."""

import collections
import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from fusion_jax.data import plausibility

PER_DAY_UNITS = ('mm/day', 'mm d-1')  # Of amounts that fall in a day.
_MM_PER_SECOND_UNITS = {
  'kg m-2 s-1': 1.0,
  'kg m**-2 s**-1': 1.0,
  'kg/m^2/s': 1.0,
  'kg m^-2 s^-1': 1.0,
  'mm s-1': 1.0,
  'mm/s': 1.0,
  **dict.fromkeys(PER_DAY_UNITS, 1 / 86_400),
  'mm/h': 1 / 3600,
  'mm h-1': 1 / 3600,
}


_MM_PER_UNIT = {
  unit: factor for unit, (factor, _) in plausibility.AMOUNT_UNITS.items()
}


class NoWeatherError(ValueError):
  """A file is whole, but holds none of the variables that are read."""


class DamagedFileError(ValueError):
  """A file cannot be read at all."""


@dataclasses.dataclass(frozen=True)
class Declared:
  """What a user says of weather files that they do not say themselves.

  Attributes:
    reset_hours: hours of the UTC day at whose multiples precipitation starts
      from zero again; 0 for sums since the last time.
    daily_values: what one value a day is, see `gridded.Weather`.
    temperature_unit: unit of the temperature, in place of the file's.
    precipitation_unit: unit of the precipitation, in place of the file's.
    member: name of the ensemble member to read.
  """

  reset_hours: int = 0
  daily_values: Literal['stated', 'day', 'moment'] = 'stated'
  temperature_unit: str = ''
  precipitation_unit: str = ''
  member: str = ''

  def __post_init__(self) -> None:
    if self.daily_values not in ('stated', 'day', 'moment'):
      raise ValueError(
        f'daily_values={self.daily_values!r} is neither stated, day nor moment.'
      )
    for field, units in (
      ('temperature_unit', plausibility.TEMPERATURE_UNITS),
      ('precipitation_unit', _MM_PER_UNIT | _MM_PER_SECOND_UNITS),
    ):
      unit = getattr(self, field)
      if unit and unit not in units:
        raise ValueError(
          f'{field}={unit!r} is not known; write one of {", ".join(units)}.'
        )


class Record(NamedTuple):
  """One field of one file, not yet read.

  Attributes:
    variable: 't2m', 'tp', or a daily modality's name.
    start: seconds since 1970; precipitation is the sum over (start, end].
    end: seconds since 1970; equal to `start` for an instantaneous value.
    base: start of the forecast run; if several runs have a time, the latest one
      counts.
    file: file of the field, with `grid(record)` and `read(record)`.
    where: position of the field for `file`.
  """

  variable: str
  start: int
  end: int
  base: int
  file: Any
  where: Any


def iso(seconds: int) -> str:
  """Returns seconds since 1970 UTC as a text, such as 2019-03-04T05:00."""
  time = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
  return f'{time:%Y-%m-%dT%H:%M}'


def gaps(records: Iterable[Record]) -> dict[str, list[dict[str, str]]]:
  """Returns the times that records leave out, of all files together.

  Args:
    records: records of some variables.

  Returns:
    {variable: gaps}, a gap from the last time 'after' which nothing is known to
    the first time 'before' which it is. Points in time have one where two of
    them are farther apart than usual, sums where no interval covers a time.
    Before the first and after the last time nothing is listed.
  """
  found = {}
  intervals: dict[str, set[tuple[int, int]]] = {}
  for record in records:
    spans = intervals.setdefault(record.variable, set())
    spans.add((record.start, record.end))
  for variable, spans in sorted(intervals.items()):
    ordered = sorted(spans)
    usual = 0
    if variable == 't2m' and len(ordered) > 1:
      steps = collections.Counter(
        b[0] - a[0] for a, b in zip(ordered, ordered[1:])
      )
      usual = min(steps, key=lambda step: (-steps[step], step))
    known = ordered[0][1]
    listed = []
    for start, end in ordered:
      if start > known + usual:
        listed.append({'after': iso(known), 'before': iso(start)})
      known = max(known, end)
    if listed:
      found[variable] = listed
  return found


def convert(
  values: np.ndarray,
  role: str,
  unit: str,
  seconds: int,
  path: str,
  declared: Declared | None = None,
) -> np.ndarray:
  """Returns values [...] in kelvin, or in mm over the interval.

  Args:
    values: [...] values as stored.
    role: 't2m', 'tp' for an amount, or 'rate' for a mean amount per time.
    unit: unit, as the file spells it.
    seconds: length of the interval in s.
    path: path of the file, and which field of it, for messages.
    declared: units that the user states in place of the file's.

  Raises:
    ValueError: if the unit is another one, or values cannot be what they are
      called.
  """
  declared = declared or Declared()
  if role == 't2m':
    return _kelvin(values, unit, path, declared.temperature_unit)
  unit = declared.precipitation_unit or unit
  table = _MM_PER_SECOND_UNITS if role == 'rate' else _MM_PER_UNIT
  if unit not in table:
    raise ValueError(
      f'Precipitation in {path} has the unit {unit!r}; known are '
      f'{sorted(table)}. Say which it is with --precipitation-unit, or convert '
      'it and name the unit so.'
    )
  amounts = values * (table[unit] * (seconds if role == 'rate' else 1))
  worst = np.nanmin(amounts, initial=0)
  plausibility.check_millimetres(
    amounts,
    seconds / 3600,
    f'Precipitation in {path}',
    f'{values[amounts <= worst][0]:g} {unit} may stand for a missing value: '
    'declare it as the attribute _FillValue of the variable.'
    if worst < 0
    else f'If its unit is not {unit}, say which with --precipitation-unit.',
  )
  # Packing leaves values such as -5e-10; NaN stays.
  return np.maximum(amounts, 0)


def _kelvin(
  values: np.ndarray, unit: str, path: str, stated: str
) -> np.ndarray:
  """Returns values that are kelvin by their unit and by their size."""
  fix = (
    'Temperatures are stored in kelvin: say the unit with --temperature-unit '
    'degC (or degF), or add 273.15 to degrees Celsius and set the unit to K.'
  )
  if stated:
    factor, offset = plausibility.TEMPERATURE_UNITS[stated]
    values = values * factor + offset if (factor, offset) != (1, 0) else values
    plausibility.check_kelvin(
      values,
      f'The temperature in {path} is in {stated} by --temperature-unit',
      'Name the unit of the file there, or nothing if it is K.',
    )
    return values
  finite = values[np.isfinite(values)]
  example = f'{finite[0]:.2f}' if finite.size else 'no value'
  factor, offset = plausibility.TEMPERATURE_UNITS.get(unit, (0, 0))
  if (factor, offset) != (1, 0):
    raise ValueError(
      f'The temperature in {path} has the unit {unit!r} '
      f'(first value {example}). {fix}'
    )
  plausibility.check_kelvin(
    values,
    f'The temperature in {path} is called {unit}',
    'Is it a missing value? Declare it as the attribute _FillValue of the '
    'variable.',
    fix,
  )
  return values
