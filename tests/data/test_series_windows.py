import dataclasses
import pathlib

import numpy as np
import pytest

from fusion_jax import datasets, geo
from fusion_jax.data import records
from fusion_jax.data.builders import blocks, series, shards, skipped
from fusion_jax.data.sources import gridded

DATA = pathlib.Path(__file__).parents[1] / 'testdata'
SIX_DAYS = DATA / 'weather' / 'era5-2mt-2019-03-01-to-06-uk.grib'
CITIES = DATA / 'weather' / 'daily_surface_cancities_1990-1993.nc'
BLOCKS = {
  'train': dict(
    start='2019-03-01',
    end='2019-03-04',
    lat=(50, 50.5),
    lon=(-10, -9.5),
    every_h=5,
  ),
  'test': dict(
    start='2019-03-04',
    end='2019-03-07',
    lat=(57.75, 58),
    lon=(1.5, 2),
    every_h=12,
  ),
}


ONE_PROCESS = datasets.BuildSettings(num_workers=1)
SIX_DAYS_OF_WINDOWS = datasets.Series(
  weather=(str(SIX_DAYS),),
  series=('t2m_hourly',),
  blocks={name: datasets.Block(**block) for name, block in BLOCKS.items()},
)


class Constant:
  """Weather that is the same everywhere; missing at the second place."""

  cells = (np.array([10.0, 20.0]), np.array([0.0, 0.0]))

  def series(self, lat, lon, time):
    values = np.where(np.asarray(lat)[:, None] == 20.0, np.nan, 280.0)
    return {'t2m_hourly': np.broadcast_to(values, (len(lat), 60))}


def test_windows_of_a_grid_lie_inside_their_block(tmp_path):
  datasets.prepare(SIX_DAYS_OF_WINDOWS, tmp_path, ONE_PROCESS)
  raw = gridded.Weather((str(SIX_DAYS),))
  for split, num_places, num_times in ('train', 9, 3), ('test', 6, 2):
    result = records.Examples(tmp_path, split)
    assert len(result) == num_places * num_times
    block = blocks.Block(**BLOCKS[split])
    for example in (result[0], result[len(result) - 1]):
      hour = int(example['time']) // 3600
      assert block.hours[0] <= hour - 47 and hour + 12 < block.hours[1]
      assert block.contains(example['lat'], example['lon'])
      np.testing.assert_array_equal(
        example['t2m_hourly'],
        raw.series(
          example['lat'][None], example['lon'][None], example['time'][None]
        )['t2m_hourly'][0],
      )


def test_a_prepared_data_set_of_series_is_reused(tmp_path):
  datasets.prepare(SIX_DAYS_OF_WINDOWS, tmp_path, ONE_PROCESS)
  before = {p: p.stat().st_mtime_ns for p in tmp_path.glob('*.array_record')}
  datasets.prepare(SIX_DAYS_OF_WINDOWS, tmp_path)
  assert before == {p: p.stat().st_mtime_ns for p in before}


def test_windows_of_daily_files_at_stations(tmp_path):
  splits = {
    'train': datasets.Block('1990-01-01', '1992-01-01', every_h=240),
    'test': datasets.Block('1992-01-01', '1994-01-01', every_h=240),
  }
  recipe = datasets.Series(
    weather=(str(CITIES),),
    series=('t2m_min_daily', 't2m_max_daily'),
    blocks=splits,
  )
  datasets.prepare(recipe, tmp_path, ONE_PROCESS)
  for split in splits:
    result = records.Examples(tmp_path, split)
    assert len(result) % 5 == 0 and len(result) > 300
    for example in map(result.__getitem__, range(0, len(result), 30)):
      assert np.isfinite(example['t2m_min_daily']).all()
      assert (example['t2m_min_daily'] <= example['t2m_max_daily']).all()


def test_windows_of_stations(tmp_path):
  stations = datasets.Stations(
    paths=(str(DATA / 'series' / 'nyc-2013-hourly.csv.gz'),),
    places={'EWR': (40.69, -74.17)},
    station='origin',
    time='time_hour',
    time_zone='UTC',
    precipitation=('precip', 'inch'),
  )
  block = datasets.Block('2013-02-01', '2013-02-05', every_h=12)
  recipe = datasets.Series(
    stations=stations, blocks={'train': block}, series=('tp_hourly',)
  )
  datasets.prepare(recipe, tmp_path, ONE_PROCESS)
  example = records.Examples(tmp_path, 'train')[0]
  assert example['tp_hourly'].shape == (60,)
  with pytest.raises(ValueError, match='other arguments: stations='):
    other = dataclasses.replace(stations, hour_of_sum='starts')
    datasets.prepare(dataclasses.replace(recipe, stations=other), tmp_path)


def test_windows_without_a_value_are_left_out_and_counted(tmp_path):
  block = blocks.Block('2020-01-01', '2020-01-04', every_h=1)
  source = series.Windows(Constant(), {'train': block}, ('t2m_hourly',))
  shards.build(source, tmp_path, max_bad=0.5)
  assert len(records.Examples(tmp_path, 'train')) == 13
  with pytest.raises(skipped.TooManyBadExamples, match='values are missing'):
    shards.build(source, tmp_path / 'strict', max_bad=0.1)


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      dict(
        test=dict(
          start='2019-03-03', end='2019-03-07', lat=(50.5, 52), lon=(-9.5, 0)
        )
      ),
      "'train' and 'test' share places",
    ),
    (
      dict(test=dict(start='2019-03-05', end='2019-03-06')),
      "'test'.*shorter than a window of t2m_hourly",
    ),
    (
      dict(test=dict(start='2019-03-04', end='2019-03-07', lat=(0, 1))),
      "'test'.*holds no place",
    ),
    (dict(test=dict(start='2019-03-07', end='2019-03-04')), 'is empty'),
  ],
)
def test_bad_blocks_are_named(tmp_path, changes, message):
  with pytest.raises(ValueError, match=message):
    recipe = datasets.from_fields(
      'series',
      dict(
        weather=(str(SIX_DAYS),),
        series=('t2m_hourly',),
        blocks=BLOCKS | changes,
      ),
    )
    datasets.prepare(recipe, tmp_path)


@pytest.mark.parametrize(
  'arguments, message',
  [
    (dict(weather=()), 'either --weather.*or --stations'),
    (dict(blocks={}), 'needs --blocks'),
    (dict(series=()), 'No series'),
    (dict(blocks={'train': dict(start='2019')}), 'Block cannot be made of'),
    (dict(blocks={'train': dict(begin='2019')}), 'fields are start, end'),
  ],
)
def test_series_need_weather_blocks_and_names(arguments, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(SIX_DAYS_OF_WINDOWS, **arguments)


def test_cells_of_a_grid_are_in_the_order_of_its_fields():
  weather = gridded.Weather((str(SIX_DAYS),))
  lat, lon = weather.cells
  assert lat.shape == lon.shape == (33 * 49,)
  record = weather.records[0]
  np.testing.assert_array_equal(
    weather.at(record, lat, lon), record.file.read(record)
  )
  assert isinstance(record.file.grid(record), geo.Grid)
