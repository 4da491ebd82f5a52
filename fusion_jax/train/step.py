"""One training step: gradients of k micro-batches, one update."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fusion_jax.train import optim, rng, schedules, sharding
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib
from fusion_jax.types import Array, Batch, Key, Metrics, Params

TrainStep = Callable[
  [state_lib.TrainState, Batch], tuple[state_lib.TrainState, Metrics]
]


class NonFiniteError(FloatingPointError):
  """The loss or the gradient is not finite; tells the step and modality."""


def make_train_step(
  task: task_lib.Objective,
  tx: optax.GradientTransformation,
  seed: int,
  *,
  schedule: schedules.Schedule | None = None,
  accumulate: int = 1,
  ema_decay: float = 0.0,
) -> TrainStep:
  """Binds what never changes; returns `(state, batch) -> state, metrics`.

  Args:
    task: what is trained.
    tx: optimizer.
    seed: seed of the run.
    schedule: function from the number of steps done to the learning rate, only
      to report it.
    accumulate: micro-batches of a step. The batch [B, ...] is weighed whole,
      then split, so losses, gradients and metrics add up to those of one batch.
    ema_decay: decay of the running mean of the parameters; used where the
      state keeps one.

  Returns:
    A function for `jax.jit`. Its metrics are {name: (sum, count)}, scalars:
    those of the task and 'loss', 'grad_norm' (before clipping), 'lr' and
    'skipped'.
  """

  def train_step(
    state: state_lib.TrainState, batch: Batch
  ) -> tuple[state_lib.TrainState, Metrics]:
    key = rng.key_for(seed, 'train', state.step)
    grads, loss, metrics, extra = gradients(
      task, state.params, state.extra, batch, key, accumulate
    )
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics |= {'loss': (loss, 1), 'grad_norm': (optax.tree.norm(grads), 1)}
    if schedule is not None:
      metrics['lr'] = (schedule(state.step), 1)
    if (skipped := optim.num_skipped(opt_state)) is not None:
      metrics['skipped'] = (skipped, 1)
    ema = (
      jax.tree.map(
        lambda mean, new: mean + (1 - ema_decay) * (new - mean),
        state.ema,
        params,
      )
      if state.ema
      else state.ema
    )
    return state.replace(
      step=state.step + 1,
      params=params,
      opt_state=opt_state,
      extra=extra,
      ema=ema,
    ), metrics

  return train_step


def gradients(
  task: task_lib.Objective,
  params: Params,
  extra: Params,
  batch: Batch,
  key: Key,
  accumulate: int = 1,
) -> tuple[Params, Array, dict[str, Any], Params]:
  """Computes gradients, loss and metrics of a batch.

  Args:
    task: what is trained.
    params: nested dict of float32 arrays of any shape.
    extra: nested dict of arrays that the task carries from step to step.
    batch: nested dict of arrays [B, ...].
    key: random key of the step.
    accumulate: number of micro-batches; it divides B.

  Returns:
    (grads, loss, metrics, extra): gradients with the shapes of `params`, a
    float32 scalar, {name: (sum, count)} of scalars, and what the task returned
    for the last micro-batch.
  """
  batch = task.weigh(batch)  # On the whole batch: counts are global.
  grad_fn = jax.value_and_grad(task.loss, has_aux=True)
  if accumulate == 1:
    (loss, (metrics, extra)), grads = grad_fn(params, extra, batch, key)
    return grads, loss, dict(metrics), extra

  def add_part(carry, part):
    sums, extra = carry
    index, micro_batch = part
    (loss, (metrics, extra)), grads = grad_fn(
      params, extra, micro_batch, jax.random.fold_in(key, index)
    )
    sums = jax.tree.map(jnp.add, sums, (grads, loss, dict(metrics)))
    return (sums, extra), None

  parts = (jnp.arange(accumulate), sharding.split_batch(batch, accumulate))
  first = jax.tree.map(lambda x: x[0], parts)
  shapes = jax.eval_shape(
    lambda part: _sums(grad_fn, params, extra, part[1], key), first
  )
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  ((grads, loss, metrics), extra), _ = jax.lax.scan(
    add_part, (zeros, extra), parts
  )
  return grads, loss, metrics, extra


def check_finite(step: int, metrics: Mapping[str, tuple[float, float]]) -> None:
  """Raises if the loss or the gradient norm is not finite.

  Args:
    step: number of steps done.
    metrics: {name: (sum, count)} on the host.

  Raises:
    NonFiniteError: tells the step and the modalities.
  """
  bad = {
    name: total
    for name, (total, _) in metrics.items()
    if not math.isfinite(total)
  }
  loss_is_bad = any(name.split('/')[0] == 'loss' for name in bad)
  norm_is_bad = 'grad_norm' in bad and 'skipped' not in metrics
  if not loss_is_bad and not norm_is_bad:
    return
  causes = (
    {
      name.removeprefix('loss/'): total
      for name, total in bad.items()
      if name not in ('loss', 'grad_norm')
    }
    if loss_is_bad
    else {}
  )
  causes_text = ', '.join(
    f'{name} = {total}' for name, total in causes.items()
  ) or (f'all modalities = {bad["loss"]}' if loss_is_bad else '')
  cause = (
    f'loss of {causes_text}'
    if causes_text
    else f'gradient norm {bad["grad_norm"]}'
  )
  raise NonFiniteError(
    f'Step {step}: {cause} is not finite. Nothing was saved since the last '
    'checkpoint. Look at the data of this step; a lower peak_lr, clip_norm '
    'or skip_norm in config.optimizer, or dtype float32, may help.'
  )


def _sums(grad_fn, params, extra, batch, key):
  (loss, (metrics, _)), grads = grad_fn(params, extra, batch, key)
  return grads, loss, dict(metrics)
