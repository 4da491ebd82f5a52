"""Weather is read once for many shards, and gives the same bytes."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from fusion_jax import datasets
from fusion_jax.data.builders import ahead, shards, weather, workers
from fusion_jax.data.sources import gridded, place_series
from tests import small_archives
from tests.data import placed

RAIN = sorted(small_archives.GFS.glob('gfs.20200325*'))
HOURS = 48  # Of the file that the tests read, from 2019-03-01.


@pytest.fixture(scope='module')
def archive(tmp_path_factory):
  """The first two days of a file of temperatures."""
  path = tmp_path_factory.mktemp('archive') / 'two_days.grib'
  content = small_archives.ERA5.read_bytes()
  path.write_bytes(content[: len(content) // 144 * HOURS])
  return path


@dataclasses.dataclass(frozen=True)
class Counted:
  """Weather that writes a line for each field that it reads."""

  fields: gridded.Weather
  log: str

  def series(self, lat, lon, time):
    read = gridded.Weather.field

    def noted(fields, record):
      with open(self.log, 'a') as file:
        file.write(f'{record.end}\n')
      return read(fields, record)

    gridded.Weather.field = noted
    try:
      return self.fields.series(lat, lon, time)
    finally:
      gridded.Weather.field = read


def build(archive, out, num_workers=1, **options):
  """Writes the places with weather; the hours whose fields were read."""
  log = pathlib.Path(f'{out}.log')
  fields = Counted(gridded.Weather((str(archive),)), str(log))
  source = weather.WithWeather(placed.Places(**options), fields)
  assert shards.build(source, out, num_workers=num_workers)
  return list(map(int, log.read_text().split()))


def records(out):
  return {p.name: p.read_bytes() for p in out.glob('*.array_record')}


def test_each_field_is_read_once_whatever_the_number_of_samples(
  archive, tmp_path
):
  for total in (40, 80):
    read = build(archive, tmp_path / str(total), total=total)
    assert len(read) == len(set(read)) == HOURS
  sharded = build(archive, tmp_path / 'sharded', per_shard=1)
  assert sorted(sharded) == sorted(read)
  workers_read = build(archive, tmp_path / 'workers', num_workers=2)
  assert sorted(workers_read) == sorted(read)


def test_chunks_of_places_read_the_fields_of_their_own_days(
  archive, tmp_path, monkeypatch
):
  build(archive, tmp_path / 'whole')
  monkeypatch.setattr(ahead, 'PLACES', 7)
  read = build(archive, tmp_path / 'chunks')
  assert len(read) <= HOURS * -(-40 // 7)
  assert len(read) > HOURS
  assert records(tmp_path / 'chunks') == records(tmp_path / 'whole')


def test_the_bytes_are_those_of_reading_shard_by_shard(
  archive, tmp_path, monkeypatch
):
  build(archive, tmp_path / 'ahead')
  monkeypatch.setattr(shards, '_JOINED', ())
  read = build(archive, tmp_path / 'shards')
  assert len(read) > 4 * HOURS  # Each of the eight shards anew.
  assert records(tmp_path / 'shards') == records(tmp_path / 'ahead')
  assert not (tmp_path / 'ahead' / '.scratch').exists()


def test_a_restarted_build_does_not_read_the_weather_again(
  archive, tmp_path, monkeypatch
):
  build(archive, tmp_path / 'whole')

  def fail(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(shards, 'write', fail)
    build(archive, tmp_path / 'killed')
  read = build(archive, tmp_path / 'killed')
  assert len(read) == HOURS  # All before it was killed.
  assert records(tmp_path / 'killed') == records(tmp_path / 'whole')


def test_a_place_has_the_same_values_in_any_company(archive):
  fields = gridded.Weather((str(archive),), 'bilinear')
  rain = gridded.Weather(tuple(map(str, RAIN)))
  places = np.array(list(placed.Places().places('train', (0, 40)).values()))
  march = 1_585_267_200  # 2020-03-27, whose window has the rain of two files.
  for weather_, shift in (fields, 0), (rain, march - placed.LAST):
    lat, lon = places[:, :2].T
    time = places[:, 2].astype(np.int64) + shift
    together = weather_.series(lat, lon, time)
    for i in (0, 11, 39):
      alone = weather_.series(lat[i : i + 1], lon[i : i + 1], time[i : i + 1])
      for name, values in alone.items():
        np.testing.assert_array_equal(together[name][i], values[0], name)
  assert np.isfinite(together['tp_min_daily']).any()


def test_hourly_sums_of_one_run_are_those_of_the_general_rule(monkeypatch):
  rng = np.random.default_rng(1)

  class File:
    path = 'simulated'

    def __init__(self):
      self.fields = rng.gamma(0.3, 2.0, (96, 1)) * (rng.random((96, 1)) < 0.8)
      self.fields[rng.random(96) < 0.1] = np.nan

    def grid(self, record):
      return gridded.geo.Points(np.array([10.0]), np.array([20.0]))

    def read(self, record):
      return self.fields[record.where]

  file = File()
  first = 1_585_267_200
  record = gridded.weather_units.Record
  hours = [
    record('tp', first + 3600 * h, first + 3600 * (h + 1), first, file, h)
    for h in range(96)
  ]

  class Fields:
    alignment, outside, records = 'nearest', 'missing', hours

    def field(self, record):
      return file.read(record)

  time = first + 86_400 * np.array([2, 0, 30, 2])
  place = np.full(4, 10.0), np.full(4, 20.0), time
  direct = place_series.PlaceSeries(Fields(), *place).rain()
  monkeypatch.setattr(place_series, '_is_hour', lambda record: False)
  general = place_series.PlaceSeries(Fields(), *place).rain()
  np.testing.assert_array_equal(direct, general)
  assert np.isfinite(direct).sum() > 100


def test_two_stations_with_one_key_are_refused():
  recipe = small_archives.RECIPES['stations'](pathlib.Path())
  places = {'EWR': (40.69, -74.17), 'JFK': (40.69001, -74.17001)}
  stations = dataclasses.replace(recipe.stations, places=places)
  source = dataclasses.replace(recipe, stations=stations).open_reader()
  with pytest.raises(ValueError, match="Block 'train' holds two places"):
    source.places('train', (0, 1))


def test_gaps_of_the_weather_stand_in_the_report_and_stay_missing(
  archive, tmp_path
):
  messages = archive.read_bytes()
  size = len(messages) // HOURS
  path = tmp_path / 'gaps.grib'
  path.write_bytes(messages[: 29 * size] + messages[32 * size :])
  source = weather.WithWeather(placed.Places(), gridded.Weather((str(path),)))
  shards.build(source, tmp_path / 'out')
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert report['weather']['gaps'] == {
    't2m': [{'after': '2019-03-02T04:00', 'before': '2019-03-02T08:00'}]
  }
  assert report['weather']['fields'] == {'t2m': HOURS - 3}
  whole = weather.WithWeather(placed.Places(), gridded.Weather((str(archive),)))
  shards.build(whole, tmp_path / 'whole')
  complete = json.loads((tmp_path / 'whole' / 'report.json').read_text())
  assert complete['weather']['gaps'] == {}
  missing, fewer = (
    r['missing']['train']['t2m_hourly'] for r in (report, complete)
  )
  assert missing > fewer


def test_a_reader_that_dies_leaves_no_half_chunk(tmp_path):
  class Failing:
    def series(self, lat, lon, time):
      raise ValueError('no field')

  source = weather.WithWeather(placed.Places(), Failing())
  jobs = shards.jobs(source, tmp_path)
  with pytest.raises(ValueError, match='no field'):
    ahead.read_weather(
      source, jobs, lambda f, i, a: workers.run(f, i, a, 1), tmp_path / 's'
    )
  assert not list((tmp_path / 's').rglob('chunk-*'))


def test_samples_with_weather_are_prepared_ahead(tmp_path):
  recipe = small_archives.RECIPES['samples'](tmp_path)
  datasets.prepare(
    recipe, tmp_path / 'out', datasets.BuildSettings(num_workers=1)
  )
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert report['read']['train']['examples'] == 4
  assert report['absent']['train']['tp_min_daily'] == 3
