"""A run is told when its data are not those that it began with."""

import json
import pathlib
import shutil

import pytest

from fusion_jax import datasets
from fusion_jax.assembly import data_changes
from fusion_jax.configs import pretrain, series_tokenizer
from fusion_jax.data import mixture_folders, remote
from tests import trained_series

RECIPE = datasets.Simulated(
  image_size=16, images=('LULC',), splits=dict(train=8), examples_per_shard=4
)
CODES = ('t2m_hourly',)


def prepare(path, **fields):
  recipe = datasets.Simulated(**{**vars(RECIPE), **fields})
  return datasets.prepare(recipe, path, datasets.BuildSettings(num_workers=1))


@pytest.fixture(name='original', scope='module')
def _original(tmp_path_factory):
  return prepare(tmp_path_factory.mktemp('data') / 'data')


@pytest.fixture(name='data')
def _data(original, tmp_path):
  return pathlib.Path(shutil.copytree(original, tmp_path / 'data'))


@pytest.fixture(name='workdir')
def _workdir(data, tmp_path):
  workdir = tmp_path / 'run'
  workdir.mkdir()
  data_changes.check(data, workdir, begun=False, codes=CODES)
  return workdir


def refused(data, workdir, message):
  with pytest.raises(ValueError, match=f'{message}.* Name another --workdir'):
    data_changes.check(data, workdir, begun=True, codes=CODES)


def test_the_same_data_elsewhere_are_no_change(data, workdir, tmp_path):
  data_changes.check(data, workdir, begun=True, codes=CODES)
  moved = data.rename(tmp_path / 'moved')
  for path in moved.iterdir():
    path.touch()
  data_changes.check(moved, workdir, begun=True, codes=CODES)


def test_added_codes_are_named(data, workdir, tmp_path):
  (tmp_path / 'tokenizer').mkdir()
  tokenizer = trained_series.write_workdir(tmp_path / 'tokenizer')
  step = datasets.Codes(data=str(data), tokenizers=(str(tokenizer),))
  assert datasets.write_codes(step)
  refused(data, workdir, 'began: codes of t2m_hourly were added')
  (workdir / data_changes.FILE).unlink()  # As the message says.
  data_changes.check(data, workdir, begun=True, codes=CODES)
  made_with = json.loads((data / 'codes.json').read_text())
  made_with['tokenizers']['t2m_hourly'] = 'x'
  (data / 'codes.json').write_text(json.dumps(made_with))
  refused(data, workdir, 'codes of t2m_hourly are of other tokenizers')
  (data / 'codes.json').unlink()
  refused(data, workdir, 'codes of t2m_hourly have gone')


def test_a_shard_of_the_same_size_is_not_the_same(data, workdir):
  first, second = sorted(data.glob('train*.array_record'))[:2]
  assert first.stat().st_size == second.stat().st_size
  shutil.copyfile(second, first)
  refused(
    data, workdir, f'1 of 8 shards are not the same, among .*{first.name}'
  )
  first.unlink()
  refused(
    data, workdir, f'1 of 8 shards are not the same, among .*{first.name}'
  )


def test_other_fields_are_named(workdir, tmp_path):
  other = prepare(tmp_path / 'other', images=('DEM',))
  refused(other, workdir, 'the fields DEM, LULC are not the same')


def check(data, workdir, **settings):
  data_changes.check(
    data, workdir, **{'begun': True, 'codes': CODES, **settings}
  )


def test_codes_that_the_run_does_not_read_are_no_change(
  data, workdir, tmp_path
):
  """A tokenizer's run, called again after its codes were written."""
  (tmp_path / 'tokenizer').mkdir()
  tokenizer = trained_series.write_workdir(tmp_path / 'tokenizer')
  datasets.write_codes(
    datasets.Codes(data=str(data), tokenizers=(str(tokenizer),))
  )
  check(data, workdir, codes=('tp_hourly', 'tok_dem@224'))
  check(data, workdir, codes=())
  first, second = sorted(data.glob('train*.array_record'))[:2]
  content = first.read_bytes()
  first.write_bytes(second.read_bytes() + b'0')
  with pytest.raises(ValueError, match='1 of 8 shards'):
    check(data, workdir, codes=())  # The shards with codes are known, too.
  first.write_bytes(content)
  check(data, workdir)


@pytest.mark.parametrize('first', ['url', 'copy'])
def test_a_url_and_its_local_copy_are_the_same_data(
  data, workdir, tmp_path, first
):
  url = tmp_path / 'url'
  shutil.copytree(data, url, ignore=shutil.ignore_patterns('*.array_record'))
  (url / remote.FILE).write_text('{}')
  folders = {'url': url, 'copy': data}
  check(folders.pop(first), workdir, begun=False)
  (other,) = folders.values()
  check(other, workdir)
  check(url, workdir)
  shard = sorted(data.glob('train*.array_record'))[0]
  shard.unlink()
  refused(
    data, workdir, f'1 of 8 shards are not the same, among .*{shard.name}'
  )


def test_the_codes_that_a_run_reads_are_those_of_its_configuration():
  names = ('S2L2A', 'tok_sen2l2a@224', 'coords', 't2m_hourly', 'tp_hourly')
  config = pretrain.get_config('data=simulated')
  config.modalities = dict.fromkeys(names, 1)
  config.series_codes = ('t2m_hourly',)
  assert data_changes.codes_read(config) == {'tok_sen2l2a@224', 't2m_hourly'}
  assert not data_changes.codes_read(series_tokenizer.get_config(''))


@pytest.mark.parametrize('damage', ['DEM', '"digest"', '"shards"'])
def test_a_new_run_and_a_damaged_note_begin_with_what_is_there(
  data, workdir, tmp_path, damage, caplog
):
  other = prepare(tmp_path / 'other', images=('DEM',))
  check(other, workdir, begun=False)
  refused(data, workdir, 'the fields')
  note = workdir / data_changes.FILE
  assert damage in note.read_text()
  note.write_text(
    note.read_text().replace(damage, f'{damage[:-2]}x{damage[-1]}')
  )
  check(data, workdir)
  assert 'data.json is damaged; it is written again' in caplog.text


def test_the_part_of_a_mixture_that_changed_is_named(data, tmp_path):
  other = prepare(tmp_path / 'other', seed=1)
  folder = tmp_path / 'mixture'
  mixture_folders.write({'one': (data, 1.0), 'two': (other, 1.0)}, folder)
  (tmp_path / 'run').mkdir()
  data_changes.check(folder, tmp_path / 'run', begun=False, codes=CODES)
  first, second = sorted(other.glob('train*.array_record'))[:2]
  shutil.copyfile(second, first)
  refused(folder, tmp_path / 'run', 'two: 1 of 8 shards')
