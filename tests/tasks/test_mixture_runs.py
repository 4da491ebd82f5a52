"""Pretraining on a mixture: its numbers, and runs on 1, 2 and 3 processes."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from fusion_jax import runs
from fusion_jax.assembly import data_folder
from fusion_jax.evals import validation
from fusion_jax.tasks import image_tokenizer, pretrain
from fusion_jax.train import checkpoint
from tests.data import object_servers
from tests.tasks import mixture_runner
from tests.train import harness

SCRIPT = pathlib.Path(mixture_runner.__file__)


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
  return mixture_runner.prepare_parts(tmp_path_factory.mktemp('earths'))


@pytest.fixture(scope='module')
def task(parts, tmp_path_factory):
  config = mixture_runner.config(parts, 2)
  folder = data_folder.open_parts(config.data, tmp_path_factory.mktemp('run'))
  return pretrain.Pretrain(config, folder)


def test_validation_is_of_all_parts_and_of_each(task):
  batches = task.validation()
  assert list(batches) == ['earth0', 'earth1']
  shapes = next(iter(batches['earth0']()))
  params = jax.jit(task.init)(jax.random.key(0), shapes)[0]
  state = type('State', (), {'eval_params': params, 'extra': {}})
  scores = validation.Validation(task, batches)(state, 0)
  one, other = (
    validation.Validation(task, batches[name])(state, 0) for name in batches
  )
  assert {f'val/earth0/{n.removeprefix("val/")}' for n in one} < set(scores)
  name = 'loss/t2m_hourly'
  both = scores[f'val/{name}']
  assert scores[f'val/earth0/{name}'] == one[f'val/{name}']
  assert scores[f'val/earth1/{name}'] == other[f'val/{name}']
  assert min(one[f'val/{name}'], other[f'val/{name}']) <= both
  assert both <= max(one[f'val/{name}'], other[f'val/{name}'])
  assert scores['val/loss'] == pytest.approx(
    np.mean([scores[f'val/loss/{n}'] for n in ('coords', 't2m_hourly')])
  )


def test_the_model_has_the_statistics_of_the_mixture(task, parts):
  means = [
    json.loads((part / 'statistics.json').read_text())['images']['S2L2A'][
      'mean'
    ]
    for part in parts
  ]
  np.testing.assert_allclose(
    task.assembly.standards['untok_sen2l2a@224'][0],
    0.75 * np.array(means[0]) + 0.25 * np.array(means[1]),
    rtol=1e-6,
  )


def test_an_image_tokenizer_sees_its_parts_by_their_weights(parts, tmp_path):
  from fusion_jax.configs import image_tokenizer as card

  config = card.get_config('data=terramesh_parts')
  with config.unlocked():
    config.data.parts = mixture_runner.config(parts, 2).data.parts
    config.update(image_size=32, batch_size=8)
  folder = data_folder.open_parts(config.data, tmp_path)
  task = image_tokenizer.ImageTokenizer(config, folder)
  assert next(task.batches('train'))['image'].shape == (8, 32, 32, 12)
  tiles, _ = task.tiles('val')
  assert len(tiles.scenes) == 8
  config.data.holdout = 'east'
  with pytest.raises(ValueError, match="data.holdout='east' is not one of"):
    image_tokenizer.ImageTokenizer(config, folder)


def test_a_task_of_one_data_set_refuses_parts(parts, tmp_path):
  from fusion_jax.configs import series_tokenizer as card

  config = card.get_config()
  with config.unlocked():
    config.data.parts = mixture_runner.config(parts, 2).data.parts
  with pytest.raises(
    ValueError, match=r"parts=\['earth0', 'earth1'\]: the task 'series_tok.*dir"
  ):
    runs.run(config, tmp_path)


def test_a_work_directory_behind_a_url_is_refused(parts):
  with pytest.raises(
    ValueError, match='^--workdir=gs://a/b is a URL.*config.checkpoint.mirror'
  ):
    runs.run(mixture_runner.config(parts, 2), 'gs://a/b')


@pytest.mark.slow
def test_a_run_from_urls_that_lost_its_machine_goes_on(
  parts, tmp_path, monkeypatch
):
  """A part behind a URL, and checkpoints in a bucket."""

  def config(num_steps):
    made = mixture_runner.config(parts, num_steps)
    made.batch_size = 8
    made.optimizer.min_lr = made.optimizer.peak_lr  # The same at any length.
    return made

  runs.run(config(4), tmp_path / 'whole')
  with (
    object_servers.web(parts[0]) as server,
    object_servers.s3(monkeypatch) as bucket,
  ):
    for name, num_steps in (('lost', 2), ('found', 4)):
      remote = config(num_steps)
      remote.data.parts.earth0.dir = server.url
      cache = str(tmp_path / f'cache of {name}')
      remote.data.remote.update(cache=cache, cache_gb=0.1)
      remote.checkpoint.mirror = f'{bucket}/run'
      runs.run(remote, tmp_path / name)
      shutil.rmtree(tmp_path / 'lost', ignore_errors=True)
  assert list(harness.losses(tmp_path / 'found')) == [1, 2, 3, 4]
  harness.assert_same_run(tmp_path / 'whole', tmp_path / 'found')


@pytest.mark.slow
@pytest.mark.multi_device
def test_a_mixture_stopped_on_2_processes_goes_on_on_1_and_3(parts, tmp_path):
  """Same examples, same losses as the run that was not stopped."""

  def run(name, processes, *args):
    command = ('--workdir', tmp_path / name, '--parts', *parts, *args)
    if processes == 1:
      return [harness.run(SCRIPT, *command, devices=6)]
    return harness.run_processes(
      SCRIPT, *command, num_processes=processes, devices=6 // processes
    )

  run('whole', 1)
  run('one', 2, '--stop_at', 4)
  stopped = checkpoint.list_steps(tmp_path / 'one')[-1]
  assert 2 <= stopped < 8
  shutil.copytree(tmp_path / 'one', tmp_path / 'three')
  run('one', 1)
  run('three', 3)
  order = mixture_runner.seen(tmp_path / 'whole', 1)
  for name, processes in (('one', 1), ('three', 3)):
    before, after = (
      mixture_runner.seen(tmp_path / name, n) for n in (2, processes)
    )
    for step in range(1, 9):
      examples = before if step <= stopped else after
      assert examples[step] == order[step], (name, step)
  whole = harness.losses(tmp_path / 'whole')
  assert len({record['train/data/ids'] for record in whole.values()}) == 8
  for name in ('one', 'three'):
    resumed = harness.losses(tmp_path / name)
    assert list(resumed) == list(whole) == list(range(1, 9))
    for step, record in whole.items():
      assert resumed[step]['train/data/ids'] == record['train/data/ids']
      for metric, value in record.items():
        assert resumed[step][metric] == pytest.approx(value, abs=1e-6, rel=2e-6)
  positions = harness.final_data_state(tmp_path / 'three')
  assert len(positions) == 3 and len(set(positions.values())) == 1
