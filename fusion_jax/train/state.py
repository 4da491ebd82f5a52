"""The state of a run: all that a step reads and writes."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from fusion_jax.types import Array, Params


class TrainState(struct.PyTreeNode):
  """Everything a step reads and writes, and nothing else.

  Attributes:
    step: int32 scalar, the number of steps done so far.
    params: float32 parameters, a nested dict.
    opt_state: state of the optimizer, as optax makes it.
    extra: arrays that the task itself carries, such as a queue or frozen
      weights; {} if there are none.
    ema: running mean of the parameters, or {} where none is kept.
  """

  step: Array
  params: Params
  opt_state: Any
  extra: Params
  ema: Params

  @property
  def eval_params(self) -> Params:
    """Parameters to evaluate and release: the running mean where it is kept."""
    return self.ema or self.params


def create(
  params: Params,
  extra: Params,
  tx: optax.GradientTransformation,
  *,
  use_ema: bool = False,
) -> TrainState:
  """Makes the state before the first step.

  Args:
    params: nested dict of float arrays of any shape.
    extra: nested dict of the task's own arrays of any shape.
    tx: optimizer.
    use_ema: whether a running mean of the parameters is kept.
  """
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=tx.init(params),
    extra=extra,
    # A copy: one buffer cannot be donated twice.
    ema=jax.tree.map(jnp.copy, params) if use_ema else {},
  )


def merge(params: Params, replacements: Params) -> Params:
  """Replaces some leaves of nested parameters.

  Args:
    params: nested dict of arrays of any shape.
    replacements: nested dict with a part of the keys of `params`.

  Returns:
    A nested dict with the keys of `params`; a leaf comes from `replacements`
    where that has it.
  """
  assert set(replacements) <= set(params), sorted(
    set(replacements) - set(params)
  )
  merged = dict(params)
  for name, value in replacements.items():
    merged[name] = (
      merge(params[name], value) if hasattr(params[name], 'items') else value
    )
  return merged


def differences(saved: Any, model: Any) -> list[str]:
  """Lists the arrays of two trees that differ in path or shape.

  Args:
    saved: tree of a checkpoint, its leaves of any `shape`.
    model: tree of the model, its leaves of any `shape`.

  Returns:
    One line of text for each array; [] if the trees agree.
  """
  old, new = _leaf_shapes(saved), _leaf_shapes(model)
  return [
    f'{name}: saved {old.get(name, "nothing")}, '
    f'this model {new.get(name, "nothing")}'
    for name in sorted(old.keys() | new.keys())
    if old.get(name) != new.get(name)
  ]


def _leaf_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
