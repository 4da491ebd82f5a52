"""The state of a run: all that a step reads and writes."""

from typing import Any

import flax
import jax
import jax.numpy as jnp


class TrainState(flax.struct.PyTreeNode):
  """Everything a step reads and writes, and nothing else.

  Attributes:
    step: int32 scalar, steps done so far.
    params: float32 parameters, a nested dict.
    opt_state: of optax.
    extra: what the task itself carries: queue, frozen weights; `{}` if none.
    ema: running mean of the parameters, or `{}` where it is off.
  """

  step: jax.Array
  params: Any
  opt_state: Any
  extra: Any
  ema: Any

  @property
  def eval_params(self):
    """The parameters to evaluate and release: the running mean if kept."""
    return self.ema or self.params


def create(params, extra, tx, *, use_ema=False):
  """The state before the first step.

  Args:
    params: nested dict of float arrays.
    extra: the task's own arrays.
    tx: `optax.GradientTransformation`.
    use_ema: whether to keep a running mean of the parameters.
  """
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=tx.init(params),
    extra=extra,
    # A copy: one buffer cannot be donated twice.
    ema=jax.tree.map(jnp.copy, params) if use_ema else {},
  )


def merge(own, given):
  """`own`, a nested dict, with the leaves of `given` in place of its own."""
  if not hasattr(own, 'items'):
    return given
  assert set(given) <= set(own), sorted(set(given) - set(own))
  return {
    name: merge(child, given[name]) if name in given else child
    for name, child in own.items()
  }
