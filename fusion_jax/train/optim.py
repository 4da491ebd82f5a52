"""AdamW with the reference's decay rule, and its warm-up and cosine schedule.

Source: apple/ml-4m (commit cda590f), `fourm/utils/optim_factory.py` and
`fourm/utils/scheduler.py`.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fusion_jax.train import schedules
from fusion_jax.types import Array, Params

_NORM = re.compile(r'^norm|norm[_\d]*$', re.IGNORECASE)  # norm1, query_norm.


class Optimizer(NamedTuple):
  """An optimizer and the learning rate that it uses.

  Attributes:
    tx: gradient transformation.
    schedule: function from the number of steps done to the learning rate.
  """

  tx: optax.GradientTransformation
  schedule: schedules.Schedule


@dataclasses.dataclass(frozen=True)
class AdamW:
  """The section `optimizer` of a configuration.

  Attributes:
    peak_lr: learning rate at the end of the warm-up.
    min_lr: learning rate at the end of the cosine.
    warmup_steps: length of the warm-up in steps; 0 if `warmup_tokens` tells it.
    warmup_tokens: length of the warm-up in input and target tokens; 0 if
      `warmup_steps` tells it.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: number added to the root of the second moment.
    weight_decay: share of a parameter, times the learning rate, that a step
      subtracts.
    clip_norm: bound of the global norm of the gradient; 0 for none.
    skip_norm: a step whose gradient norm before clipping exceeds this bound,
      or is not finite, changes neither parameters nor moments; 0 for none.
    decay: which parameters decay: 'matrices' (see `decayed`) or 'all'.
    half_period_steps: steps from the peak to `min_lr`, after which the rate
      rises again, as in torch's cosine annealing, without a warm-up; 0 for a
      single cosine over the whole run.
    bounds: {path of a parameter: (lowest, highest)}, kept at every step.
  """

  peak_lr: float
  min_lr: float
  warmup_steps: int
  warmup_tokens: int
  b1: float
  b2: float
  eps: float
  weight_decay: float
  clip_norm: float
  skip_norm: float
  decay: str = 'matrices'
  half_period_steps: int = 0
  bounds: Mapping[str, tuple[float, float]] = dataclasses.field(
    default_factory=dict
  )

  def __post_init__(self) -> None:
    """Checks every field by itself, and those that exclude each other.

    Raises:
      ValueError: for a value that no run can have, an unknown `decay`, a
        warm-up that is given twice, or one beside `half_period_steps`.
    """
    for field in ('b1', 'b2'):
      if not 0 <= getattr(self, field) < 1:
        raise ValueError(
          f'config.optimizer.{field}={getattr(self, field)} is not in [0, 1); '
          'usual are 0.9 for b1 and 0.95 to 0.999 for b2.'
        )
    for field in (
      'peak_lr',
      'min_lr',
      'warmup_steps',
      'warmup_tokens',
      'eps',
      'weight_decay',
      'clip_norm',
      'skip_norm',
      'half_period_steps',
    ):
      if not 0 <= getattr(self, field) < float('inf'):
        raise ValueError(
          f'config.optimizer.{field}={getattr(self, field)}; set it to 0 or '
          'more.'
        )
    if self.decay not in ('matrices', 'all'):
      raise ValueError(
        f'config.optimizer.decay={self.decay!r} is neither '
        "'matrices' nor 'all'."
      )
    if self.warmup_steps and self.warmup_tokens:
      raise ValueError(
        f'config.optimizer.warmup_steps={self.warmup_steps} and '
        f'warmup_tokens={self.warmup_tokens} are both given; set one to 0.'
      )
    if self.half_period_steps and (self.warmup_steps or self.warmup_tokens):
      raise ValueError(
        'config.optimizer.half_period_steps has no warm-up; set '
        'warmup_steps and warmup_tokens to 0.'
      )


def make(
  config: Mapping[str, Any], num_steps: int, tokens_per_step: int = 0
) -> Optimizer:
  """Makes the optimizer of a run and its learning rate.

  Args:
    config: section `optimizer` of a configuration, the fields of `AdamW`.
    num_steps: length of the schedule in steps, warm-up included.
    tokens_per_step: input and target tokens of the global batch; needed for
      `warmup_tokens`.

  Raises:
    ValueError: for settings that `AdamW` refuses, or a warm-up that is longer
      than the run.
    TypeError: for a field that `AdamW` lacks, or one without a value.
  """
  settings = AdamW(**config)
  schedule = _schedule(settings, num_steps, tokens_per_step)
  adam = optax.chain(
    optax.clip_by_global_norm(settings.clip_norm)
    if settings.clip_norm
    else optax.identity(),
    optax.scale_by_adam(settings.b1, settings.b2, settings.eps),
    optax.add_decayed_weights(
      settings.weight_decay, decayed if settings.decay == 'matrices' else None
    ),
  )
  if settings.skip_norm:
    adam = skip_large(adam, settings.skip_norm)
  # Outside the skipping: a skipped step still advances the schedule.
  tx = optax.chain(adam, optax.scale_by_learning_rate(schedule))
  return Optimizer(bounded(tx, settings.bounds), schedule)


def bounded(
  tx: optax.GradientTransformation, bounds: Mapping[str, tuple[float, float]]
) -> optax.GradientTransformation:
  """Clamps some parameters right after each update of an optimizer.

  Args:
    tx: optimizer.
    bounds: {path of a parameter, joined by '/': (lowest, highest)}; with {},
      `tx` itself is returned.

  Returns:
    A transformation whose `init` raises ValueError if there is no such
    parameter.
  """
  if not bounds:
    return tx

  def init(params: optax.Params) -> optax.OptState:
    unknown = set(bounds) - {
      _path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)
    }
    if unknown:
      raise ValueError(
        f'config.optimizer.bounds names {sorted(unknown)}; the parameters '
        'have no such path.'
      )
    return tx.init(params)

  def update(
    updates: optax.Updates,
    state: optax.OptState,
    params: optax.Params | None = None,
  ) -> tuple[optax.Updates, optax.OptState]:
    updates, state = tx.update(updates, state, params)

    def clamp(path, change, value):
      if _path(path) not in bounds:
        return change
      return jnp.clip(value + change, *bounds[_path(path)]) - value

    return jax.tree_util.tree_map_with_path(clamp, updates, params), state

  return optax.GradientTransformation(init, update)


def decayed(params: Params) -> Any:
  """Tells which parameters decay: all but norms (scale and bias) and biases.

  Args:
    params: nested dict of arrays of any shape; norms are known by 'norm' at
      the start or end of a module's name.

  Returns:
    A nested dict of bools with the keys of `params`. Token and modality
    embeddings and the mask token do decay, as in the reference.
  """

  def decays(path, _):
    *modules, name = [str(getattr(key, 'key', key)) for key in path]
    return not (
      name in ('bias', 'scale', 'gamma')
      or any(_NORM.search(module) for module in modules)
    )

  return jax.tree_util.tree_map_with_path(decays, params)


class SkipState(NamedTuple):
  """State of `skip_large`.

  Attributes:
    skipped: int32 scalar, the number of updates that were skipped.
    inner: state of the wrapped optimizer.
  """

  skipped: Array
  inner: Any


def skip_large(
  tx: optax.GradientTransformation, max_norm: float
) -> optax.GradientTransformation:
  """Wraps an optimizer so that gradients with a large norm change nothing.

  The state of the optimizer then stays as it was, too. A norm that is not
  finite counts as large.

  Args:
    tx: optimizer.
    max_norm: largest global norm of a gradient that is used.
  """

  def init(params: optax.Params) -> SkipState:
    return SkipState(jnp.zeros((), jnp.int32), tx.init(params))

  def update(
    updates: optax.Updates, state: Any, params: optax.Params | None = None
  ) -> tuple[optax.Updates, SkipState]:
    keep = optax.tree.norm(updates) <= max_norm  # False for nan.
    updates, inner = tx.update(updates, state.inner, params)
    updates = jax.tree.map(lambda x: jnp.where(keep, x, 0), updates)
    inner = jax.tree.map(
      lambda new, old: jnp.where(keep, new, old), inner, state.inner
    )
    return updates, SkipState(state.skipped + ~keep, inner)

  return optax.GradientTransformation(init, update)


def num_skipped(opt_state: Any) -> Array | None:
  """Returns the number of updates skipped so far, an int32 scalar.

  Args:
    opt_state: state of an optimizer.

  Returns:
    None if the optimizer skips nothing.
  """
  counts = optax.tree_utils.tree_get_all_with_path(opt_state, 'skipped')
  return counts[0][1] if counts else None


def _schedule(
  settings: AdamW, num_steps: int, tokens_per_step: int
) -> schedules.Schedule:
  if settings.half_period_steps:
    return schedules.periodic(
      settings.peak_lr, settings.min_lr, settings.half_period_steps
    )
  warmup_steps = settings.warmup_steps
  if settings.warmup_tokens:
    if not tokens_per_step:
      raise ValueError(
        f'config.optimizer.warmup_tokens={settings.warmup_tokens} needs '
        'tokens_per_step; pass it to optim.make.'
      )
    warmup_steps = schedules.steps_for_tokens(
      settings.warmup_tokens, tokens_per_step
    )
  return schedules.cosine(
    settings.peak_lr, settings.min_lr, num_steps, warmup_steps
  )


def _path(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')
