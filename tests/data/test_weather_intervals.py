"""Amounts are of the interval that steps of a run, or bounds, say they are."""

import calendar

import numpy as np
import pytest
import xarray as xr

from fusion_jax.data.sources import gridded
from tests.data.weather_fields import fields, hours

START = calendar.timegm((2020, 1, 1, 0, 0, 0))
DIMS = ('time', 'step', 'latitude', 'longitude')
# Amounts of the hours that end at 1 January 00, 01, ..; hour 0 is not read.
RAIN = np.where(
  np.random.default_rng(0).random(96) < 0.5,
  np.random.default_rng(1).gamma(0.5, size=96),
  0,
)


def series(paths, *, hour=47, **settings):
  """The series at 10 N, 20 E whose hourly window begins with 1 January."""
  paths = paths if isinstance(paths, list) else [paths]
  weather = gridded.Weather(tuple(map(str, paths)), **settings)
  values = weather.series([10.0], [20.0], [START + 3600 * hour])
  return {k: v[0] for k, v in values.items()}


def runs(folder, hourly, first, length, total, in_files=False):
  """Runs that `first`, `first + length`, .. begin, with steps of an hour.

  Args:
    folder: where to write.
    hourly: [T] mm.
    first: hour of the first run.
    length: hours of a run.
    total: what is stored of the amounts [steps] of a run.
    in_files: whether each step is a file of its own.
  """
  starts = np.arange(first, len(hourly) - length, length)
  values = np.stack([total(hourly[s + 1 : s + 1 + length]) for s in starts])
  steps = np.arange(1, length + 1) * np.timedelta64(3600 * 10**9, 'ns')
  parts = [[i] for i in range(length)] if in_files else [range(length)]
  paths = []
  for i, part in enumerate(map(list, parts)):
    paths.append(
      fields(
        folder / f'{i}.nc',
        'tp',
        values[:, part, None, None] / 1000,
        'm',
        DIMS,
        {'GRIB_stepType': 'accum'},
        time=np.datetime64('2020-01-01', 'ns')
        + starts * np.timedelta64(1, 'h'),
        step=steps[part],
      )
    )
  return paths


def sixes(amounts):
  """Sums that start again every 6 h."""
  return np.cumsum(amounts.reshape(-1, 6), 1).ravel()


@pytest.mark.parametrize(
  'first, length, total, advice, in_files',
  [
    (6, 12, np.array, 1, False),
    (6, 6, np.array, 1, True),
    (0, 24, sixes, 6, False),
  ],
)
def test_steps_that_are_no_sums_since_the_start_are_named(
  tmp_path, first, length, total, advice, in_files
):
  paths = runs(tmp_path, RAIN, first, length, total, in_files)
  with pytest.raises(
    ValueError, match=f'0.nc falls inside of .*: pass --reset-hours {advice}.$'
  ):
    series(paths)
  rain = series(paths, reset_hours=advice)['tp_hourly']
  np.testing.assert_allclose(rain[first + 1 :], RAIN[first + 1 : 60], atol=1e-4)
  if advice == 6:
    with pytest.raises(ValueError, match='does not start from zero every 12 h'):
      series(paths, reset_hours=12)


def test_sums_since_the_start_stay_so(tmp_path):
  paths = runs(tmp_path, RAIN, 6, 12, np.cumsum)
  rain = series(paths)['tp_hourly']
  np.testing.assert_allclose(rain[7:], RAIN[7:60], atol=1e-4)
  with pytest.raises(ValueError, match='goes on to rise after 1 h.* leave out'):
    series(paths, reset_hours=1)


def test_drizzle_at_single_steps_is_no_sum(tmp_path):
  paths = runs(tmp_path, np.minimum(RAIN / 5, 0.15), 0, 24, np.array)
  with pytest.raises(ValueError, match='pass --reset-hours 1'):
    series(paths)


def test_the_same_amount_at_every_step_may_be_either(tmp_path):
  paths = runs(tmp_path, np.ones(96), 6, 12, np.array)
  with pytest.raises(
    ValueError, match='the same .* steps, pass --reset-hours 1'
  ):
    series(paths)
  days = series(paths, reset_hours=1)['tp_sum_daily']
  np.testing.assert_allclose(days[29], 24, rtol=1e-5)  # Of 2 January.
  dry = tmp_path / 'dry'
  dry.mkdir()
  assert (
    series(runs(dry, np.zeros(96), 6, 12, np.array))['tp_sum_daily'][29] == 0
  )


def with_bounds(path, start, end, name='time_bnds'):
  """Adds the intervals of its times to a file."""
  data = xr.load_dataset(path, engine='h5netcdf')
  data[name] = ('time', 'nv'), np.stack([start, end], 1)
  data['time'].attrs['bounds'] = name
  data['time'].encoding = {'units': 'hours since 1970-01-01'}
  path.unlink()
  data.to_netcdf(path, engine='h5netcdf')
  return path


@pytest.mark.parametrize('stamped', ['start', 'middle', 'end'])
def test_days_are_those_of_the_bounds(tmp_path, stamped):
  day = np.timedelta64(24, 'h')
  start = np.datetime64('2020-01-01', 'ns') + np.arange(9) * day
  time = start + {'start': 0, 'middle': 1, 'end': 2}[stamped] * day // 2
  for name, unit, method, daily in (
    ('tp', 'mm', 'sum', 'tp_sum_daily'),
    ('t2m', 'K', 'mean', 't2m_mean_daily'),
  ):
    values = np.arange(9.0) + (280 if unit == 'K' else 0)
    attrs = {'cell_methods': f'time: {method}'}
    path = fields(
      tmp_path / f'{name}.nc', name, values, unit, attrs=attrs, time=time
    )
    with_bounds(path, start, start + day)
    result = series(path)[daily][28:37]
    np.testing.assert_array_equal(result, values)


@pytest.mark.parametrize('stamped', ['start', 'end'])
@pytest.mark.parametrize('number', [8, 1])
def test_amounts_are_those_of_the_bounds(tmp_path, stamped, number):
  step = np.timedelta64(1, 'h')
  start = np.datetime64('2020-01-01', 'ns') + np.arange(number) * step
  path = fields(
    tmp_path / 'p.nc',
    'pr',
    np.arange(1.0, number + 1) / 3600,
    'kg m-2 s-1',
    attrs={'cell_methods': 'time: mean'},
    time=start if stamped == 'start' else start + step,
  )
  with_bounds(path, start, start + step)
  rain = series(path)['tp_hourly']
  np.testing.assert_allclose(
    rain[1 : number + 1], np.arange(1, number + 1), rtol=1e-5
  )
  assert np.isfinite(rain).sum() == number


def test_bounds_that_cannot_be_are_named(tmp_path):
  time = hours('2020-01-01T00', 9)
  path = fields(tmp_path / 'p.nc', 'tp', np.ones(9), 'mm', time=time)
  with_bounds(path, time, time - np.timedelta64(1, 'h'))
  with pytest.raises(ValueError, match='p.nc: time_bnds, .* from .*T00:00 to '):
    series(path)
  days = time[0] + np.arange(9) * np.timedelta64(1, 'D')
  attrs = {'cell_methods': 'time: mean'}
  path = fields(
    tmp_path / 't.nc', 't2m', np.full(9, 280.0), 'K', attrs=attrs, time=days
  )
  with_bounds(path, days, days + np.timedelta64(1, 'h'))
  with pytest.raises(
    ValueError, match='t.nc has one value a day, but states an'
  ):
    series(path)
  assert series(path, daily_values='day')['t2m_mean_daily'][28] == 280
