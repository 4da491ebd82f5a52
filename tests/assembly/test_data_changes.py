"""A run is told when its data are not those that it began with."""

import json
import pathlib
import shutil

import pytest

from fusion_jax import datasets
from fusion_jax.assembly import data_changes
from fusion_jax.data import mixture_folders
from tests import trained_series

RECIPE = datasets.Simulated(
  image_size=16, images=('LULC',), splits=dict(train=8), examples_per_shard=4
)


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
  data_changes.check(data, workdir, begun=False)
  return workdir


def refused(data, workdir, message):
  with pytest.raises(ValueError, match=f'{message}.* Name another --workdir'):
    data_changes.check(data, workdir, begun=True)


def test_the_same_data_elsewhere_are_no_change(data, workdir, tmp_path):
  data_changes.check(data, workdir, begun=True)
  moved = data.rename(tmp_path / 'moved')
  for path in moved.iterdir():
    path.touch()
  data_changes.check(moved, workdir, begun=True)


def test_added_codes_are_named(data, workdir, tmp_path):
  (tmp_path / 'tokenizer').mkdir()
  tokenizer = trained_series.write_workdir(tmp_path / 'tokenizer')
  step = datasets.Codes(data=str(data), tokenizers=(str(tokenizer),))
  assert datasets.write_codes(step)
  refused(data, workdir, 'began: codes of t2m_hourly were added')
  (workdir / data_changes.FILE).unlink()  # As the message says.
  data_changes.check(data, workdir, begun=True)
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


def test_a_new_run_and_a_damaged_note_begin_with_what_is_there(
  data, workdir, tmp_path
):
  other = prepare(tmp_path / 'other', images=('DEM',))
  data_changes.check(other, workdir, begun=False)
  refused(data, workdir, 'the fields')
  note = workdir / data_changes.FILE
  note.write_text(note.read_text().replace('DEM', 'DEN'))
  data_changes.check(data, workdir, begun=True)


def test_the_part_of_a_mixture_that_changed_is_named(data, tmp_path):
  other = prepare(tmp_path / 'other', seed=1)
  folder = tmp_path / 'mixture'
  mixture_folders.write({'one': (data, 1.0), 'two': (other, 1.0)}, folder)
  (tmp_path / 'run').mkdir()
  data_changes.check(folder, tmp_path / 'run', begun=False)
  first, second = sorted(other.glob('train*.array_record'))[:2]
  shutil.copyfile(second, first)
  refused(folder, tmp_path / 'run', 'two: 1 of 8 shards')
