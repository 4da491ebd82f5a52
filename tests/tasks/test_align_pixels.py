"""The alignment task: its queue on any mesh, resumed, in micro-batches."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fusion_jax
from fusion_jax import runs
from fusion_jax.configs import align_pixels as configs
from fusion_jax.ops import contrastive
from fusion_jax.tasks import align_pixels
from fusion_jax.train import sharding, step
from tests import pixel_data
from tests.tasks import pixels_runner
from tests.train import harness

KEY = jax.random.key(0)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  return pixel_data.write(tmp_path_factory.mktemp('pixels'))


def make(data, argument='augment=none', **loss):
  """A task without dropout, its first batch, parameters and queue."""
  config = pixels_runner.config(data, argument)
  config.model.update(dropout=0.0, depth=1)
  config.loss.update(loss)
  task = align_pixels.AlignPixels(config, data)
  batch = next(task.batches('train'))
  params, extra = jax.jit(task.init)(KEY, batch)
  return task, batch, params, extra


def loss_of(task, batch, params, extra, key=KEY):
  """(loss, (metrics, extra)) of a batch, without gradients."""
  return jax.jit(task.loss)(params, extra, task.weigh(batch), key)


def run(task, batch, params, extra, accumulate=1):
  """(loss, metrics, extra, grads) of one step."""
  grads, loss, metrics, extra = jax.jit(
    functools.partial(step.gradients, task, accumulate=accumulate)
  )(params, extra, batch, KEY)
  return loss, metrics, extra, grads


def keys_of(task, params, batch):
  result = jax.jit(task.pool_views)(params, batch)
  return result / np.linalg.norm(result, axis=1, keepdims=True)


def near(result, expected, limit=1e-5):
  np.testing.assert_allclose(result, expected, rtol=0, atol=limit)


def test_step_scores_against_the_queue_as_it_was_then_adds_its_keys(data):
  task, batch, params, extra = make(data)
  loss, (metrics, after) = loss_of(task, batch, params, extra)
  keys = keys_of(task, params, batch)
  queries = jax.jit(task.embed)(params, batch)
  queries /= np.linalg.norm(queries, axis=1, keepdims=True)
  logits = (
    np.concatenate(
      [
        np.sum(queries * keys, axis=1, keepdims=True),
        queries @ extra['queue'].keys.T,
      ],
      axis=1,
    )
    / 0.07
  )
  near(loss, np.mean(jax.nn.logsumexp(logits, axis=1) - logits[:, 0]), 1e-4)
  assert metrics['loss/alignment'][1] == 16
  near(metrics['scale'][0], 1 / 0.07)
  near(after['queue'].keys[:16], keys)
  np.testing.assert_array_equal(after['queue'].ids[:16], batch['id'])
  np.testing.assert_array_equal(
    after['queue'].keys[16:], extra['queue'].keys[16:]
  )


def test_micro_batches_enter_one_after_the_other(data):
  task, batch, params, extra = make(data)
  _, metrics, after, _ = run(task, batch, params, extra, accumulate=2)
  keys = keys_of(task, params, batch)
  near(after['queue'].keys[:16], np.concatenate([keys[::2], keys[1::2]]))
  assert metrics['loss/alignment'][1] == 16
  part = jax.tree.map(lambda x: x[1::2], batch)
  first = jax.tree.map(lambda x: x[::2], batch)
  one = loss_of(task, first, params, extra)
  two = loss_of(task, part, params, one[1][1])  # Sees the first's keys.
  near(metrics['loss/alignment'][0], (one[0] + two[0]) * 8, 1e-3)


def test_held_out_batches_do_not_enter_and_lose_nothing(data):
  task, _, params, extra = make(data, 'augment=tsdrop')
  *_, batch = task.batches('val')
  result = [
    loss_of(task, batch, params, extra, jax.random.key(i)) for i in range(2)
  ]
  assert result[0][0] == result[1][0]
  metrics, after = result[0][1]
  assert metrics['loss/alignment'][1] == batch['valid'].sum() == 2
  jax.tree.map(np.testing.assert_array_equal, after, extra)


def test_only_the_positive_moves_the_pooling(data):
  task, batch, params, extra = make(data)
  grads = run(task, batch, params, extra)[3]
  assert np.any(grads['pool']['kernel'])
  assert float(grads['log_scale']) != 0
  batch = batch | {
    'views': np.repeat(batch['views'][:, :1], 4, axis=1),
    'has_photo': np.ones((16, 4), bool),
  }
  grads = run(task, batch, params, extra)[3]  # Four times the same photo.
  near(grads['pool']['kernel'], 0)


def test_options_of_the_loss_run_and_differ(data):
  losses = []
  for change in (
    {},
    {'negatives': 'queue_and_batch'},
    {'symmetric': True},
    {'learn_temperature': False, 'temperature': 0.5},
    {'warm_up': 'skip'},
  ):
    task, batch, params, extra = make(data, **change)
    assert ('log_scale' in params) == ('temperature' not in change)
    losses.append(float(loss_of(task, batch, params, extra)[0]))
  assert len(set(losses)) == 5
  near(losses[-1], 0)  # Noise alone is no negative.


@pytest.mark.multi_device
@pytest.mark.parametrize('fsdp', [pytest.param(1, marks=pytest.mark.slow), 4])
def test_queue_and_loss_are_the_same_on_one_and_eight_devices(data, fsdp):
  task, batch, params, extra = make(data, 'augment=tsmsdrop')
  result = {}
  for devices in (1, 8):
    mesh = sharding.make_mesh(min(fsdp, devices), jax.devices()[:devices])
    shardings = sharding.state_shardings(
      (params, extra), mesh, min_size=128
    )  # Splits the queue, too.
    placed = jax.device_put((params, extra), shardings)
    with jax.set_mesh(mesh):
      grads, loss, _, after = jax.jit(functools.partial(step.gradients, task))(
        *placed, sharding.place(batch, mesh), KEY
      )
    result[devices] = jax.device_get((loss, grads, after))
    if devices == 8 and fsdp == 4:
      assert placed[1]['queue'].keys.sharding.spec == jax.P('fsdp')
  jax.tree.map(near, result[1], result[8])


@pytest.mark.multi_device
def test_a_long_queue_gives_the_same_loss_whole_and_in_parts(data):
  task, batch, params, extra = make(data, queue_size=2**16)
  mesh = sharding.make_mesh(8)
  whole = jax.device_put((params, extra), sharding.replicated(mesh))
  parts = jax.device_put(
    (params, extra), sharding.state_shardings((params, extra), mesh)
  )
  assert parts[1]['queue'].keys.sharding.spec == jax.P('fsdp')
  losses = []
  with jax.set_mesh(mesh):
    placed = sharding.place(jax.device_get(task.weigh(batch)), mesh)
    for state in (whole, parts):
      loss, (_, after) = jax.jit(task.loss)(*state, placed, KEY)
      losses.append((float(loss), np.asarray(after['queue'].keys)))
  near(losses[0][0], losses[1][0], 1e-6)
  near(losses[0][1], losses[1][1], 1e-6)


def test_a_small_model_is_whole_on_every_device(data, tmp_path, caplog):
  with caplog.at_level('WARNING'):
    state = runs.run(
      pixels_runner.config(data, num_steps=1, mesh=dict(fsdp=4)), tmp_path
    )
  assert 'mesh.fsdp=4 has no effect' in caplog.text
  assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state))


@pytest.mark.slow
def test_run_resumes_exactly_with_its_queue(data, tmp_path):
  halves, whole = tmp_path / 'halves', tmp_path / 'whole'
  config = pixels_runner.config(data, num_steps=4)
  runs.run(config, whole)
  with harness.start(
    pixels_runner.__file__,
    '--workdir',
    halves,
    '--data',
    data,
    '--num_steps',
    4,
    devices=8,
  ) as process:
    harness.signal_when(harness.steps_logged(halves, 2), process)
  harness.run(
    pixels_runner.__file__,
    '--workdir',
    halves,
    '--data',
    data,
    '--num_steps',
    4,
  )
  harness.assert_same_run(whole, halves)
  queue = harness.final_arrays(halves)['extra']['queue']
  assert int(queue['pointer']) == 0 and int(queue['filled']) == 32


@pytest.mark.slow
def test_run_learns_and_ends_with_a_model_and_figures(data, tmp_path):
  config = pixels_runner.config(
    data,
    'augment=none',
    num_steps=100,
    checkpoint=dict(every=100),
    evals=dict(every=100),
  )
  config.optimizer.peak_lr = 3e-3
  runs.run(config, tmp_path)
  numbers = json.loads((tmp_path / 'metrics.json').read_text())
  assert numbers['val/zero_shot/land_cover'] >= 0.6  # Of 10 places.
  assert 'Quarterly' in (tmp_path / 'report.md').read_text()
  model = fusion_jax.load(tmp_path, 'best')
  examples = [pixel_data.example('val', i) for i in range(3)]
  pixels, valid, views = (
    np.stack([x[name] for x in examples])
    for name in ('pixels', 'valid', 'views')
  )
  vectors = model.encode(pixels[..., 1:2, 1:2], valid)
  cosines = vectors @ model.pool_views(views).T
  assert (np.diag(cosines) > 0.5).all() and model.scale > 1
  with pytest.raises(ValueError, match='reflectance x 10,000'):
    model.encode(pixels[..., 1:2, 1:2] / 1e4)


def test_bad_choices_are_errors_at_the_start(data):
  def build(**loss):
    config = pixels_runner.config(data)
    config.loss.update(loss)
    return align_pixels.AlignPixels(config, data)

  with pytest.raises(
    ValueError,
    match='queue of 40 does not hold whole batches'
    ' of 16; set config.loss.queue_size to 32',
  ):
    build(queue_size=40)
  with pytest.raises(ValueError, match="loss.negatives='all' is not one of"):
    build(negatives='all')
  with pytest.raises(ValueError, match="augment.kind='some' is not one of"):
    align_pixels.AlignPixels(pixels_runner.config(data, 'augment=some'), data)


@pytest.mark.parametrize(
  'argument',
  [
    '',
    'smoke',
    'size=paper,data=sen4map,side=9',
    'augment=tsmixaug',
    'supervised=crops,setting=single',
  ],
)
def test_configurations_build(data, argument):
  config = configs.get_config(argument)
  with config.unlocked():
    config.data.dir = str(data)
  make_task, _ = runs.TASKS[config.task]
  task = make_task(config, data)
  batch = {'views': np.zeros((2, 4, 512), np.float32)}
  params, extra = jax.eval_shape(task.init, KEY, batch)
  if config.task == 'align_pixels':
    assert extra['queue'].keys.shape == (2048, 512)
    assert params['log_scale'].shape == ()
  assert task.tokens_per_step % config.batch_size == 0


def test_labels_to_judge_can_be_named():
  config = configs.get_config('data=sen4map,labels=eunis+crops,smoke')
  assert set(config.evals.prompts) == {'eunis', 'crops'}
  assert config.checkpoint.best == 'val/zero_shot/eunis'
  assert not config.data.prepare  # A smoke run prepares no archive anew.


def test_large_queue_has_the_right_shape():
  shapes = jax.eval_shape(lambda: contrastive.init_queue(KEY, 65_536, 512))
  result = jax.eval_shape(
    contrastive.enqueue,
    shapes,
    jnp.zeros((1024, 512)),
    jnp.zeros((1024,), jnp.int32),
  )
  assert result.keys.shape == (65_536, 512)
