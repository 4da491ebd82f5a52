"""The pretraining task on one device, on many, in parts, killed and resumed."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from fusion_jax import runs
from fusion_jax.evals import pretraining
from fusion_jax.models import backbone
from fusion_jax.tasks import pretrain
from fusion_jax.train import loop, optim, sharding, step
from tests.tasks import runner
from tests.train import harness

SCRIPT = pathlib.Path(runner.__file__)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return runner.prepare_data(tmp_path_factory.mktemp('earth'))


@pytest.fixture(scope='module')
def task(data_dir):
  return pretrain.Pretrain(runner.config(data_dir), data_dir)


@pytest.fixture(scope='module')
def batch(task):
  return next(task.batches('train'))


@pytest.fixture(scope='module')
def params(task, batch):
  return jax.jit(task.init)(jax.random.key(0), batch)[0]


def test_the_first_loss_is_that_of_guessing(task, params, batch):
  _, (metrics, _) = jax.jit(task.loss)(
    params, {}, task.weigh(batch), jax.random.key(0)
  )
  total, count = metrics['loss/t2m_hourly']
  assert count == (batch['decoder']['modality'] == 1).sum() > 100
  assert float(total / count) == pytest.approx(np.log(706), abs=0.3)


def test_the_loss_is_the_mean_over_modalities_of_their_means(
  task, params, batch
):
  loss, (metrics, _) = jax.jit(task.loss)(
    params, {}, task.weigh(batch), jax.random.key(0)
  )
  mean = {
    name: float(total / max(count, 1))
    for name, (total, count) in metrics.items()
  }
  expected = (
    mean['loss/coords'] + mean['loss/t2m_hourly'] + 60 * mean['emd/t2m_hourly']
  ) / 2
  assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'batch_size': 12}, r'evals.batch_size=12 does not divide.*try 8'),
    ({'generate': ('tp_hourly',)}, r"names \['tp_hourly'\].*'t2m_hourly'"),
    ({'generate': ('t2m_hurly',)}, 'no input modality .t2m_hurly'),
  ],
)
def test_an_evaluation_that_cannot_be_run_raises_before_training(
  task, data_dir, tmp_path, changes, message
):
  config = runner.config(data_dir)
  config.evals.update(dict(generate=('t2m_hourly',)) | changes)
  with pytest.raises(ValueError, match=message):
    pretraining.Pretraining(task, config, tmp_path, place=jax.device_put)


def test_micro_batches_add_up_to_one_batch(task, params, batch):
  whole, parts = (
    jax.jit(
      lambda p, k=k: step.gradients(task, p, {}, batch, jax.random.key(0), k)[
        :2
      ]
    )(params)
    for k in (1, 4)
  )
  np.testing.assert_allclose(whole[1], parts[1], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole[0], parts[0]
  )


def test_null_targets_are_read_but_never_learned(task, params, batch):
  slots = dict(batch['decoder'])
  slots['trainable'] = np.zeros_like(slots['trainable'])
  loss, _ = jax.jit(task.loss)(
    params, {}, task.weigh(batch | {'decoder': slots}), jax.random.key(0)
  )
  assert float(loss) == 0


def test_every_example_of_a_split_is_evaluated_once(task):
  valid = np.concatenate([x['valid'] for x in task.batches('val')])
  assert valid.sum() == 10


@pytest.mark.parametrize(
  'change, message',
  [
    ({'loss': {'weighting': 'mean'}}, "'mod', 'token'"),
    ({'standardise': 'none'}, "'terramind'"),
    ({'quantizer': 'equal'}, 'quantile'),
    ({'coords_vocab_size': 100}, '2366 words'),
  ],
)
def test_a_setting_that_does_not_exist_raises(data_dir, change, message):
  with pytest.raises(ValueError, match=message):
    pretrain.Pretrain(runner.config(data_dir, **change), data_dir)


def test_a_misspelt_modality_lists_the_choices(data_dir):
  config = runner.config(data_dir)
  with config.unlocked():
    config.modalities['t2m_hurly'] = config.modalities['t2m_hourly']
  with pytest.raises(ValueError, match='t2m_hourly'):
    pretrain.Pretrain(config, data_dir)


def test_a_head_without_targets_still_divides(task, params, batch):
  """As in the reference: a modality that is absent counts as a loss of 0."""
  slots = dict(batch['decoder'])
  slots['trainable'] = slots['trainable'] & (slots['modality'] == 1)
  loss, (metrics, _) = jax.jit(task.loss)(
    params, {}, task.weigh(batch | {'decoder': slots}), jax.random.key(0)
  )
  mean = {
    name: float(total / max(count, 1))
    for name, (total, count) in metrics.items()
  }
  assert float(loss) == pytest.approx(
    (mean['loss/t2m_hourly'] + 60 * mean['emd/t2m_hourly']) / 2, rel=1e-5
  )


def train(data_dir, workdir, devices, fsdp, **changes):
  """Losses, step by step, of a run on some of the devices."""
  config = runner.config(data_dir, **changes)
  task = pretrain.Pretrain(config, data_dir)
  _, history = loop.train(
    task,
    optim.make(config.optimizer, config.num_steps),
    loop.Settings(
      num_steps=4, batch_size=16, seed=0, log_every=1, checkpoint_every=0
    ),
    workdir=workdir,
    mesh=sharding.make_mesh(fsdp, jax.devices()[:devices]),
  )
  return [record['train/loss'] for record in history]


@pytest.mark.slow
@pytest.mark.multi_device
def test_any_mesh_gives_the_same_losses(data_dir, tmp_path):
  one = train(data_dir, tmp_path / 'one', 1, 1)
  assert len(set(one)) == 4
  for name, fsdp in (('data8', 1), ('data2_fsdp4', 4)):
    result = train(data_dir, tmp_path / name, 8, fsdp)
    np.testing.assert_allclose(result, one, atol=1e-5, err_msg=name)


def test_a_run_keeps_the_statistics_that_it_began_with(
  data_dir, task, tmp_path
):
  config, workdir = runner.config(data_dir), tmp_path / 'run'
  workdir.mkdir()
  runs.keep_for_use(task, config, pathlib.Path(data_dir), workdir)
  (workdir / 'checkpoints' / '2').mkdir(parents=True)
  changed = runner.config(data_dir, seed=config.seed + 1)
  runs.keep_for_use(task, changed, pathlib.Path(data_dir), workdir)
  assert json.loads((workdir / 'config.json').read_text())['seed'] == (
    config.seed
  )  # Until the checkpoint is found to fit.
  kept = json.loads((workdir / 'statistics.json').read_text())
  other = json.loads(json.dumps(kept))
  other['series']['t2m_hourly']['uniform']['edges'][3] += 1
  (tmp_path / 'statistics.json').write_text(json.dumps(other))
  with pytest.raises(ValueError, match='began with other data'):
    runs.keep_for_use(task, config, tmp_path, workdir)
  assert json.loads((workdir / 'statistics.json').read_text()) == kept


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(data_dir, tmp_path):
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  arguments = ('--data', data_dir, '--num_steps', 6)
  harness.run(SCRIPT, '--workdir', whole, *arguments, devices=1)
  for condition in (harness.steps_logged(killed, 3), harness.saving(killed, 4)):
    with harness.start(
      SCRIPT, '--workdir', killed, *arguments, devices=1
    ) as process:
      harness.signal_when(condition, process)
  harness.run(SCRIPT, '--workdir', killed, *arguments, devices=1)
  harness.assert_same_run(whole, killed)


@pytest.mark.slow
@pytest.mark.multi_device
def test_two_processes_train_as_one(data_dir, tmp_path):
  one, two = tmp_path / 'one', tmp_path / 'two'
  harness.run(SCRIPT, '--workdir', one, '--data', data_dir, devices=8)
  harness.run_processes(
    SCRIPT,
    '--workdir',
    two,
    '--data',
    data_dir,
    '--fsdp',
    4,
    num_processes=2,
    devices=4,
  )
  losses = [
    [record['train/loss'] for record in harness.losses(x).values()]
    for x in (one, two)
  ]
  assert len(losses[0]) == 6
  np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)


def test_the_model_has_no_settings_of_its_own(task):
  """The constructor is the schema: what the config holds is what it takes."""
  fields = {field.name for field in dataclasses.fields(backbone.Backbone)}
  config = runner.config('')
  assert set(config.model) <= fields
