"""Weather at places, from real files and from small ones made here."""

import calendar
import pathlib
import pickle

import eccodes
import numpy as np
import pytest
import xarray as xr

from fusion_jax import geo
from fusion_jax.data import windows
from fusion_jax.data.sources import gridded, weather_units
from tests.data.weather_fields import fields, hours

FILES = pathlib.Path(__file__).parents[1] / 'testdata' / 'weather'
GFS = FILES / 'gfs'
LAT = [-25.315945, -3.401355, -38.830853, 54.780029, 57.226878]
LON = [-48.106045, 34.066031, -72.478793, -83.95224, 9.844905]
# From the README of the original files; K, at the five TerraMesh examples.
TABLE = {
  'gfs.20251201.t00z.pgrb2.0p25.f000.TMP_2m.grib2': (
    (295.059, 295.839, 285.349, 253.719, 281.229),
    (294.708, 295.204, 285.250, 253.599, 281.088),
  ),
  'gfs.20260618.t00z.pgrb2.1p00.f000.TMP_2m.grib2': (
    (286.963, 293.163, 279.363, 287.463, 286.763),
    (287.813, 291.850, 279.512, 287.780, 286.807),
  ),
  'gefs.20210416.t00z.0p50.f006.avg.TMP_2m.grib2': (
    (296.700, 293.240, 280.180, 262.860, 277.420),
    (294.036, 293.203, 280.376, 262.747, 278.079),
  ),
}
RAIN = tuple(
  GFS / f'gfs.20200325.t18z.pgrb2.0p25.{step}.APCP.grib2'
  for step in ('f006', 'f018')
)
ERA5 = FILES / 'era5-2mt-2019-03-01-to-06-uk.grib'
CITIES = FILES / 'daily_surface_cancities_1990-1993.nc'
TRAIN_TIME = calendar.timegm((2019, 3, 4, 11, 31, 0))  # Rounds to 12 UTC.


def seconds(*date):
  return calendar.timegm((*date, 0, 0, 0)[:6])


@pytest.mark.parametrize('alignment', ['nearest', 'bilinear'])
@pytest.mark.parametrize('name', TABLE)
def test_temperatures_equal_the_published_table(name, alignment):
  weather = gridded.Weather([GFS / name], alignment)
  (record,) = weather.records
  expected = TABLE[name][alignment == 'bilinear']
  np.testing.assert_allclose(
    weather.at(record, LAT, LON), expected, rtol=0, atol=1e-3
  )


def test_places_may_be_counted_east_of_greenwich():
  weather = gridded.Weather([GFS / next(iter(TABLE))], 'bilinear')
  (record,) = weather.records
  np.testing.assert_allclose(
    weather.at(record, LAT, np.array(LON) % 360),
    weather.at(record, LAT, LON),
    rtol=1e-12,
  )


def test_a_folder_of_folders_stands_for_all_files_below_it(tmp_path):
  for year, name in zip(('2025', '2026'), TABLE):
    (tmp_path / year).mkdir()
    (tmp_path / year / name).symlink_to(GFS / name)
  (tmp_path / 'README.md').write_text('No weather.')
  assert len(gridded.Weather([tmp_path]).records) == 2


def test_precipitation_messages_of_one_file_are_told_apart():
  weather = gridded.Weather(RAIN)
  run = seconds(2020, 3, 25, 18)
  result = {
    ((r.start - run) // 3600, (r.end - run) // 3600): weather.at(r, LAT, LON)
    for r in weather.records
  }
  expected = {
    (0, 6): [0, 7.438, 0, 0.188, 0],
    (12, 18): [0, 2.125, 0, 0, 0],
    (0, 18): [0, 10.312, 0, 0.188, 0],
  }
  assert set(result) == set(expected)
  for steps, amounts in expected.items():
    np.testing.assert_allclose(result[steps], amounts, atol=1e-3)


def test_dry_interval_gives_dry_hours_and_a_wet_one_is_not_split():
  series = gridded.Weather(RAIN).series(LAT, LON, [seconds(2020, 3, 27, 0)] * 5)
  rain = series['tp_hourly']  # Hours that end at 03-25 01 .. 03-27 12.
  dry = np.full(60, np.nan)
  dry[18:36] = 0  # 03-25 19 .. 03-26 12, all of the run.
  np.testing.assert_array_equal(rain[2], dry)
  assert np.isnan(rain[1]).all()  # 7.4 mm in six hours.
  np.testing.assert_array_equal(np.isnan(rain[3]).sum(), 60 - 12)  # 6-18 dry.


def test_daily_minimum_of_a_scene_with_real_rain_forecast():
  series = gridded.Weather(RAIN).series(
    LAT[2:3], LON[2:3], [calendar.timegm((2020, 4, 8, 14, 37, 29))]
  )
  expected = np.full((1, 40), np.nan)
  expected[0, 29 - 14] = expected[0, 29 - 13] = 0  # 25 and 26 March.
  np.testing.assert_array_equal(series['tp_min_daily'], expected)
  for name in set(series) - {'tp_min_daily'}:
    assert np.isnan(series[name]).all(), name


def read_era5(lat_row, lon_col):
  """The file read directly: {seconds: K of one cell}."""
  result = {}
  with open(ERA5, 'rb') as file:
    while (message := eccodes.codes_grib_new_from_file(file)) is not None:
      date, hour = (
        eccodes.codes_get(message, key, int) for key in ('dataDate', 'dataTime')
      )
      values = eccodes.codes_get_values(message).reshape(33, 49)
      result[
        seconds(date // 10000, date // 100 % 100, date % 100, hour // 100)
      ] = values[lat_row, lon_col]
      eccodes.codes_release(message)
  return result


def test_hourly_window_of_real_era5_equals_a_direct_read():
  cell = read_era5(10, 20)  # 55.5 N, 5 W.
  series = gridded.Weather([ERA5]).series([55.52], [-5.04], [TRAIN_TIME])
  noon = seconds(2019, 3, 4, 12)
  expected = [cell[noon + 3600 * lead] for lead in range(-47, 13)]
  np.testing.assert_array_equal(series['t2m_hourly'][0], np.float32(expected))
  days = series['t2m_max_daily'][0]
  assert np.isfinite(days).sum() == 6
  fourth = [cell[seconds(2019, 3, 4, h)] for h in range(24)]
  np.testing.assert_allclose(
    [series[f't2m_{kind}_daily'][0, 29] for kind in ('min', 'max', 'mean')],
    [min(fourth), max(fourth), np.mean(fourth)],
    rtol=1e-7,
  )


def test_missing_hours_stay_missing_and_so_does_their_day(tmp_path):
  path = tmp_path / 'gaps.grib'
  gap = 72 + 5  # 4 March 05 UTC.
  size = ERA5.stat().st_size // 144
  messages = ERA5.read_bytes()
  path.write_bytes(messages[: gap * size] + messages[(gap + 1) * size :])
  series = gridded.Weather([path]).series([55.52], [-5.04], [TRAIN_TIME])
  missing = np.flatnonzero(np.isnan(series['t2m_hourly'][0]))
  np.testing.assert_array_equal(missing, [47 - 7])
  assert np.isnan(series['t2m_mean_daily'][0, 29])
  assert np.isfinite(series['t2m_mean_daily'][0, 28])


@pytest.mark.parametrize('methods', ['time: mean', 'time: point'])
def test_a_value_a_day_is_a_mean_unless_it_is_of_a_point_in_time(
  tmp_path, methods
):
  path = fields(
    tmp_path / 't.nc',
    't2m',
    np.arange(280.0, 290.0),
    'K',
    time=np.datetime64('2020-01-01T12', 'ns')
    + np.arange(10) * np.timedelta64(1, 'D'),
  )
  data = xr.load_dataset(path, engine='h5netcdf')
  data['t2m'].attrs['cell_methods'] = methods
  data.to_netcdf(path, engine='h5netcdf')
  result = gridded.Weather([path]).series(
    [10.0], [20.0], [seconds(2020, 1, 5, 12)]
  )
  day, hour = result['t2m_mean_daily'][0, 29], result['t2m_hourly'][0, 47]
  if methods == 'time: point':
    day, hour = hour, day
  assert day == 284 and np.isnan(hour)


def test_files_of_several_regions_cover_a_place_each(tmp_path):
  time = hours('2020-01-01T00', 72)
  paths = [
    fields(tmp_path / 'north_t.nc', 't2m', np.full(72, 280.0), 'K', time=time),
    fields(
      tmp_path / 'south_t.nc',
      't2m',
      np.full(72, 290.0),
      'K',
      time=time,
      latitude=[-9.0, -10.0, -11.0],
    ),
    fields(tmp_path / 'north_p.nc', 'tp', np.full(72, 0.001), 'm', time=time),
    fields(
      tmp_path / 'south_p.nc',
      'tp',
      np.full(72, 0.002),
      'm',
      time=time,
      latitude=[-9.0, -10.0, -11.0],
    ),
  ]
  when = [seconds(2020, 1, 2, 23)] * 2
  result = gridded.Weather(paths).series([10.0, -10.0], [20.0, 20.0], when)
  assert (result['t2m_hourly'] == [[280.0], [290.0]]).all()
  np.testing.assert_allclose(
    result['tp_hourly'], [[1.0] * 60, [2.0] * 60], rtol=1e-5
  )
  with pytest.raises(geo.OutsideGridError, match='south_t.nc.*first at 10 N'):
    gridded.Weather(paths[1:3]).series([10.0, -10.0], [20.0, 20.0], when)


def test_place_outside_the_grid_raises_or_is_missing():
  place = dict(lat=[55.5, 10.0], lon=[-5.0, -5.0], time=[TRAIN_TIME] * 2)
  with pytest.raises(geo.OutsideGridError, match='uk.grib .50 .. 58 N'):
    gridded.Weather([ERA5]).series(**place)
  result = gridded.Weather([ERA5], outside='missing').series(**place)
  assert np.isfinite(result['t2m_hourly'][0]).all()
  assert np.isnan(result['t2m_hourly'][1]).all()


def test_daily_file_of_cities_fills_the_daily_series():
  time = seconds(1991, 7, 10, 15)
  result = gridded.Weather([CITIES]).series([45.5], [-73.6], [time])
  data = xr.open_dataset(CITIES, engine='h5netcdf')
  city = data.isel(location=1).sel(time=slice('1991-06-11', '1991-07-20'))
  assert city.sizes['time'] == 40
  for ours, theirs in (
    ('t2m_min_daily', 'tasmin'),
    ('t2m_max_daily', 'tasmax'),
    ('t2m_mean_daily', 'tas'),
  ):
    np.testing.assert_array_equal(result[ours][0], city[theirs].values)
  np.testing.assert_allclose(
    result['tp_sum_daily'][0],
    np.maximum(city['pr'].values * 86_400, 0),
    rtol=1e-6,
  )
  assert result['tp_sum_daily'].min() >= 0
  for name in ('t2m_hourly', 'tp_hourly', 'tp_min_daily', 'tp_max_daily'):
    assert np.isnan(result[name]).all()


def test_six_hourly_reanalysis_fills_every_sixth_hour():
  path = FILES / 'air.sig995_canada_2014-10.nc'
  weather = gridded.Weather([path], 'bilinear', temperature='air')
  time = seconds(2014, 10, 10, 6)
  result = weather.series([54.780029], [-83.95224], [time])['t2m_hourly'][0]
  data = xr.open_dataset(path, engine='h5netcdf')['air']
  at = data.interp(lat=54.780029, lon=360 - 83.95224)
  known = np.flatnonzero(np.isfinite(result))
  np.testing.assert_array_equal(known, np.arange(5, 60, 6))
  expected = at.sel(time=slice('2014-10-08T12', '2014-10-10T18'))
  np.testing.assert_allclose(result[known], expected.values, rtol=1e-6)


@pytest.mark.parametrize('suffix', ['.nc', '.zarr', ''])
def test_format_is_told_by_content_not_by_ending(tmp_path, suffix):
  if suffix:
    path = fields(
      tmp_path / f'w{suffix}',
      't2m',
      np.arange(280, 352) - 10.0,
      'K',
      time=hours('2020-01-01T00', 72),
    )
  else:
    path = fields(
      tmp_path / 'w.nc',
      't2m',
      np.arange(280, 352) - 10.0,
      'K',
      time=hours('2020-01-01T00', 72),
    )
    path = path.rename(tmp_path / 'weather')
  time = seconds(2020, 1, 2, 23)
  result = gridded.Weather([path]).series([10.0], [20.0], [time])
  np.testing.assert_array_equal(result['t2m_hourly'][0], 270.0 + np.arange(60))


def test_hourly_amounts_in_metres_become_millimetres(tmp_path):
  amounts = np.arange(72) / 1000
  path = fields(
    tmp_path / 'tp.nc', 'tp', amounts, 'm', time=hours('2020-01-01T00', 72)
  )
  result = gridded.Weather([path]).series(
    [10.0], [20.0], [seconds(2020, 1, 2, 23)]
  )
  np.testing.assert_allclose(result['tp_hourly'][0], np.arange(60), atol=1e-4)
  # A UTC day sums the hours that end at 01..24.
  np.testing.assert_allclose(
    result['tp_sum_daily'][0, 28], np.arange(1, 25).sum(), rtol=1e-5
  )
  np.testing.assert_allclose(result['tp_max_daily'][0, 28], 24, rtol=1e-5)
  np.testing.assert_allclose(result['tp_min_daily'][0, 28], 1, rtol=1e-5)


@pytest.mark.parametrize('kind', ['scipy', 'h5netcdf'])
def test_netcdf_that_names_grib_in_its_head_is_netcdf(tmp_path, kind):
  path = fields(
    tmp_path / 'w.nc',
    't2m',
    [280.0, 281.0, 282.0],
    'K',
    time=hours('2020-01-01T00', 3),
  )
  data = xr.load_dataset(path, engine='h5netcdf')
  data = data.assign_attrs(GRIB_centre='ecmf')  # As ERA5's.
  data.to_netcdf(path, engine=kind)
  assert b'GRIB' in path.read_bytes()[:1024]
  result = gridded.Weather([path]).series([10.0], [20.0], [seconds(2020, 1, 1)])
  np.testing.assert_array_equal(result['t2m_hourly'][0, 47:50], [280, 281, 282])


@pytest.mark.parametrize('other', ['number', 'expver', 'level'])
def test_a_dimension_that_is_no_time_is_not_taken_for_one(tmp_path, other):
  path = fields(
    tmp_path / 'm.nc',
    't2m',
    np.full((3, 2, 1, 1), 280.0),
    'K',
    ('time', other, 'latitude', 'longitude'),
    time=hours('2020-01-01T00', 3),
    **{other: [1, 5]},
  )
  with pytest.raises(ValueError, match=f"m.nc has the dimensions .*'{other}'"):
    _ = gridded.Weather([path]).records


def test_regional_files_of_the_same_hours_complete_each_other(tmp_path):
  time = hours('2020-01-01T00', 3)
  here = fields(tmp_path / 'here.nc', 't2m', [280.0] * 3, 'K', time=time)
  east = fields(
    tmp_path / 'there.nc',
    't2m',
    [290.0] * 3,
    'K',
    time=time,
    latitude=[51.0, 50.0, 49.0],
  )
  weather = gridded.Weather([here, east], outside='missing')
  result = weather.series(
    [10.0, 50.0, 30.0], [20.0] * 3, [seconds(2020, 1, 1)] * 3
  )
  np.testing.assert_array_equal(result['t2m_hourly'][:, 47], [280, 290, np.nan])


def test_rates_are_multiplied_by_their_hour(tmp_path):
  path = fields(
    tmp_path / 'p.nc',
    'prate',
    np.arange(72) / 3600,
    'kg m-2 s-1',
    time=hours('2020-01-01T00', 72),
  )
  result = gridded.Weather([path]).series(
    [10.0], [20.0], [seconds(2020, 1, 2, 23)]
  )
  np.testing.assert_allclose(result['tp_hourly'][0], np.arange(60), rtol=1e-5)


@pytest.mark.parametrize('reset', [6, 24])
def test_buckets_that_reset_become_hourly_amounts(tmp_path, reset):
  rng = np.random.default_rng(0)
  hourly = rng.gamma(0.5, size=72)
  ends = np.arange(72)  # Hour h is the sum over (h - 1, h].
  bucket = np.array(
    [hourly[(h - 1) // reset * reset + 1 : h + 1].sum() for h in ends]
  )
  path = fields(
    tmp_path / 'b.nc', 'tp', bucket, 'mm', time=hours('2020-01-01T00', 72)
  )
  weather = gridded.Weather([path], reset_hours=reset)
  result = weather.series([10.0], [20.0], [seconds(2020, 1, 2, 23)])
  np.testing.assert_allclose(
    result['tp_hourly'][0, 1:], hourly[1:60], atol=1e-4
  )


def test_buckets_that_end_in_the_next_file_are_whole(tmp_path):
  hourly = np.random.default_rng(0).gamma(0.5, size=72)
  bucket = [hourly[(h - 1) // 24 * 24 + 1 : h + 1].sum() for h in range(72)]
  paths = [
    fields(
      tmp_path / f'{day}.nc',
      'tp',
      bucket[24 * day : 24 * day + 24],
      'mm',
      time=hours(f'2020-01-0{day + 1}T00', 24),
    )
    for day in range(3)
  ]
  weather = gridded.Weather(paths, reset_hours=24)
  result = weather.series([10.0], [20.0], [seconds(2020, 1, 2, 23)])
  np.testing.assert_allclose(
    result['tp_hourly'][0, 1:], hourly[1:60], atol=1e-4
  )
  np.testing.assert_allclose(
    result['tp_sum_daily'][0, 28:30],
    [hourly[1:25].sum(), hourly[25:49].sum()],
    rtol=1e-5,
  )


def test_regional_sums_of_the_same_hours_complete_each_other():
  one, two = (0, 3600), (0, 7200)
  result = windows.hourly_sums(
    [
      (*one, np.array([1.0, np.nan])),
      (*two, np.array([3.0, np.nan])),
      (*one, np.array([np.nan, 5.0])),
      (*two, np.array([np.nan, 9.0])),
    ]
  )
  np.testing.assert_array_equal(result[2], [2, 4])


def test_forecast_steps_accumulate_since_the_start_and_late_runs_win(tmp_path):
  steps = np.arange(0, 25).astype('timedelta64[h]').astype('timedelta64[ns]')
  runs = np.array(['2020-01-01T00', '2020-01-01T12'], 'datetime64[ns]')
  totals = np.cumsum(np.stack([np.full(25, 1.0), np.full(25, 2.0)]), 1)
  totals -= totals[:, :1]
  path = fields(
    tmp_path / 'f.nc',
    'tp',
    totals[:, :, None, None],
    'kg m-2',
    ('time', 'step', 'latitude', 'longitude'),
    time=runs,
    step=steps,
  )
  result = gridded.Weather([path]).series(
    [10.0], [20.0], [seconds(2020, 1, 2, 0)]
  )
  np.testing.assert_allclose(  # Hours that end at 12-31 01 .. 01-02 12.
    result['tp_hourly'][0], [np.nan] * 24 + [1.0] * 12 + [2.0] * 24, rtol=1e-5
  )


@pytest.mark.parametrize(
  'unit, value, message',
  [
    ('degC', 12.0, "unit 'degC' .first value 12.00.*add 273.15"),
    ('K', 12.0, 'called K but holds 12.00.*looks like degrees Celsius.*273.15'),
    ('K', 500.0, 'outside 150 .. 350 K'),
  ],
)
def test_temperature_that_is_not_kelvin_raises(tmp_path, unit, value, message):
  path = fields(
    tmp_path / 'c.nc', 't2m', [value] * 3, unit, time=hours('2020-01-01T00', 3)
  )
  with pytest.raises(ValueError, match=message):
    gridded.Weather([path]).series([10.0], [20.0], [seconds(2020, 1, 1, 1)])


def test_grib_in_celsius_raises(tmp_path):
  path = tmp_path / 'celsius.grib'
  with open(ERA5, 'rb') as file:
    message = eccodes.codes_grib_new_from_file(file)
  eccodes.codes_set_values(message, eccodes.codes_get_values(message) - 273.15)
  path.write_bytes(eccodes.codes_get_message(message))
  eccodes.codes_release(message)
  with pytest.raises(ValueError, match='celsius.grib.*called K but holds'):
    gridded.Weather([path]).series([55.5], [-5.0], [seconds(2019, 3, 1, 1)])


def test_precipitation_of_unknown_unit_raises(tmp_path):
  path = fields(
    tmp_path / 'i.nc', 'tp', [1.0] * 3, 'dm', time=hours('2020-01-01T00', 3)
  )
  with pytest.raises(ValueError, match="i.nc has the unit 'dm'"):
    gridded.Weather([path]).series([10.0], [20.0], [seconds(2020, 1, 1, 1)])


def test_grib_without_the_variable_names_the_file_and_what_it_holds():
  path = FILES / 'gfs.20200314.t00z.pgrb2.0p25.anl.W-Europe.cut.grib2'
  with pytest.raises(ValueError, match=r'anl.W-Europe.*neither.*prmsl.*sp'):
    _ = gridded.Weather([path]).records


def test_netcdf_without_the_variable_names_what_it_holds(tmp_path):
  path = fields(
    tmp_path / 'd.nc', 'd2m', [280.0] * 3, 'K', time=hours('2020-01-01T00', 3)
  )
  with pytest.raises(ValueError, match='d.nc holds neither.*it holds d2m'):
    _ = gridded.Weather([path]).records


def test_file_of_another_kind_is_named(tmp_path):
  path = tmp_path / 'weather.grib2'
  path.write_text('hello')
  with pytest.raises(ValueError, match='neither GRIB, NetCDF nor Zarr'):
    _ = gridded.Weather([path]).records


def test_skin_temperature_and_averages_are_not_taken_for_air_temperature():
  weather = gridded.Weather(
    [GFS / 'gfs.20110110.t12z.pgrb2.2p5.f120.sfc.grib2']
  )
  kinds = [(r.variable, (r.end - r.start) // 3600) for r in weather.records]
  assert sorted(kinds) == [('t2m', 0), ('tp', 6), ('tp', 6)]  # Rate, amount.
  rate, amount = (
    weather.at(r, [0.0, 5.0], [100.0, 100.0])
    for r in weather.records
    if r.variable == 'tp'
  )
  np.testing.assert_allclose(rate, amount, atol=0.2)


def test_rate_of_one_moment_is_not_taken_for_an_amount(tmp_path):
  path = tmp_path / 'moment.grib2'
  with open(GFS / 'gfs.20110110.t12z.pgrb2.2p5.f120.sfc.grib2', 'rb') as file:
    while (message := eccodes.codes_grib_new_from_file(file)) is not None:
      if eccodes.codes_get(message, 'shortName') == 'prate':
        eccodes.codes_set(message, 'productDefinitionTemplateNumber', 0)
        assert eccodes.codes_get(message, 'stepType') == 'instant'
        path.write_bytes(eccodes.codes_get_message(message))
      eccodes.codes_release(message)
  with pytest.raises(ValueError, match='it holds prate .surface, instant'):
    _ = gridded.Weather([path]).records


def test_amounts_below_zero_that_packing_leaves_are_zero():
  result = weather_units.convert(
    np.array([-5e-10, 2e-5, np.nan]), 'rate', 'kg m-2 s-1', 3600, 'file.nc'
  )
  np.testing.assert_allclose(result, [0, 0.072, np.nan])


def test_weather_can_be_sent_to_another_process():
  weather = gridded.Weather([ERA5])
  assert weather.records
  copy = pickle.loads(pickle.dumps(weather))
  assert copy == weather and 'records' not in vars(copy)


def test_differences_of_sums_are_never_negative():
  hour = 3600
  amounts = [np.array([2.5]), np.array([2.4375]), np.array([3.0])]
  result = windows.hourly_sums(
    [(0, (i + 1) * hour, amount) for i, amount in enumerate(amounts)]
  )
  np.testing.assert_allclose(
    [result[i][0] for i in (1, 2, 3)], [2.5, 0, 0.5625]
  )


def test_missing_hour_does_not_hide_the_hours_after_it():
  hour = 3600
  amounts = [1.0, np.nan, 3.0, 4.0]
  result = windows.hourly_sums(
    [
      (i * hour, (i + 1) * hour, np.array([amount]))
      for i, amount in enumerate(amounts)
    ]
  )
  np.testing.assert_array_equal([result[i][0] for i in (1, 2, 3, 4)], amounts)


def test_mixed_intervals_are_solved_for_every_connected_hour():
  hour = 3600
  truth = np.random.default_rng(0).gamma(0.5, size=13)

  def total(a, b):
    return a * hour, b * hour, np.array([truth[a:b].sum()])

  result = windows.hourly_sums(
    [
      total(0, 6),
      total(0, 12),
      total(1, 6),
      total(6, 12),
      total(6, 11),
      total(12, 13),
    ]
  )
  np.testing.assert_allclose(
    [result[i][0] for i in (1, 12, 13)], truth[[0, 11, 12]], atol=1e-9
  )
  assert np.isnan(result[3][0])  # Inside 1-6, which nothing splits.


def test_acquisition_is_rounded_to_the_hour_and_belongs_to_its_own_day():
  time = [calendar.timegm((2020, 4, 8, 14, m, 0)) for m in (29, 30)]
  hour = windows.acquisition_hour(time)
  np.testing.assert_array_equal(hour - hour[0], [0, 1])
  assert windows.acquisition_day(time)[0] * 86_400 == seconds(2020, 4, 8)
