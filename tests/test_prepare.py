import json
import pathlib
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fusion_jax import prepare
from fusion_jax.data import sources

DATA = pathlib.Path(__file__).parent / 'testdata'
GFS = [str(DATA / 'weather' / 'gfs')]  # Six files; two hold what is needed.
SMALL = dict(
  image_size=16, splits={'train': 9, 'val': 2}, images=('S2L2A',), num_workers=1
)


def read(out, split):
  source = tfds.builder_from_directory(out).as_data_source(split)
  return {example['key'].decode(): example for example in source}


def test_real_scenes_with_the_real_rain_that_falls_into_their_window(tmp_path):
  prepare.prepare(
    'samples',
    tmp_path,
    source=str(DATA / 'terramesh'),
    weather_paths=GFS,
    num_workers=1,
  )
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
  prepare.prepare('simulated', tmp_path, **SMALL | {'num_workers': 2})
  train = read(tmp_path, 'train')
  assert len(train) == 9
  for example in train.values():
    assert example['S2L2A'].shape == (16, 16, 12)
    assert np.isfinite(example['t2m_hourly']).all()


def test_prepared_data_is_reused(tmp_path):
  prepare.prepare('simulated', tmp_path, **SMALL)
  before = {p: p.stat().st_mtime_ns for p in tmp_path.glob('*.array_record')}
  prepare.prepare('simulated', tmp_path, **SMALL)
  assert before == {p: p.stat().st_mtime_ns for p in before}


def test_other_arguments_raise_unless_told_to_overwrite(tmp_path):
  prepare.prepare('simulated', tmp_path, **SMALL)
  other = SMALL | {'splits': {'train': 2}}
  with pytest.raises(ValueError, match="splits={'train': 9, 'val': 2} .now"):
    prepare.prepare('simulated', tmp_path, **other)
  prepare.prepare('simulated', tmp_path, **other, overwrite=True)
  assert len(read(tmp_path, 'train')) == 2
  assert not list(tmp_path.glob('val*'))


def test_a_killed_overwrite_is_not_taken_for_done(tmp_path, monkeypatch):
  prepare.prepare('simulated', tmp_path, **SMALL)
  unlink = pathlib.Path.unlink

  def killed(path, **kwargs):
    if path.name.startswith('train-00001') and path.suffix == '.array_record':
      raise KeyboardInterrupt
    unlink(path, **kwargs)

  with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
    patched.setattr(pathlib.Path, 'unlink', killed)
    prepare.prepare(
      'simulated', tmp_path, **SMALL | {'seed': 1}, overwrite=True
    )
  prepare.prepare('simulated', tmp_path, **SMALL)
  assert len(read(tmp_path, 'train')) == 9


@pytest.mark.parametrize(
  'dataset, module, extra',
  [
    ('samples', 'rasterio', 'terramesh'),
    ('samples', 'xarray', 'weather'),
    ('samples', 'eccodes', 'weather'),
    ('terramesh', 'zarr', 'terramesh'),
  ],
)
def test_a_missing_reader_names_the_extra(
  tmp_path, monkeypatch, dataset, module, extra
):
  monkeypatch.setitem(sys.modules, module, None)
  for name in ('geotiff', 'terramesh', 'gridded', 'xarray_fields', 'grib'):
    monkeypatch.delitem(
      sys.modules, f'fusion_jax.data.sources.{name}', raising=False
    )
    monkeypatch.delattr(sources, name, raising=False)
  with pytest.raises(ImportError, match=rf'fusion_jax\[{extra}\]'):
    prepare.prepare(
      dataset,
      tmp_path,
      source=str(DATA / 'terramesh'),
      weather_paths=GFS,
      num_workers=1,
    )


def test_overwriting_deletes_nothing_but_the_data_set(tmp_path):
  prepare.prepare('simulated', tmp_path, **SMALL)
  (tmp_path / 'mine.txt').write_text('keep')
  prepare.prepare('simulated', tmp_path, **SMALL | {'seed': 1}, overwrite=True)
  assert (tmp_path / 'mine.txt').read_text() == 'keep'


def test_folder_with_foreign_records_is_left_alone(tmp_path):
  (tmp_path / 'train-00000-of-00001.array_record').write_bytes(b'')
  with pytest.raises(ValueError, match='records of unknown origin'):
    prepare.prepare('simulated', tmp_path, **SMALL)


def test_interrupted_data_set_is_completed(tmp_path):
  prepare.prepare('simulated', tmp_path, **SMALL)
  (tmp_path / 'statistics.json').unlink()
  (tmp_path / 'train-00001-of-00005.array_record').unlink()
  prepare.prepare('simulated', tmp_path, **SMALL)
  assert (tmp_path / 'statistics.json').exists()
  assert len(read(tmp_path, 'train')) == 9


def test_command_line_writes_a_share(tmp_path):
  arguments = [
    'simulated',
    '--out',
    str(tmp_path),
    '--image_size',
    '16',
    '--num_train',
    '4',
    '--num_val',
    '1',
    '--num_test',
    '0',
    '--images',
    'DEM',
    '--num_workers',
    '1',
  ]
  prepare.main(arguments + ['--shard', '0/2'])
  assert not (tmp_path / 'statistics.json').exists()
  prepare.main(arguments + ['--shard', '1/2'])
  assert len(read(tmp_path, 'train')) == 4


def test_help_lists_every_argument(capsys):
  with pytest.raises(SystemExit):
    prepare.main(['--help'])
  text = capsys.readouterr().out
  actions = prepare._parser()._actions
  assert len(actions) > 20
  for action in actions:
    assert (
      action.help and action.option_strings[0] in text
      if (action.option_strings)
      else True
    )


@pytest.mark.parametrize('share', ['2/2', '-1/2', '1', 'a/b'])
def test_bad_share_is_refused(tmp_path, share, capsys):
  with pytest.raises(SystemExit):
    prepare.main(['simulated', '--out', str(tmp_path), f'--shard={share}'])
  assert 'is not I/N' in capsys.readouterr().err


def test_archive_needs_its_folder(tmp_path):
  with pytest.raises(ValueError, match="nowhere' is no folder; terra"):
    prepare.prepare('terramesh', tmp_path / 'out', source='nowhere')
  assert not (tmp_path / 'out').exists()


def test_unknown_data_set_is_refused(tmp_path):
  with pytest.raises(ValueError, match='no data set .landsat'):
    prepare.prepare('landsat', tmp_path)
