"""Data sets written from recipes: reused, resumed, overwritten, refused."""

import dataclasses
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fusion_jax import datasets, extras, locks
from fusion_jax.data import builders, sources
from fusion_jax.datasets import build

DATA = pathlib.Path(__file__).parents[1] / 'testdata'
GFS = [str(DATA / 'weather' / 'gfs')]  # Six files; two hold what is needed.
SMALL = datasets.Simulated(
  image_size=16, splits={'train': 9, 'val': 2}, images=('S2L2A',)
)
ONE_PROCESS = datasets.BuildSettings(num_workers=1)
OVERWRITE = datasets.BuildSettings(num_workers=1, overwrite=True)


def read(out, split):
  source = tfds.builder_from_directory(out).as_data_source(split)
  return {example['key'].decode(): example for example in source}


def test_real_scenes_with_the_real_rain_that_falls_into_their_window(tmp_path):
  recipe = datasets.Samples(source=str(DATA / 'terramesh'), weather=tuple(GFS))
  datasets.prepare(recipe, tmp_path, ONE_PROCESS)
  train = read(tmp_path, 'train')
  assert set(train) == {
    '282D_485L_3_3',
    '38D_378R_2_3',
    '433D_629L_3_1',
    '609U_541L_3_0',
  }
  assert set(read(tmp_path, 'val')) == {'637U_59R_1_3'}
  chile = train['433D_629L_3_1']
  assert chile['S2L2A'].shape == (224, 224, 12)
  np.testing.assert_array_equal(
    np.flatnonzero(chile['tp_min_daily'] == 0), [15, 16]
  )
  missing = [
    np.isnan(e[name]).all()
    for e in train.values()
    for name in e
    if name[:3] in ('t2m', 'tp_')
  ]
  assert missing.count(False) == 1
  statistics = json.loads((tmp_path / 'statistics.json').read_text())
  assert statistics['series']['tp_min_daily']['count'] == 2
  assert statistics['num_examples'] == {'train': 4, 'val': 1}


def test_simulated_earth_in_two_processes(tmp_path):
  two_processes = datasets.BuildSettings(num_workers=2)
  datasets.prepare(SMALL, tmp_path, two_processes)
  train = read(tmp_path, 'train')
  assert len(train) == 9
  for example in train.values():
    assert example['S2L2A'].shape == (16, 16, 12)
    assert np.isfinite(example['t2m_hourly']).all()


def test_prepared_data_is_reused(tmp_path):
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  before = {p: p.stat().st_mtime_ns for p in tmp_path.glob('*.array_record')}
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  assert before == {p: p.stat().st_mtime_ns for p in before}


def test_other_arguments_raise_unless_told_to_overwrite(tmp_path):
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  other = dataclasses.replace(SMALL, splits={'train': 2})
  with pytest.raises(ValueError, match="splits={'train': 9, 'val': 2} .now"):
    datasets.prepare(other, tmp_path, ONE_PROCESS)
  datasets.prepare(other, tmp_path, OVERWRITE)
  assert len(read(tmp_path, 'train')) == 2
  assert not list(tmp_path.glob('val*'))


def test_a_killed_overwrite_is_not_taken_for_done(tmp_path, monkeypatch):
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  unlink = pathlib.Path.unlink

  def killed(path, **kwargs):
    if path.name.startswith('train-00001') and path.suffix == '.array_record':
      raise KeyboardInterrupt
    unlink(path, **kwargs)

  with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
    patched.setattr(pathlib.Path, 'unlink', killed)
    datasets.prepare(dataclasses.replace(SMALL, seed=1), tmp_path, OVERWRITE)
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  assert len(read(tmp_path, 'train')) == 9


def test_only_one_process_writes_to_a_folder(tmp_path):
  share = dataclasses.replace(ONE_PROCESS, shard=(0, 2))
  with build.hold(tmp_path / 'new', (0, 1)):
    for settings in (ONE_PROCESS, share, OVERWRITE):
      with pytest.raises(locks.InUseError, match='new is in use by process'):
        datasets.prepare(SMALL, tmp_path / 'new', settings)
  with build.hold(tmp_path / 'new', (1, 2)):  # Another process of the array.
    datasets.prepare(SMALL, tmp_path / 'new', share)
    with pytest.raises(locks.InUseError, match='on .* since 20'):
      datasets.prepare(SMALL, tmp_path / 'new', ONE_PROCESS)
  datasets.prepare(SMALL, tmp_path / 'new', ONE_PROCESS)
  with build.hold(tmp_path / 'new', (0, 1)):  # Nothing is left to write.
    datasets.prepare(SMALL, tmp_path / 'new', ONE_PROCESS)
  assert not list((tmp_path / 'new').glob('.lock*'))


def test_what_killed_processes_left_goes_before_the_next_one(tmp_path):
  (tmp_path / '.notes').mkdir()
  (tmp_path / '.features-x').mkdir()
  left = [
    tmp_path / f'train-0.array_record.tmp-{"0" * 32}',
    tmp_path / '.notes' / f'train-0.json.tmp-{"a" * 32}',
    tmp_path / '.features-x' / 'features.json',
  ]
  own = tmp_path / 'notes.tmp-mine'
  for path in (*left, own):
    path.touch()
  with build.hold(tmp_path, (1, 2)):  # Another job may still write them.
    assert all(path.exists() for path in left)
  with build.hold(tmp_path, (0, 1)):
    assert not any(path.exists() for path in left)
  assert own.exists()


def recipe_of(name):
  """A recipe whose reader needs the packages of an extra."""
  return {
    'samples': datasets.Samples(
      source=str(DATA / 'terramesh'), weather=tuple(GFS)
    ),
    'terramesh': datasets.TerraMesh(source=str(DATA / 'terramesh')),
    'series': datasets.Series(
      weather=tuple(GFS),
      series=('tp_hourly',),
      blocks={'train': datasets.Block('2020-01-01', '2020-02-01')},
    ),
    'sen4map': datasets.Sen4Map(source=str(DATA)),
    'worldcereal': datasets.WorldCereal(source=str(DATA)),
  }[name]


@pytest.mark.parametrize(
  'name, module, extra',
  [
    ('samples', 'rasterio', 'terramesh'),
    ('samples', 'xarray', 'weather'),
    ('samples', 'eccodes', 'weather'),
    ('terramesh', 'zarr', 'terramesh'),
    ('series', 'eccodes', 'weather'),
    ('sen4map', 'h5py', 'pixels'),
    ('worldcereal', 'pyarrow', 'eval'),
  ],
)
def test_a_missing_reader_names_the_extra(
  tmp_path, monkeypatch, name, module, extra
):
  monkeypatch.setitem(sys.modules, module, None)
  for package, reader in (
    (sources, 'geotiff'),
    (sources, 'samples'),
    (sources, 'terramesh'),
    (sources, 'gridded'),
    (sources, 'weather_files'),
    (sources, 'xarray_checks'),
    (sources, 'xarray_fields'),
    (sources, 'xarray_times'),
    (sources, 'grib'),
    (sources, 'sen4map'),
    (sources, 'labelled_pixels'),
    (builders, 'sen4map'),
    (builders, 'labelled'),
  ):
    monkeypatch.delitem(
      sys.modules, f'{package.__name__}.{reader}', raising=False
    )
    monkeypatch.delattr(package, reader, raising=False)
  with pytest.raises(extras.MissingExtraError, match=rf'fusion_jax\[{extra}\]'):
    datasets.prepare(recipe_of(name), tmp_path, ONE_PROCESS)


def test_missing_beam_names_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  settings = datasets.BuildSettings(beam_runner='DirectRunner')
  with pytest.raises(extras.MissingExtraError, match=r'fusion_jax\[beam\]'):
    datasets.prepare(SMALL, tmp_path, settings)


def test_overwriting_deletes_nothing_but_the_data_set(tmp_path):
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  (tmp_path / 'mine.txt').write_text('keep')
  datasets.prepare(dataclasses.replace(SMALL, seed=1), tmp_path, OVERWRITE)
  assert (tmp_path / 'mine.txt').read_text() == 'keep'


def test_a_run_is_not_made_a_data_set(tmp_path):
  (tmp_path / 'statistics.json').write_text('{}')
  with pytest.raises(ValueError, match='holds a run or weights'):
    datasets.prepare(SMALL, tmp_path)
  assert (tmp_path / 'statistics.json').read_text() == '{}'


def test_folder_with_foreign_records_is_left_alone(tmp_path):
  (tmp_path / 'train-00000-of-00001.array_record').write_bytes(b'')
  with pytest.raises(ValueError, match='records of unknown origin'):
    datasets.prepare(SMALL, tmp_path, ONE_PROCESS)


def test_interrupted_data_set_is_completed(tmp_path):
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  (tmp_path / 'statistics.json').unlink()
  (tmp_path / 'train-00001-of-00005.array_record').unlink()
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  assert (tmp_path / 'statistics.json').exists()
  assert len(read(tmp_path, 'train')) == 9


def test_archive_needs_its_folder(tmp_path):
  with pytest.raises(ValueError, match="nowhere' is no folder; terra"):
    datasets.prepare(datasets.TerraMesh(source='nowhere'), tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_a_prepared_data_set_is_found_without_its_archive(tmp_path):
  source = shutil.copytree(DATA / 'terramesh', tmp_path / 'source')
  recipe = datasets.Samples(source=str(source), images=('LULC',))
  datasets.prepare(recipe, tmp_path / 'out', ONE_PROCESS)
  shutil.rmtree(source)
  assert datasets.prepare(recipe, tmp_path / 'out') == tmp_path / 'out'


def test_a_folder_with_another_data_set_is_left_alone(tmp_path):
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  with pytest.raises(
    ValueError, match="dataset='simulated' .now 'simulated_pixels'.. Choose"
  ):
    datasets.prepare(datasets.SimulatedPixels(), tmp_path)


def test_shares_of_a_job_array_do_not_overwrite(tmp_path):
  settings = datasets.BuildSettings(overwrite=True, shard=(0, 2))
  datasets.prepare(SMALL, tmp_path, ONE_PROCESS)
  with pytest.raises(ValueError, match='delete .* first'):
    datasets.prepare(SMALL, tmp_path, settings)
  assert len(read(tmp_path, 'train')) == 9


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(num_workers=-1), 'num_workers=-1 is negative'),
    (dict(max_bad=2.0), 'max_bad=2.0 is no share'),
    (dict(shard=(2, 2)), 'shard=.2, 2. is not'),
    (dict(beam_options=('a=b',)), 'need --beam-runner'),
  ],
)
def test_settings_that_do_not_fit_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    datasets.BuildSettings(**fields)
