import datetime
import pathlib

import numpy as np
import pytest

from fusion_jax.data.sources import stations

DATA = pathlib.Path(__file__).parents[1] / 'testdata' / 'series'
PLACES = {
  'EWR': (40.6925, -74.168667),
  'JFK': (40.639751, -73.778925),
  'LGA': (40.777245, -73.872608),
}
REAL = dict(
  paths=(DATA / 'nyc-2013-hourly.csv.gz',),
  places=PLACES,
  station='origin',
  time=('year', 'month', 'day', 'hour'),
  time_zone='America/New_York',
  temperature=('temp', 'degF'),
  precipitation=('precip', 'inch'),
)
COLUMNS = 'id,when,t,p\n'
PLAIN = dict(
  places={'a': (50.0, 8.0), 'b': (51.0, 9.0)},
  station='id',
  time='when',
  time_zone='UTC',
  temperature=('t', 'degC'),
  precipitation=('p', 'mm'),
)


@pytest.fixture(scope='module')
def real():
  return stations.Stations(**REAL)


def write(tmp_path, rows, name='obs.csv'):
  path = tmp_path / name
  path.write_text(COLUMNS + '\n'.join(rows) + '\n')
  return path


def read(tmp_path, rows, **changes):
  path = write(tmp_path, rows)
  return stations.Stations(
    **PLAIN | {'paths': (path,), 'places': {'a': (50.0, 8.0)}} | changes
  )


def seconds(*time):
  return int(datetime.datetime(*time, tzinfo=datetime.UTC).timestamp())


def test_local_hours_are_the_utc_hours_of_the_real_files_own_column(real):
  utc = stations.Stations(**REAL | dict(time='time_hour', time_zone='UTC'))
  for name, (first, values) in real.table.items():
    assert utc.table[name][0] == first == seconds(2013, 1, 1, 6) // 3600
    for variable, expected in utc.table[name][1].items():
      np.testing.assert_array_equal(values[variable], expected)


def test_real_values_in_kelvin_and_mm_with_their_gaps(real):
  # EWR, 2013-01-01 06 UTC: 39.02 F. 1.21 inch is the largest sum of the year.
  _, values = real.table['EWR']
  np.testing.assert_allclose(values['temperature'][0], 277.05, atol=1e-9)
  assert (
    np.nanmax([np.nanmax(v['precipitation']) for _, v in real.table.values()])
    == 1.21 * 25.4
  )
  assert np.isnan(values['temperature']).sum() == 29


def test_series_around_a_time_stand_at_the_right_hours(real):
  lat, lon = real.cells
  time = seconds(2013, 6, 1, 12)
  result = real.series(lat, lon, np.full(3, time))
  first, values = real.table['JFK']
  hour = time // 3600 - first
  np.testing.assert_array_equal(
    result['t2m_hourly'][1],
    values['temperature'][hour - 47 : hour + 13].astype(np.float32),
  )
  np.testing.assert_array_equal(
    result['tp_hourly'][1],
    values['precipitation'][hour - 47 : hour + 13].astype(np.float32),
  )
  assert result['tp_sum_daily'].shape == (3, 40)


def test_a_sum_of_the_hour_that_starts_moves_one_hour_on(tmp_path):
  rows = ['a,2020-01-01T05,1,2.5', 'a,2020-01-01T06,1,0']
  time = [seconds(2020, 1, 1, 6)]
  ends = read(tmp_path, rows).series([50.0], [8.0], time)
  starts = read(tmp_path, rows, hour_of_sum='starts').series(
    [50.0], [8.0], time
  )
  np.testing.assert_array_equal(ends['tp_hourly'][0, 46:49], [2.5, 0, np.nan])
  np.testing.assert_array_equal(starts['tp_hourly'][0, 46:49], [np.nan, 2.5, 0])
  np.testing.assert_array_equal(ends['t2m_hourly'], starts['t2m_hourly'])


def test_the_repeated_hour_of_autumn_is_two_hours(tmp_path):
  rows = ['a,2013-11-03T01,1,0', 'a,2013-11-03T01,2,0', 'b,2013-11-03T01,3,0']
  result = read(
    tmp_path, rows, time_zone='America/New_York', places=PLAIN['places']
  ).table
  assert result['a'][0] == result['b'][0] == seconds(2013, 11, 3, 5) // 3600
  np.testing.assert_allclose(
    result['a'][1]['temperature'][:2], [274.15, 275.15]
  )


def test_an_offset_in_the_file_goes_before_the_time_zone(tmp_path):
  rows = ['a,2020-01-01T05:00:00+01:00,1,0']
  assert read(tmp_path, rows).table['a'][0] == seconds(2020, 1, 1, 4) // 3600


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(time_zone=''), 'time_zone is not declared'),
    (dict(time_zone='Mars/Olympus'), 'Mars/Olympus.*tz database'),
    (dict(temperature='temp'), 'temperature=.*unit is one of'),
    (dict(temperature=('temp', 'F')), "degC', 'degF"),
    (dict(precipitation=('precip', 'm')), "inch', 'mm"),
    (dict(temperature=(), precipitation=()), 'Neither temperature nor'),
    (dict(hour_of_sum='middle'), 'neither ends nor starts'),
    (dict(time=('year', 'month')), 'four of year, month'),
  ],
)
def test_what_a_csv_file_does_not_say_must_be_declared(changes, message):
  with pytest.raises(ValueError, match=message):
    stations.Stations(**REAL | changes)


def test_an_undeclared_column_lists_the_columns_of_the_file():
  wrong = stations.Stations(**REAL | dict(temperature=('t2m', 'K')))
  with pytest.raises(ValueError, match=r"no column \['t2m'\].*'temp'"):
    wrong.table  # noqa: B018  Reading it reads the file.


@pytest.mark.parametrize(
  'rows, changes, message',
  [
    (['a,2020-01-01T05,300,0'], {}, 'line 2: t=300 degC is 573.1 K.*unit'),
    (['a,2020-01-01T05,1,-1'], {}, 'line 2: p=-1 mm'),
    (['a,2020-01-01T05,M,0'], {}, "t='M' is no number.*missing"),
    (['a,2020-01-01T05,NaN,0'], {}, "t='NaN' is no number.*missing"),
    (['a,2020-01-01T05,-999,0'], {}, 'is the unit right.*-999.*`missing`'),
    (['a,2020-01-01T05:51,1,0'], {}, 'not on the hour'),
    (['a,yesterday,1,0'], {}, 'the time cannot be read'),
    (
      ['a,2020-01-01T05,1,0', 'a,2020-01-01T05,2,0'],
      {},
      'line 3: station a already has another',
    ),
    (
      ['a,2013-03-10T02,1,0'],
      dict(time_zone='America/New_York'),
      'does not exist in America/New_York',
    ),
    (['b,2020-01-01T05,1,0'], {}, r"no rows of the stations \['a'\]"),
  ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, rows, changes, message):
  with pytest.raises(ValueError, match=message):
    read(tmp_path, rows, **changes).table  # noqa: B018  Reading it reads.


def test_a_place_without_a_station_lists_the_stations(tmp_path):
  result = read(tmp_path, ['a,2020-01-01T05,1,0'])
  with pytest.raises(ValueError, match='no station at 10.0, 20.0'):
    result.series([10.0], [20.0], [seconds(2020, 1, 1)])


def test_missing_numbers_are_compared_as_numbers(tmp_path):
  rows = ['a,2020-01-01T05,-999.0,0', 'a,2020-01-01T06,1,0']
  table = read(tmp_path, rows, missing=('', '-999')).table
  first, values = table['a']
  assert first == seconds(2020, 1, 1, 5) // 3600
  np.testing.assert_array_equal(
    np.isnan(values['temperature'][:2]), [True, False]
  )


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'latin-1', 'utf-16'])
def test_other_encodings_are_read_or_named(tmp_path, encoding):
  stations_file = read(
    tmp_path, ['Zürich,2020-01-01T05,1,0', 'a,2020-01-01T05,1,0']
  )
  path = stations_file.paths[0]
  text = pathlib.Path(path).read_text('utf-8')
  pathlib.Path(path).write_bytes(text.encode(encoding))
  if encoding == 'utf-8-sig':
    assert list(stations_file.table) == ['a']
  else:
    with pytest.raises(ValueError, match=f'{path} is not in UTF-8.*iconv'):
      stations_file.table  # noqa: B018  Reading it reads the file.


@pytest.mark.parametrize(
  'place, message',
  [((-74.17, 140.69), None), ((140.69, -74.17), 'exchanged'), ((1,), 'not at')],
)
def test_places_of_stations_are_places(place, message):
  settings = dict(
    paths=('a.csv',),
    places={'EWR': place},
    station='origin',
    time='time',
    time_zone='UTC',
    temperature=('temp', 'degF'),
  )
  if message is None:
    assert stations.Stations(**settings).places['EWR'] == place
    return
  with pytest.raises(ValueError, match=f"places: 'EWR' .*{message}"):
    stations.Stations(**settings)
