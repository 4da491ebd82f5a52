"""Examples on disk: written, counted, resumed, and read without TensorFlow."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from fusion_jax import modalities, simulation
from fusion_jax.data import examples, readers
from fusion_jax.data.builders import (
  histogram,
  layout,
  shards,
  skipped,
  statistics,
  weather,
  workers,
)


@dataclasses.dataclass(frozen=True)
class Earth:
  """A tiny source of random access, a pure function of its seed."""

  seed: int = 0
  splits: dict = dataclasses.field(
    default_factory=lambda: {'train': 20, 'val': 5}
  )

  def example(self, split, i):
    rng = np.random.default_rng([self.seed, len(split), i])
    wet = rng.random(60) < 0.5
    gaps = np.where(rng.random(60) < 0.1, np.nan, 0)
    return {
      'key': f'{split}_{i}',
      'lat': 1 / 3 + i,
      'lon': -179.9,
      'time': 10**9,
      'S2L2A': rng.integers(-5, 9000, (4, 4, 12)).astype(np.int16),
      'S2L1C': rng.integers(1000, 9000, (4, 4, 13)).astype(np.int16),
      'S2L1C_offset': np.int16(1000 if i % 2 else 0),
      'S1RTC': (
        rng.normal(-12, 3, (4, 4, 2)).astype(np.float16)
        if i % 3
        else np.zeros((0, 0, 2), np.float16)
      ),
      't2m_hourly': (gaps + rng.normal(285, 9, 60)).astype(np.float32),
      'tp_hourly': np.where(wet, rng.gamma(0.5, 2, 60), 0).astype(np.float32),
    }


@dataclasses.dataclass(frozen=True)
class Flaky(shards.Indexed):
  """As `Indexed`, but some examples are unreadable."""

  bad: tuple = ()

  def read(self, split, part):
    for example in super().read(split, part):
      yield (
        readers.Skipped(example['key'], 'torn')
        if example['key'] in self.bad
        else example
      )


def parts(**kwargs):
  return shards.Indexed(Earth(), **kwargs)


def names(folder):
  return sorted(p.name for p in folder.iterdir() if p.name != '.notes')


def content(folder):
  return {p.name: p.read_bytes() for p in folder.glob('*.array_record')}


def all_values(field, split='train'):
  return [Earth().example(split, i)[field] for i in range(20)]


def test_tfds_reads_back_what_was_written(tmp_path):
  assert shards.build(parts(), tmp_path)
  source = tfds.builder_from_directory(tmp_path).as_data_source('train')
  assert len(source) == 20
  for i in (0, 7, 19):
    expected = Earth().example('train', i)
    result = source[i]
    assert result['key'].decode() == expected['key']
    for name in set(expected) - {'key'}:
      value = np.asarray(result[name])
      assert value.dtype == np.asarray(expected[name]).dtype, name
      reference = np.reshape(expected[name], value.shape)
      np.testing.assert_array_equal(value, reference, name)
    assert result['lat'] == 1 / 3 + i  # Exactly: no float32 on the way.


def test_absent_image_has_no_rows_and_missing_series_is_nan():
  codec = examples.Codec(examples.Schema(('S2L2A', 'DEM'), 4))
  example = codec.complete(
    {
      'key': 'a',
      'lat': 1.0,
      'lon': 2.0,
      'time': 3,
      'S2L2A': np.ones((4, 4, 12), np.int64),
    }
  )
  assert example['DEM'].shape == (0, 4, 1)
  assert example['S2L2A'].dtype == np.int16
  assert np.isnan(example['tp_min_daily']).all()
  again = codec.decode(codec.encode(example))
  for name, value in example.items():
    np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize(
  'field, value, message',
  [
    (
      'S2L2A',
      np.zeros((4, 5, 12), np.int16),
      r'S2L2A of example .a. is int16 '
      r'\(4, 5, 12\)',
    ),
    ('S2L2A', np.zeros((4, 4, 12)), 'float64'),
    ('t2m_hourly', np.zeros(59, np.float32), 't2m_hourly'),
    ('NDVI', np.zeros((4, 4, 1)), 'NDVI.*lacks'),
  ],
)
def test_example_that_does_not_fit_raises(field, value, message):
  codec = examples.Codec(examples.Schema(('S2L2A',), 4, ('t2m_hourly',)))
  with pytest.raises(ValueError, match=message):
    codec.complete(
      {'key': 'a', 'lat': 1.0, 'lon': 2.0, 'time': 3, field: value}
    )


def test_example_needs_place_and_time():
  codec = examples.Codec(examples.Schema((), 4, ()))
  with pytest.raises(ValueError, match='no time'):
    codec.complete({'key': 'a', 'lat': 1.0, 'lon': 2.0})


def test_numpy_and_grain_are_enough_to_read(tmp_path):
  shards.build(parts(), tmp_path)
  paths = sorted(map(str, tmp_path.glob('train-*.array_record')))
  source = grain.sources.ArrayRecordDataSource(paths)
  assert len(source) == 20
  codec = examples.Codec(shards.Indexed(Earth()).schema)
  image = codec.decode(source[3])['S2L2A']
  np.testing.assert_array_equal(image, Earth().example('train', 3)['S2L2A'])


def test_no_tensorflow_and_no_jax_to_build_or_read(tmp_path):
  program = (
    'import sys; import tensorflow_datasets as tfds\n'
    'from fusion_jax.data.builders import shards\n'
    'from fusion_jax import simulation\n'
    "earth = simulation.SimulatedEarth(image_size=16, fields=('DEM',), "
    "splits={'train': 2})\n"
    'shards.build(shards.Indexed(earth), sys.argv[1])\n'
    'source = tfds.builder_from_directory(sys.argv[1])\\\n'
    "    .as_data_source('train')\n"
    "assert source[1]['DEM'].shape == (16, 16, 1)\n"
    "assert not {'tensorflow', 'jax'} & set(sys.modules)\n"
  )
  subprocess.run(
    [sys.executable, '-c', program, str(tmp_path)],
    check=True,
    env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
  )


def test_worker_processes_write_the_same_bytes(tmp_path):
  source = shards.Indexed(
    simulation.SimulatedEarth(
      image_size=16, fields=('S2L2A',), splits={'train': 16, 'val': 2}
    )
  )
  shards.build(source, tmp_path / 'one')
  shards.build(source, tmp_path / 'two', num_workers=2)
  assert content(tmp_path / 'one') == content(tmp_path / 'two')
  one, two = (
    json.loads((tmp_path / n / 'statistics.json').read_text())
    for n in ('one', 'two')
  )
  assert one['images'] == two['images'] and one['series'] == two['series']


def test_shares_of_a_job_array_make_the_whole(tmp_path):
  done = [
    shards.build(parts(), tmp_path / 'jobs', share=(i, 3)) for i in (2, 0, 1)
  ]
  assert done == [False, False, True]
  shards.build(parts(), tmp_path / 'whole')
  assert names(tmp_path / 'jobs') == names(tmp_path / 'whole')
  assert content(tmp_path / 'jobs') == content(tmp_path / 'whole')


def test_files_of_processes_with_the_same_id_do_not_meet(tmp_path, monkeypatch):
  replace, path = os.replace, tmp_path / 'note.json'

  def interrupted(temporary, target):
    monkeypatch.setattr(os, 'replace', replace)
    layout.write_whole(path, 'other')  # The same file, at this very moment.
    replace(temporary, target)

  monkeypatch.setattr(os, 'replace', interrupted)
  layout.write_whole(path, 'own')
  assert path.read_text() == 'own'
  assert names(tmp_path) == ['note.json']


def test_finishing_leaves_alone_what_another_process_is_writing(tmp_path):
  other = tmp_path / 'statistics.json.tmp-other'
  other.write_text('half')
  assert shards.build(parts(), tmp_path)
  assert other.exists()


class _Stop(Exception):
  pass


def test_stopped_build_continues_with_the_missing_shards(tmp_path, monkeypatch):
  written = []
  write = shards.write

  def stopping(job, *args):
    if len(written) == 3:
      # A torn file under the temporary name, as a killed process leaves it.
      (tmp_path / f'{job.path.name}.tmp-1').write_bytes(b'torn')
      raise _Stop
    written.append(job.path.name)
    return write(job, *args)

  monkeypatch.setattr(shards, 'write', stopping)
  with pytest.raises(_Stop):
    shards.build(parts(), tmp_path)
  assert not (tmp_path / 'statistics.json').exists()
  first = content(tmp_path)
  again = []
  monkeypatch.setattr(
    shards,
    'write',
    lambda job, *args: (again.append(job.path.name), write(job, *args)),
  )
  assert shards.build(parts(), tmp_path)
  assert not list(tmp_path.glob('*.tmp-*'))
  assert len(written) == 3 and not set(written) & set(again)
  assert first.items() <= content(tmp_path).items()
  assert len(tfds.builder_from_directory(tmp_path).as_data_source('val')) == 5


def test_unreadable_examples_are_counted_named_and_limited(tmp_path):
  source = Flaky(Earth(), bad=('train_3', 'val_0'))
  with pytest.raises(skipped.TooManyBadExamples, match='train_3 .torn'):
    shards.build(source, tmp_path / 'strict')
  assert shards.build(source, tmp_path / 'lenient', max_bad=0.4)
  note = json.loads((tmp_path / 'lenient' / 'statistics.json').read_text())
  assert note['num_examples'] == {'train': 19, 'val': 4}
  assert note['skipped'] == [
    {'key': 'train_3', 'reason': 'torn'},
    {'key': 'val_0', 'reason': 'torn'},
  ]


def test_the_report_says_what_was_read_and_what_is_missing(tmp_path, caplog):
  caplog.set_level('INFO')
  source = Flaky(Earth(), bad=('train_3', 'val_0'))
  shards.build(source, tmp_path, max_bad=0.4)
  report = json.loads((tmp_path / 'report.json').read_text())
  assert report['skipped'] == [
    {'split': 'train', 'key': 'train_3', 'reason': 'torn'},
    {'split': 'val', 'key': 'val_0', 'reason': 'torn'},
  ]
  records = [
    len(source_record)
    for path in tmp_path.glob('train-*.array_record')
    for source_record in grain.sources.ArrayRecordDataSource([str(path)])
  ]
  assert report['read']['train'] == {
    'shards': 7,
    'examples': 19,
    'bytes': sum(records),
  }
  kept = [i for i in range(20) if i != 3]
  assert report['absent']['train'] == {'S1RTC': sum(i % 3 == 0 for i in kept)}
  gaps = np.isnan([Earth().example('train', i)['t2m_hourly'] for i in kept])
  assert report['missing']['train'] == {'t2m_hourly': gaps.sum()}
  assert 'Read 19 examples of train' in caplog.text
  assert 'without a value: S1RTC 6.' in caplog.text


def test_what_a_recipe_leaves_out_is_no_bad_example(tmp_path):
  @dataclasses.dataclass(frozen=True)
  class Choosy(shards.Indexed):
    def read(self, split, part):
      for example in super().read(split, part):
        number = int(example['key'].split('_')[1])
        yield readers.Dropped(example['key'], 'odd') if number % 2 else example

  assert shards.build(Choosy(Earth()), tmp_path, max_bad=0.0)
  report = json.loads((tmp_path / 'report.json').read_text())
  assert report['dropped'] == {'train': {'odd': 10}, 'val': {'odd': 2}}
  assert report['skipped'] == []


class Reads(dict):
  """Counts how often each note is read."""

  def watch(self, monkeypatch):
    read_text = pathlib.Path.read_text

    def counted(path, *args, **kwargs):
      if path.parent.name == '.notes' and path.suffix == '.json':
        self[path.name] = self.get(path.name, 0) + 1
      return read_text(path, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, 'read_text', counted)


def test_a_build_reads_each_note_once(tmp_path, monkeypatch):
  reads = Reads()
  reads.watch(monkeypatch)
  source = shards.Indexed(Earth(splits={'train': 60}), examples_per_shard=1)
  assert shards.build(source, tmp_path)
  assert len(reads) == 60 and set(reads.values()) == {1}
  (tmp_path / 'statistics.json').unlink()
  reads.clear()
  assert shards.build(source, tmp_path)  # Resumed: all notes are there.
  assert len(reads) == 60 and set(reads.values()) == {1}


def test_jobs_of_an_array_read_their_own_notes_and_the_last_one_all(
  tmp_path, monkeypatch
):
  reads, jobs = Reads(), 6
  reads.watch(monkeypatch)
  source = shards.Indexed(Earth(splits={'train': 60}), examples_per_shard=1)
  for i in range(jobs):
    done = shards.build(source, tmp_path, share=(i, jobs))
    assert done == (i == jobs - 1)
  assert sum(reads.values()) == 60 + 60 - 60 // jobs


def test_source_of_the_main_script_is_refused_by_workers(tmp_path, monkeypatch):
  monkeypatch.setattr(shards.Indexed, '__module__', '__main__')
  with pytest.raises(ValueError, match='Indexed is defined in the main script'):
    shards.build(parts(), tmp_path, num_workers=2)


class Unreadable:
  """Can be pickled, but not read again."""

  def __reduce__(self):
    return int, ('no number',)


def test_worker_that_dies_at_once_is_noticed():
  done = workers.run(print, [1, 2], (Unreadable(), bytes(10**6)), 2)
  with pytest.raises(RuntimeError, match='stopped at 1: exit code 1'):
    list(done)


def test_failure_in_a_worker_is_told_by_the_builder(tmp_path):
  earth = simulation.SimulatedEarth(
    image_size=16, fields=('DEM',), splits={'train': 4}
  )
  source = shards.Indexed(earth)
  wrong = examples.Schema(('S2L2A',), 16)
  with pytest.raises(workers.InputError, match='DEM.*which') as caught:
    shards.build(source, tmp_path, schema=wrong, num_workers=2)
  assert 'Traceback' in caught.value.__notes__[0]


def test_mistake_of_the_program_in_a_worker_is_no_error_of_the_input():
  done = workers.run(len, [1, 2], (), 2)
  with pytest.raises(RuntimeError, match='stopped at 1: TypeError'):
    list(done)


def test_statistics_are_those_of_the_training_split(tmp_path):
  shards.build(parts(), tmp_path)
  result = json.loads((tmp_path / 'statistics.json').read_text())
  pixels = np.concatenate([x.reshape(-1, 12) for x in all_values('S2L2A')])
  np.testing.assert_allclose(result['images']['S2L2A']['mean'], pixels.mean(0))
  np.testing.assert_allclose(result['images']['S2L2A']['std'], pixels.std(0))
  radar = np.concatenate([x.reshape(-1, 2) for x in all_values('S1RTC')])
  np.testing.assert_allclose(
    result['images']['S1RTC']['mean'], radar.astype(float).mean(0)
  )
  corrected = np.concatenate(
    [
      x.reshape(-1, 13).astype(float) - offset
      for x, offset in zip(all_values('S2L1C'), all_values('S2L1C_offset'))
    ]
  )
  np.testing.assert_allclose(
    result['images']['S2L1C']['mean'], corrected.mean(0)
  )
  values = np.stack(all_values('t2m_hourly')).astype(float)
  series = result['series']['t2m_hourly']
  assert series['count'] == np.isfinite(values).sum()
  assert series['missing'] == np.isnan(values).sum() > 0
  np.testing.assert_allclose(
    [series[k] for k in ('mean', 'std', 'min', 'max')],
    [f(values) for f in (np.nanmean, np.nanstd, np.nanmin, np.nanmax)],
  )
  np.testing.assert_allclose(series['mean_by_lead'], np.nanmean(values, 0))


def test_bins_are_quantiles_and_of_wet_hours_only(tmp_path):
  shards.build(parts(), tmp_path)
  result = json.loads((tmp_path / 'statistics.json').read_text())['series']
  for name in ('t2m_hourly', 'tp_hourly'):
    values = np.stack(all_values(name)).astype(float)
    values = values[np.isfinite(values)]
    if name == 'tp_hourly':
      assert (values == 0).any()
      values = values[values >= 0.01]
    assert result[name]['fitted_on'] == len(values)
    edges = np.array(result[name]['quantile']['edges'])
    assert len(edges) == 501 and (np.diff(edges) >= 0).all()
    assert edges[0] == values.min() and edges[-1] == values.max()
    share = np.searchsorted(np.sort(values), edges) / len(values)
    np.testing.assert_allclose(share, np.linspace(0, 1, 501), atol=2e-3)
    medians = result[name]['quantile']['medians']
    assert len(medians) == 500
    assert (edges[:-1] <= medians).all() and (medians <= edges[1:]).all()
    np.testing.assert_allclose(
      result[name]['uniform']['edges'],
      np.linspace(values.min(), values.max(), 501),
    )


def test_quantiles_of_a_large_sample_are_exact_to_a_bin():
  values = np.random.default_rng(0).normal(285, 12, 200_000).astype(np.float32)
  result = histogram.Histogram.from_values(values, 9).quantiles(
    np.linspace(0, 1, 501)
  )
  exact = np.quantile(values, np.linspace(0, 1, 501))
  np.testing.assert_allclose(result[1:-1], exact[1:-1], atol=0.032)


def test_histograms_merge_exactly_in_any_order():
  rng = np.random.default_rng(1)
  pieces = [
    rng.gamma(0.5, size=n).astype(np.float32) + 0.01 for n in (5, 100, 1)
  ]
  whole = histogram.Histogram.from_values(np.concatenate(pieces), 12)
  for order in ((0, 1, 2), (2, 0, 1)):
    merged = histogram.Histogram(12)
    for i in order:
      merged = merged.merge(histogram.Histogram.from_values(pieces[i], 12))
    assert merged.state() == whole.state()


def test_series_without_a_value_keeps_the_size_of_its_vocabulary():
  summary = statistics.Series('tp_hourly').summary()
  assert summary['count'] == 0 and summary['mean'] is None
  assert summary['fitted_on'] == 0
  assert len(summary['uniform']['edges']) == modalities.SERIES_BINS + 1
  assert np.isfinite(summary['quantile']['edges']).all()


class Thermometer:
  """Weather whose temperature is the latitude."""

  def series(self, lat, lon, time):
    del lon, time
    return {
      't2m_hourly': np.broadcast_to(np.float32(lat)[:, None], (len(lat), 60))
    }


@dataclasses.dataclass(frozen=True)
class Placed(shards.Indexed):
  def places(self, split, part):
    result = (self.source.example(split, i) for i in range(*part))
    return {e['key']: (e['lat'], e['lon'], e['time']) for e in result}


def test_weather_joins_its_own_place():
  source = weather.WithWeather(Placed(Earth()), Thermometer())
  assert source.schema.series == examples.SERIES
  for part in source.parts()['train']:
    for example in source.read('train', part):
      np.testing.assert_array_equal(
        example['t2m_hourly'], np.float32(example['lat'])
      )


def test_only_one_record_is_decompressed_for_one_example(tmp_path):
  shards.build(parts(), tmp_path)
  path = next(tmp_path.glob('train-*.array_record'))
  reader = array_record_module.ArrayRecordReader(str(path))
  assert 'group_size:1' in reader.writer_options_string()
  reader.close()
