"""Records of weather, and the conversion of their values to kelvin and mm."""

import collections
import datetime
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

KELVIN = (150.0, 350.0)  # Possible range of the air temperature at 2 m.

_KELVIN_UNITS = ('K', 'kelvin', 'Kelvin', 'degK')
_MM_PER_UNIT = {
  'm': 1000.0,
  'm of water equivalent': 1000.0,
  'mm': 1.0,
  'kg m-2': 1.0,
  'kg m**-2': 1.0,
  'kg/m^2': 1.0,
  'kg m^-2': 1.0,
  'kg/m2': 1.0,
}
_MM_PER_SECOND_UNITS = {
  'kg m-2 s-1': 1.0,
  'kg m**-2 s**-1': 1.0,
  'kg/m^2/s': 1.0,
  'kg m^-2 s^-1': 1.0,
  'mm s-1': 1.0,
  'mm/s': 1.0,
  'mm/day': 1 / 86_400,
  'mm d-1': 1 / 86_400,
  'mm/h': 1 / 3600,
  'mm h-1': 1 / 3600,
}


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
  values: np.ndarray, role: str, unit: str, seconds: int, path: str
) -> np.ndarray:
  """Returns values [...] in kelvin, or in mm over the interval.

  Args:
    values: [...] values as stored.
    role: 't2m', 'tp' for an amount, or 'rate' for a mean amount per time.
    unit: unit, as the file spells it.
    seconds: length of the interval in s.
    path: path of the file, for messages.

  Raises:
    ValueError: if the unit is another one, or values cannot be kelvin.
  """
  if role == 't2m':
    return _kelvin(values, unit, path)
  table = _MM_PER_SECOND_UNITS if role == 'rate' else _MM_PER_UNIT
  if unit not in table:
    raise ValueError(
      f'Precipitation in {path} has the unit {unit!r}; known are '
      f'{sorted(table)}. Convert it and name the unit so.'
    )
  factor = table[unit] * (seconds if role == 'rate' else 1)
  return np.maximum(
    values * factor, 0
  )  # Packing leaves values such as -5e-10; NaN stays.


def _kelvin(values: np.ndarray, unit: str, path: str) -> np.ndarray:
  """Returns values that are kelvin by their unit and by their size."""
  fix = (
    'Temperatures are stored in kelvin: add 273.15 to degrees Celsius '
    'and set the unit to K.'
  )
  finite = values[np.isfinite(values)]
  example = f'{finite[0]:.2f}' if finite.size else 'no value'
  if unit not in _KELVIN_UNITS:
    raise ValueError(
      f'The temperature in {path} has the unit {unit!r} '
      f'(first value {example}). {fix}'
    )
  wrong = finite[(finite < KELVIN[0]) | (finite > KELVIN[1])]
  if wrong.size:
    raise ValueError(
      f'The temperature in {path} is called {unit} but holds '
      f'{wrong[0]:.2f}, which is outside {KELVIN[0]:g} .. {KELVIN[1]:g} K'
      f'{" and looks like degrees Celsius" if abs(wrong[0]) < 100 else ""}. '
      f'{fix}'
    )
  return values
