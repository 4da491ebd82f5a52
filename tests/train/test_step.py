"""One step: micro-batches, running mean, metrics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fusion_jax.train import sharding, state, step
from tests.train import regression


def first_batch(batch_size=16):
  return next(regression.Regression(batch_size).batches('train'))


@functools.cache
def initial(noise=0.0):
  """A task, its first parameters and its first batch."""
  task, batch = regression.Regression(noise=noise), first_batch()
  params, extra = jax.jit(task.init)(jax.random.key(0), batch)
  return task, params, extra, batch


@functools.cache
def gradients(accumulate):
  task, params, extra, batch = initial()
  return jax.jit(step.gradients, static_argnums=(0, 5))(
    task, params, extra, batch, jax.random.key(1), accumulate
  )


@pytest.mark.parametrize('accumulate', [2, 16])
def test_micro_batches_add_up_to_the_batch(accumulate):
  grads, loss, metrics, _ = gradients(1)
  parts_grads, parts_loss, parts_metrics, extra = gradients(accumulate)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), grads, parts_grads
  )
  np.testing.assert_allclose(parts_loss, loss, rtol=1e-6)
  for name in ('loss/heat', 'loss/rain'):
    np.testing.assert_allclose(parts_metrics[name], metrics[name], rtol=1e-6)
  assert extra['seen'] == accumulate


@pytest.mark.multi_device
def test_micro_batches_on_a_mesh_are_those_of_one_device():
  task, params, extra, batch = initial()
  grads, loss, _, _ = gradients(2)
  mesh = sharding.make_mesh(2)
  with jax.set_mesh(mesh):
    mesh_grads, mesh_loss, _, _ = jax.jit(
      step.gradients, static_argnums=(0, 5)
    )(task, params, extra, sharding.place(batch, mesh), jax.random.key(1), 2)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), grads, mesh_grads
  )
  np.testing.assert_allclose(mesh_loss, loss, rtol=1e-6)


def test_micro_batches_draw_different_noise():
  task, params, extra, batch = initial(noise=0.5)
  batch = jax.tree.map(lambda x: np.repeat(x[:1], 16, axis=0), batch)
  _, _, metrics, _ = jax.jit(step.gradients, static_argnums=(0, 5))(
    task, params, extra, batch, jax.random.key(1), 2
  )
  one = jax.jit(task.loss)(
    params,
    extra,
    task.weigh(jax.tree.map(lambda x: x[:8], batch)),
    jax.random.fold_in(jax.random.key(1), 0),
  )[1][0]
  assert (
    abs(float(metrics['loss/heat'][0]) - 2 * float(one['loss/heat'][0])) > 1e-4
  )


def run_steps(tx, ema_decay, num_steps=3, schedule=None):
  task, params, extra, batch = initial()
  now = state.create(params, extra, tx, use_ema=bool(ema_decay))
  advance = jax.jit(
    step.make_train_step(task, tx, 0, schedule=schedule, ema_decay=ema_decay)
  )
  states, metrics = [now], []
  for _ in range(num_steps):
    now, values = advance(now, batch)
    states.append(now)
    metrics.append(values)
  return states, metrics


def test_running_mean_follows_the_parameters():
  states, _ = run_steps(optax.sgd(0.1), ema_decay=0.75)
  mean = states[0].params
  for now in states[1:]:
    mean = jax.tree.map(lambda m, p: 0.75 * m + 0.25 * p, mean, now.params)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    mean,
    states[-1].ema,
  )
  assert states[-1].eval_params is states[-1].ema


def test_no_running_mean_by_default():
  states, _ = run_steps(optax.sgd(0.1), ema_decay=0.0)
  assert states[-1].ema == {}
  assert states[-1].eval_params is states[-1].params


def test_metrics_hold_rate_norm_and_skips():
  tx, schedule = regression.optimizer(5, skip_norm=1e-3)
  states, metrics = run_steps(tx, 0.0, schedule=schedule)
  assert [float(m['lr'][0]) for m in metrics] == pytest.approx(
    [float(schedule(i)) for i in range(3)]
  )
  assert [int(m['skipped'][0]) for m in metrics] == [1, 2, 3]
  assert float(metrics[0]['grad_norm'][0]) > 1e-3
  jax.tree.map(
    np.testing.assert_array_equal, states[0].params, states[-1].params
  )
  assert states[-1].step == 3


def test_loss_falls():
  _, metrics = run_steps(optax.adam(1e-3), 0.0, num_steps=20)
  losses = jnp.stack([m['loss'][0] for m in metrics])
  assert losses[-1] < 0.5 * losses[0]
