"""Weather is what its file says, what the user says, or refused."""

import calendar

import eccodes
import numpy as np
import pytest
import xarray as xr

from fusion_jax.data import windows
from fusion_jax.data.sources import gridded
from tests.data.weather_fields import fields, hours

START = calendar.timegm((2020, 1, 1, 0, 0, 0))
DAYS = np.datetime64('2020-01-01T12', 'ns') + np.arange(9) * np.timedelta64(
  1, 'D'
)


def series(path, *, hour=47, lat=10.0, lon=20.0, **settings):
  """The series at 10 N, 20 E whose hourly window begins with 1 January."""
  weather = gridded.Weather((str(path),), **settings)
  time = START + 3600 * hour
  return {k: v[0] for k, v in weather.series([lat], [lon], [time]).items()}


def buckets(hourly, reset):
  """Sums [T] since the last multiple of `reset` hours."""
  return np.array(
    [
      hourly[(h - 1) // reset * reset + 1 : h + 1].sum()
      for h in range(len(hourly))
    ]
  )


RAIN = np.random.default_rng(0).gamma(0.5, size=96)


@pytest.mark.parametrize('reset', [24, 6])
@pytest.mark.parametrize('unit, factor', [('m', 1e-3), ('kg m**-2', 1)])
def test_sums_that_start_again_are_named_and_the_advice_is_right(
  tmp_path, reset, unit, factor
):
  path = fields(
    tmp_path / 'tp.nc',
    'tp',
    factor * buckets(RAIN, reset),
    unit,
    time=hours('2020-01-01T00', 96),
  )
  with pytest.raises(
    ValueError,
    match=rf'tp in {path} rises for {reset} h .* at 2020-01-0\dT\d\d:00, .*'
    f'pass --reset-hours {reset}',
  ):
    series(path)
  result = series(path, reset_hours=reset)
  np.testing.assert_allclose(result['tp_hourly'][1:], RAIN[1:60], atol=1e-4)


def test_sums_that_start_again_are_found_after_dry_days(tmp_path):
  hourly = np.concatenate([np.zeros(24 * 9), RAIN])
  path = fields(
    tmp_path / 'tp.nc',
    'tp',
    buckets(hourly, 24),
    'mm',
    time=hours('2020-01-01T00', len(hourly)),
  )
  with pytest.raises(ValueError, match='pass --reset-hours 24'):
    series(path)


def test_amounts_of_single_hours_do_not_start_again(tmp_path):
  path = fields(
    tmp_path / 'tp.nc', 'tp', RAIN, 'mm', time=hours('2020-01-01T00', 96)
  )
  with pytest.raises(
    ValueError, match='does not start from zero every 24 h: .* Leave out --res'
  ):
    series(path, reset_hours=24)
  np.testing.assert_allclose(series(path)['tp_hourly'], RAIN[:60], rtol=1e-5)


@pytest.mark.parametrize('fill', [-0.999, -9999.0, -0.5])
def test_negative_amounts_are_missing_values_that_must_be_declared(
  tmp_path, fill
):
  values = np.where(np.arange(96) % 5 == 0, fill, 0.001)
  time = hours('2020-01-01T00', 96)
  path = fields(tmp_path / 'tp.nc', 'tp', values, 'm', time=time)
  with pytest.raises(
    ValueError, match=rf'{path} .*{fill:g} m may stand .*_FillValue'
  ):
    series(path)
  data = xr.load_dataset(path, engine='h5netcdf')
  data['tp'].encoding['_FillValue'] = np.float32(fill)
  data.to_netcdf(tmp_path / 'declared.nc', engine='h5netcdf')
  rain = series(tmp_path / 'declared.nc')['tp_hourly']
  np.testing.assert_array_equal(np.isnan(rain), np.arange(60) % 5 == 0)


@pytest.mark.parametrize('unit, is_metres', [('mm', True), ('m', False)])
def test_metres_that_are_called_millimetres_are_found(
  tmp_path, unit, is_metres
):
  path = fields(
    tmp_path / 'tp.nc',
    'tp',
    np.minimum(RAIN, 20) / 1000,
    unit,
    time=hours('2020-01-01T00', 96),
  )
  if is_metres:
    with pytest.raises(ValueError, match='--precipitation-unit mm if'):
      series(path)
    traces = series(path, precipitation_unit='mm')['tp_hourly']
    np.testing.assert_allclose(traces, RAIN[:60] / 1000, rtol=1e-4)
  metres = series(path, precipitation_unit='m')['tp_hourly']
  np.testing.assert_allclose(metres, RAIN[:60], rtol=1e-4)
  with pytest.raises(ValueError, match='precipitation_unit=.fathom. is not kn'):
    gridded.Weather((str(path),), precipitation_unit='fathom')


def test_drizzle_in_millimetres_is_read(tmp_path):
  values = 0.02 * np.random.default_rng(0).random(96)
  path = fields(
    tmp_path / 'tp.nc', 'tp', values, 'mm', time=hours('2020-01-01T00', 96)
  )
  rain = series(path)['tp_hourly']
  np.testing.assert_allclose(rain, values[:60], rtol=1e-5)


def test_more_rain_than_has_ever_fallen_is_in_another_unit(tmp_path):
  path = fields(
    tmp_path / 'tp.nc', 'tp', RAIN, 'm', time=hours('2020-01-01T00', 96)
  )
  with pytest.raises(ValueError, match='no more than 600 mm can fall in 1 h'):
    series(path)
  rain = series(path, precipitation_unit='mm')['tp_hourly']
  np.testing.assert_allclose(rain, RAIN[:60], rtol=1e-5)


def test_degrees_celsius_are_read_where_they_are_stated(tmp_path):
  for unit in ('degC', 'K', 'none'):
    path = fields(
      tmp_path / f'{unit}.nc',
      't2m',
      np.arange(72) / 10,
      unit,
      time=hours('2020-01-01T00', 72),
    )
    with pytest.raises(ValueError, match=f'{unit}.nc.*--temperature-unit degC'):
      series(path)
    result = series(path, temperature_unit='degC')['t2m_hourly']
    np.testing.assert_allclose(result, 273.15 + np.arange(60) / 10, rtol=1e-6)
  path = fields(
    tmp_path / 'kelvin.nc',
    't2m',
    np.full(72, 280.0),
    'K',
    time=hours('2020-01-01T00', 72),
  )
  with pytest.raises(ValueError, match='degC by --temperature-unit but holds'):
    series(path, temperature_unit='degC')


@pytest.mark.parametrize(
  'name, unit, attrs, expected',
  [
    ('t2m', 'K', {'GRIB_stepType': 'instant'}, ''),
    ('t2m', 'K', {'cell_methods': 'area: mean time: point'}, 't2m_hourly'),
    ('t2m', 'K', {'cell_methods': 'time: mean'}, 't2m_mean_daily'),
    ('t2m', 'K', {'cell_methods': 'time: maximum'}, 't2m_max_daily'),
    ('t2m', 'K', {'GRIB_stepType': 'min'}, 't2m_min_daily'),
    ('t2m', 'K', {}, ''),
    ('tp', 'mm', {'cell_methods': 'time: sum'}, 'tp_sum_daily'),
    ('tp', 'mm', {'cell_methods': 'time: mean'}, ''),
    ('tp', 'mm', {'GRIB_stepType': 'accum'}, ''),
    ('prate', 'mm/day', {}, 'tp_sum_daily'),
    ('prate', 'kg m-2 s-1', {}, ''),
  ],
)
def test_one_value_a_day_is_what_the_file_says(
  tmp_path, name, unit, attrs, expected
):
  values = np.arange(9) + (280.0 if unit == 'K' else 1.0)
  values = values / 86_400 if 's-1' in unit else values
  path = fields(tmp_path / 'd.nc', name, values, unit, attrs=attrs, time=DAYS)
  kind = 't2m' if unit == 'K' else 'tp'
  if not expected:
    with pytest.raises(
      ValueError,
      match=f'{name} in {path} has one value in 24 h, .*--daily-values day',
    ):
      series(path)
    expected = 't2m_mean_daily' if kind == 't2m' else 'tp_sum_daily'
    result = series(path, daily_values='day')
    np.testing.assert_allclose(
      result[expected][29 - 1 : 29 + 8],
      np.arange(9) + (280 if kind == 't2m' else 1),
      rtol=1e-5,
    )
    return
  result = series(path)
  known = [k for k, v in result.items() if np.isfinite(v).any()]
  assert known == [expected]


def test_moments_that_a_conversion_keeps_of_a_mean_are_asked_for(tmp_path):
  values = np.arange(280.0, 289.0)
  attrs = {'GRIB_stepType': 'instant'}
  path = fields(tmp_path / 'd.nc', 't2m', values, 'K', attrs=attrs, time=DAYS)
  with pytest.raises(ValueError, match="calls it 'GRIB_stepType instant': set"):
    series(path)
  moments = series(path, daily_values='moment')
  assert np.isfinite(moments['t2m_hourly']).sum() == 2
  assert np.isnan(moments['t2m_mean_daily']).all()
  attrs['cell_methods'] = 'time: point'
  path = fields(tmp_path / 'p.nc', 't2m', values, 'K', attrs=attrs, time=DAYS)
  assert np.isfinite(series(path)['t2m_hourly']).sum() == 2


def test_sums_of_a_day_that_end_at_midnight_are_of_the_day_before(tmp_path):
  path = fields(
    tmp_path / 'd.nc',
    'tp',
    np.arange(9.0),
    'mm',
    attrs={'GRIB_stepType': 'accum'},
    time=DAYS - np.timedelta64(12, 'h'),
  )
  for settings in ({'reset_hours': 24}, {'daily_values': 'moment'}):
    days = series(path, **settings)['tp_sum_daily'][29 - 1 :][:7]
    np.testing.assert_array_equal(days, np.arange(1, 8))


def test_means_of_months_are_no_weather_of_hours(tmp_path):
  months = np.arange('2020-01', '2020-07', dtype='M8[M]').astype('M8[ns]')
  path = fields(tmp_path / 'm.nc', 't2m', np.full(6, 280.0), 'K', time=months)
  with pytest.raises(ValueError, match='t2m in .*m.nc has one value in 7'):
    series(path)


@pytest.mark.parametrize(
  'kind, number, unit',
  [
    (np.float64, 1, 'days since 1900-01-01'),
    (np.float32, 1, 'days since 1900-01-01'),
    (np.float32, 24, 'hours since 1800-01-01'),
    (np.int32, 24, 'hours since 1970-01-01'),
  ],
)
def test_hours_stay_hours_however_they_are_stored(tmp_path, kind, number, unit):
  path = fields(
    tmp_path / 't.nc',
    't2m',
    280 + np.arange(72) / 10,
    'K',
    time=hours('2020-01-01T00', 72),
  )
  data = xr.load_dataset(path, engine='h5netcdf')
  since = np.datetime64(unit.split()[-1], 's')
  moments = data['time'].values.astype('M8[s]') - np.datetime64('1970', 's')
  days = (np.datetime64('1970', 's') - since) / np.timedelta64(1, 'D')
  days = days + moments / np.timedelta64(1, 'D')  # Rounded twice, as by many.
  data['time'] = 'time', (number * days).astype(kind), {'units': unit}
  data.to_netcdf(tmp_path / 'stored.nc', engine='h5netcdf')
  result = series(tmp_path / 'stored.nc')
  np.testing.assert_allclose(
    result['t2m_hourly'], 280 + np.arange(60) / 10, rtol=1e-6
  )
  assert np.isfinite(result['t2m_mean_daily']).sum() == 3


def test_hours_that_float32_cannot_hold_are_refused(tmp_path):
  path = tmp_path / 't.nc'
  days = (737_424 + np.arange(72) / 24).astype(np.float32)
  time = 'time', days, {'units': 'days since 0001-01-01'}
  fields(path, 't2m', np.full(72, 280.0), 'K', time=time)
  with pytest.raises(ValueError, match='t.nc: time is stored as float32, whi'):
    series(path)


@pytest.mark.parametrize(
  'spell',
  [
    lambda t: t.astype('M8[D]').astype(str).astype('O'),
    lambda t: np.array([int(str(x)[:10].replace('-', '')) for x in t]),
    lambda t: np.array([float(str(x)[:10].replace('-', '')) for x in t]),
  ],
)
def test_dates_without_a_unit_are_read(tmp_path, spell):
  attrs = {'cell_methods': 'time: mean'}
  path = fields(
    tmp_path / 't.nc',
    't2m',
    np.arange(280.0, 289.0),
    'K',
    attrs=attrs,
    time=spell(DAYS),
  )
  days = series(path)['t2m_mean_daily'][29 - 1 :][:9]
  np.testing.assert_array_equal(days, np.arange(280, 289))


def test_what_is_no_time_is_shown(tmp_path):
  path = fields(
    tmp_path / 't.nc', 't2m', np.full(9, 280.0), 'K', time=np.arange(9)
  )
  with pytest.raises(ValueError, match='t.nc: time holds 0, which is no time;'):
    series(path)


@pytest.mark.parametrize(
  'name, missing', [('noleap', 0), ('360_day', 24), ('all_leap', 0)]
)
def test_calendars_of_climate_models_are_read(tmp_path, name, missing, caplog):
  cftime = pytest.importorskip('cftime')
  unit = 'days since 1970-01-01'
  first = cftime.datetime(2020, 2, 28, calendar=name)
  days = cftime.date2num(first, unit, calendar=name) + np.arange(96) / 24
  path = fields(
    tmp_path / 't.nc',
    't2m',
    280 + np.arange(96) / 4,
    'K',
    time=('time', days, {'units': unit, 'calendar': name}),
  )
  weather = gridded.Weather((str(path),))
  when = calendar.timegm((2020, 2, 29, 12, 0, 0))
  values = weather.series([10.0], [20.0], [when])['t2m_hourly'][0]
  expected = np.full(60, np.nan)
  for i in range(96):  # Hours of the calendar that there are in ours.
    day = cftime.num2date(int(days[0]) + i // 24, unit, calendar=name)
    moment = f'2020-{day.month:02d}-{day.day:02d}T{i % 24:02d}'
    if moment[:10] == '2020-02-30':
      continue
    lead = (np.datetime64(moment) - np.datetime64('2020-02-29T12')).astype(int)
    if -47 <= lead <= 12:
      expected[lead + 47] = 280 + i / 4
  np.testing.assert_array_equal(values, expected)
  assert weather.report().get('left_out', {}).get('no date', 0) == missing
  assert ('24 fields: no date' in caplog.text) == bool(missing)


def test_missing_times_are_left_out_and_counted(tmp_path, caplog):
  time = hours('2020-01-01T00', 72)
  time[5] = np.datetime64('NaT', 'ns')
  path = fields(tmp_path / 't.nc', 't2m', np.full(72, 280.0), 'K', time=time)
  missing = np.flatnonzero(np.isnan(series(path)['t2m_hourly']))
  np.testing.assert_array_equal(missing, [5])
  assert 'Left out 1 fields: no date' in caplog.text


def test_half_hours_are_used_or_refused(tmp_path, caplog):
  half = np.datetime64('2020-01-01T00', 'ns') + np.arange(144) * np.timedelta64(
    30, 'm'
  )
  values = np.random.default_rng(1).gamma(0.5, size=144)
  path = fields(tmp_path / 't.nc', 't2m', 280 + values, 'K', time=half)
  np.testing.assert_allclose(
    series(path)['t2m_hourly'], 280 + values[:120:2], rtol=1e-6
  )
  assert 'Left out 72 fields: off the hour' in caplog.text
  path = fields(tmp_path / 'p.nc', 'tp', values, 'mm', time=half)
  sums = values[1:119:2] + values[2:120:2]
  np.testing.assert_allclose(series(path)['tp_hourly'][1:], sums, rtol=1e-4)
  for name, unit in (('t2m', 'K'), ('tp', 'mm')):
    path = fields(
      tmp_path / f'{name}_off.nc',
      name,
      values[1::2] + (280 if name == 't2m' else 0),
      unit,
      time=half[1::2],
    )
    with pytest.raises(ValueError, match=f'{name}_off.nc is given at .*:30'):
      series(path)


def test_parts_of_an_hour_make_up_its_sum():
  parts = [(i * 900, (i + 1) * 900, np.array([1.0 + i])) for i in range(10)]
  result = windows.hourly_sums(parts)
  assert {k: v[0] for k, v in result.items()} == {1: 10, 2: 26}


def members(path, names=(1, 2), first=280.0, step=10.0):
  """A GRIB file of 24 hours with members of an ensemble."""
  grid = dict(
    Ni=3,
    Nj=3,
    latitudeOfFirstGridPointInDegrees=11.0,
    latitudeOfLastGridPointInDegrees=9.0,
    longitudeOfFirstGridPointInDegrees=19.0,
    longitudeOfLastGridPointInDegrees=21.0,
    iDirectionIncrementInDegrees=1.0,
    jDirectionIncrementInDegrees=1.0,
  )
  with open(path, 'wb') as file:
    for hour in range(24):
      for member in names:
        message = eccodes.codes_grib_new_from_samples('GRIB2')
        settings = grid | {
          'dataDate': 20200101,
          'dataTime': 100 * hour,
          'productDefinitionTemplateNumber': 1,
          'numberOfForecastsInEnsemble': 2,
          'perturbationNumber': member,
          'shortName': '2t',
        }
        for key, value in settings.items():
          eccodes.codes_set(message, key, value)
        eccodes.codes_set_values(message, np.full(9, first + step * member))
        eccodes.codes_write(message, file)
        eccodes.codes_release(message)
  return path


def test_members_of_an_ensemble_are_chosen_or_refused(tmp_path):
  both = members(tmp_path / 'both.grib2')
  folder = tmp_path / 'one_each'
  folder.mkdir()
  for member in (1, 2):
    members(folder / f'{member}.grib2', (member,))
  cube = fields(
    tmp_path / 'm.nc',
    't2m',
    np.array([290.0, 300.0]).reshape(2, 1, 1, 1),
    'K',
    ('realization', 'time', 'latitude', 'longitude'),
    realization=[1, 2],
    time=hours('2020-01-01T00', 24),
  )
  for path in (both, folder, cube):
    with pytest.raises(ValueError, match='members.* 1.* 2.* --member 1'):
      series(path)
    for member, kelvin in ((1, 290), (2, 300)):
      result = series(path, hour=12, member=str(member))['t2m_mean_daily']
      assert result[29] == kelvin
    with pytest.raises(ValueError, match='members .*1.*, not 7'):
      series(path, member='7')
  assert series(members(tmp_path / 'one.grib2', (2,)))['t2m_hourly'][0] == 300


def test_places_and_grids_that_are_none_are_refused(tmp_path):
  path = fields(
    tmp_path / 't.nc',
    't2m',
    np.full(72, 280.0),
    'K',
    time=hours('2020-01-01T00', 72),
    latitude=[147.0, 148.0, 149.0],
  )
  with pytest.raises(ValueError, match='t.nc: latitude, longitude: .* 147 is '):
    series(path)
  path = fields(
    path, 't2m', np.full(72, 280.0), 'K', time=hours('2020-01-01T00', 72)
  )
  with pytest.raises(ValueError, match='Places .* 148.1 .* exchanged'):
    series(path, lat=148.1, lon=-35.3)
