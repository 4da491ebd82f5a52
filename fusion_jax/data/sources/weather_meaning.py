"""What the values of a weather variable stand for: moments, means, sums.

NetCDF says it in `cell_methods` of CF's conventions, or in `GRIB_stepType` if
it was converted from GRIB. What is not said is not guessed.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import logging

from fusion_jax.data import plausibility, windows
from fusion_jax.data.sources import weather_units

_STEP_TYPES = {
  'instant': 'point',
  'avg': 'mean',
  'max': 'maximum',
  'min': 'minimum',
}
# {(role, method): the daily series}.
_DAILY = {
  ('t2m', 'mean'): 't2m_mean_daily',
  ('t2m', 'maximum'): 't2m_max_daily',
  ('t2m', 'minimum'): 't2m_min_daily',
  ('tp', 'sum'): 'tp_sum_daily',
  ('rate', 'mean'): 'tp_sum_daily',
}
_WHOLE_DAYS = {
  't2m': 't2m_mean_daily',
  'tp': 'tp_sum_daily',
  'rate': 'tp_sum_daily',
}
# Conversions keep this attribute of the hours that a mean was made of.
_INSTANT = 'GRIB_stepType instant'
_FALL_MM = 0.02  # An amount falls if it falls by more: packing is coarse.
_FALL_SHARE = 0.05  # Of what sums rise by, packing lets them fall by less.
_PERIODS = (24, 12, 6, 3)  # Hours after which sums usually start again.


def method(attributes: Mapping[str, Any]) -> str:
  """Returns 'point', 'mean', 'sum', 'maximum', 'minimum'; '' if not said."""
  cell_methods = str(attributes.get('cell_methods', ''))
  match = re.search(r'\btime\s*:\s*(\w+)', cell_methods)
  if match:
    return match[1]
  return _STEP_TYPES.get(str(attributes.get('GRIB_stepType', '')), '')


def daily_series(
  role: str,
  attributes: Mapping[str, Any],
  step: int,
  declared: weather_units.Declared,
  name: str,
) -> str:
  """Returns the daily series that a variable holds; '' if it holds hours.

  Args:
    role: 't2m', 'tp', 'rate' or a daily series.
    attributes: attributes of the variable.
    step: usual seconds between its times; 0 for a single time.
    declared: what the user says of it.
    name: name of the variable and of its file, for messages.

  Raises:
    ValueError: if it has one value a day, or fewer, and does not say of what.
  """
  said, choice = method(attributes), declared.daily_values
  is_step_type = said == 'point' and 'time:' not in (
    str(attributes.get('cell_methods', ''))
  )
  if role not in _WHOLE_DAYS:
    if step not in (0, windows.DAY):
      raise ValueError(
        f'{name} should have one value a day, but has one in {_hours(step)}.'
      )
    return role
  if choice == 'day' and step in (0, windows.DAY):
    return _DAILY.get((role, said), _WHOLE_DAYS[role])
  if role == 'rate' and said == 'point':
    raise ValueError(
      f'{name} holds rates of a moment, which are no amounts; give mean rates '
      'or amounts.'
    )
  if is_step_type and choice == 'stated' and step >= windows.DAY:
    raise ValueError(_unclear(role, _INSTANT, step, name))
  if choice == 'moment' or said == 'point':
    if choice == 'stated' and step == windows.DAY:
      logging.warning(
        '%s says that it holds one moment of every day, so no daily mean; if '
        'it is one, pass --daily-values day.',
        name,
      )
    return ''
  within_days = 'within days' in str(attributes.get('cell_methods', ''))
  if step == windows.DAY or within_days:
    if series := _DAILY.get((role, said), ''):
      return series
    if attributes.get('units') in weather_units.PER_DAY_UNITS:
      return 'tp_sum_daily'
  if role == 'tp' and declared.reset_hours:
    return ''
  if step >= windows.DAY or (said == 'mean' and not step):
    raise ValueError(_unclear(role, said, step, name))
  return ''


def _unclear(role: str, said: str, step: int, name: str) -> str:
  """The message about values that may be of days or of moments."""
  apart = f'one value in {_hours(step)}' if step else 'a single time'
  called = f'calls it {said!r}' if said else 'does not say of what'
  if step > windows.DAY:
    return (
      f'{name} has {apart}, and {called}; give hourly or daily values, or pass '
      '--daily-values moment if these are values of single hours.'
    )
  moment = (
    'moment if it is the value of that hour'
    if role == 't2m'
    else 'moment if it is the sum of the 24 hours before its time; pass '
    '--reset-hours 24 if it is the sum since 00 UTC'
  )
  return (
    f'{name} has {apart}, and {called}: set cell_methods, or pass '
    f'--daily-values day if it is of the UTC day of its time, {moment}.'
  )


def _hours(seconds: int) -> str:
  return f'{seconds / windows.HOUR:g} h'


def check_sums(
  times: np.ndarray,
  values: np.ndarray,
  reset_hours: int,
  name: str,
) -> bool:
  """Checks that amounts start again when the user says, by a sample of them.

  Sums since midnight rise through the day and fall at its end only. Amounts of
  single hours fall whenever rain ends.

  Args:
    times: int [T], rising seconds since 1970, at which the amounts end.
    values: [T, P] mm; NaN where missing.
    reset_hours: hours after which they start again, as the user says; 0 for
      amounts since the time before.
    name: name of the variable and of its file, for messages.

  Returns:
    Whether there was enough rain to tell.

  Raises:
    ValueError: if they start again after other hours; shows two of them.
  """
  before, after = values[:-1], values[1:]
  near = np.diff(times) <= 6 * windows.HOUR
  wet = near[:, None] & (np.fmax(before, after) > 10 * _FALL_MM)
  falls = wet & (after < before - _FALL_MM)
  if wet.sum() < 12 or falls.sum() < 2:
    return False
  if reset_hours:
    early = falls & (times[:-1] % (reset_hours * windows.HOUR) != 0)[:, None]
    if early.sum() > 0.02 * wet.sum():
      raise ValueError(
        f'{name} does not start from zero every {reset_hours} h: '
        f'{_example(times, values, early)}. Leave out --reset-hours, or give '
        'the hours after which it does.'
      )
    return True
  for period in _PERIODS:
    ends = (times[:-1] % (period * windows.HOUR) == 0)[:, None]
    inside, across = wet & ~ends, falls & ends
    if inside.sum() < 12 or (falls & inside).sum() > 0.01 * inside.sum():
      continue
    if across.sum() >= max(2, 0.5 * (wet & ends).sum()):
      raise ValueError(
        f'{name} rises for {period} h and then starts again: '
        f'{_example(times, values, across)}. These are sums since the '
        f'last multiple of {period} h UTC, not of single steps: pass '
        f'--reset-hours {period}.'
      )
  return True


def check_run(
  times: np.ndarray,
  before: np.ndarray,
  after: np.ndarray,
  step: int,
  reset_hours: int,
  name: str,
) -> None:
  """Checks that amounts of forecast steps are sums since their run started.

  Such sums never fall, and rise where it rains. ERA5, converted from GRIB, has
  amounts of single hours in the same form.

  Args:
    times: int [N], seconds since 1970 at which the first of two steps ends.
    before: [N] mm of the first step at a place; NaN where missing.
    after: [N] mm of the step after it.
    step: seconds between them, usually.
    reset_hours: as of `check_sums`.
    name: name of the variable and of its file, for messages.

  Raises:
    ValueError: if they are other sums, or if it cannot be told.
  """
  wet = np.fmax(before, after) > 0.05
  change = np.where(wet, np.nan_to_num(after - before), 0)
  change[np.abs(change) < np.minimum(_FALL_MM, 0.1 * before + 0.002)] = 0
  fallen, risen = np.maximum(-change, 0), np.maximum(change, 0)
  if reset_hours:
    pair = functools.partial(_pair, times, before, after, step)
    _check_reset(times, wet, fallen, risen, reset_hours, pair, name)
    return
  if fallen.sum() > _FALL_SHARE * risen.sum():
    raise ValueError(
      f'{name} falls inside of a forecast run: '
      f'{_pair(times, before, after, step, fallen)}. These are no sums since '
      f'the start of the run: {_remedy(times, wet, fallen, risen, step)}.'
    )
  if wet.sum() >= 12 and not risen.any():
    remedy = _remedy(times, wet, fallen, risen, step)
    raise ValueError(
      f'{name} has the same amount at every step of a run: '
      f'{_pair(times, before, after, step, wet)}. If these are amounts of '
      f'single steps, {remedy}. If they are sums since the start of the run, '
      'store their differences along step, the first step as it is, and do the '
      'same.'
    )


def _check_reset(
  times: np.ndarray,
  wet: np.ndarray,
  fallen: np.ndarray,
  risen: np.ndarray,
  reset_hours: int,
  pair: Callable[[np.ndarray], str],
  name: str,
) -> None:
  """Checks that amounts of steps start again when the user says."""
  ends = times % (reset_hours * windows.HOUR) == 0
  early = fallen * ~ends
  if early.sum() > _FALL_SHARE * risen.sum():
    raise ValueError(
      f'{name} does not start from zero every {reset_hours} h: '
      f'{pair(early)}. Give the hours after '
      'which it does.'
    )
  grown = risen * ends
  if (wet & ends).sum() >= 12 and (
    (fallen * ends).sum() <= _FALL_SHARE * grown.sum() and grown.any()
  ):
    raise ValueError(
      f'{name} goes on to rise after {reset_hours} h: '
      f'{pair(grown)}. These are sums since '
      'the start of each run: leave out --reset-hours.'
    )


def _remedy(
  times: np.ndarray,
  wet: np.ndarray,
  fallen: np.ndarray,
  risen: np.ndarray,
  step: int,
) -> str:
  """Returns how to read amounts that start again within a run."""
  hours = step // windows.HOUR
  for period in _PERIODS:
    inside = times % (period * windows.HOUR) != 0
    if period <= hours or (wet & inside).sum() < 12 or not fallen.any():
      continue
    if (fallen * inside).sum() <= _FALL_SHARE * risen.sum():
      return f'pass --reset-hours {period}'
  if hours and 24 % hours == 0 and not (times % step).any():
    return f'pass --reset-hours {hours}'
  return 'store them along one dimension of time, without the coordinate step'


def _pair(
  times: np.ndarray,
  before: np.ndarray,
  after: np.ndarray,
  step: int,
  shown: np.ndarray,
) -> str:
  """Describes two steps of a run where they are shown the most."""
  i = int(np.argmax(shown))
  return (
    f'{before[i]:.2f} mm at {weather_units.iso(int(times[i]))}, '
    f'{after[i]:.2f} mm at {weather_units.iso(int(times[i]) + step)}'
  )


def check_unit(values: np.ndarray, step: int, unit: str, name: str) -> None:
  """Checks that amounts that are called millimetres are not metres.

  Args:
    values: [T, P] mm; NaN where missing.
    step: seconds of which they are sums.
    unit: unit of the file.
    name: name of the variable and of its file, for messages.

  Raises:
    ValueError: if they look like metres.
  """
  hours = max(step // windows.HOUR, 1)
  if np.size(values) >= 100 and plausibility.are_metres(values, hours):
    raise ValueError(
      f'{name} is in {unit}, but its largest value is {np.nanmax(values):g} '
      f'although it rains at {(values > 0).mean():.1%} of its values: is it '
      'drizzle, or are these metres? Pass --precipitation-unit mm if they are '
      'mm, or --precipitation-unit m if they are metres.'
    )


def _example(times: np.ndarray, values: np.ndarray, falls: np.ndarray) -> str:
  """Describes the first of some falls."""
  i, cell = np.argwhere(falls)[0]
  return (
    f'{values[i, cell]:.2f} mm at {weather_units.iso(int(times[i]))}, '
    f'{values[i + 1, cell]:.2f} mm at {weather_units.iso(int(times[i + 1]))}'
  )
