"""AdamW with the reference's decay rule, and its warm-up and cosine schedule.

Source: apple/ml-4m (commit cda590f), `fourm/utils/optim_factory.py` and
`fourm/utils/scheduler.py`.
"""

import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

# Fields of the section `optimizer` that a configuration may leave out.
_OPTIONS = {'decay': 'matrices', 'half_period_steps': 0, 'bounds': {}}
_NORM = re.compile(r'^norm|norm[_\d]*$', re.IGNORECASE)  # norm1, query_norm.


def make(config, num_steps, tokens_per_step=0):
  """The optimizer and its learning rate.

  Args:
    config: the section `optimizer` of a config, with the fields
      peak_lr: of the schedule, reached at the last warm-up step.
      min_lr: at the end of the cosine.
      warmup_steps, warmup_tokens: length of the warm-up, one of them 0.
      b1, b2, eps, weight_decay: of AdamW (0.9, 0.95, 1e-8, 0.05).
      clip_norm: bound of the global gradient norm; 0 is none.
      skip_norm: a step whose norm before clipping exceeds it, or is not
        finite, leaves parameters and moments alone; 0 is none.
      and, where it has them,
      decay: 'matrices' (see `decayed`) or 'all' parameters.
      half_period_steps: steps from the peak to `min_lr`, after which the rate
        rises again, as torch's cosine annealing; there is no warm-up then.
      bounds: {path of a parameter: (lowest, highest)}, kept at every step.
    num_steps: length of the schedule, warm-up included.
    tokens_per_step: input and target slots of the global batch; needed for
      `warmup_tokens`.

  Returns:
    (tx, schedule): an `optax.GradientTransformation`; step -> learning rate.

  Raises:
    ValueError: if the warm-up is given twice, or is longer than the run.
  """
  options = {
    name: config[name] if name in config else default
    for name, default in _OPTIONS.items()
  }
  if options['decay'] not in ('matrices', 'all'):
    raise ValueError(
      f'config.optimizer.decay={options["decay"]!r} is neither '
      "'matrices' nor 'all'."
    )
  warmup_steps = _warmup_steps(config, tokens_per_step)
  if options['half_period_steps']:
    if warmup_steps:
      raise ValueError(
        'config.optimizer.half_period_steps has no warm-up; set '
        'warmup_steps and warmup_tokens to 0.'
      )
    schedule = periodic_schedule(
      config.peak_lr, config.min_lr, options['half_period_steps']
    )
  else:
    schedule = cosine_schedule(
      config.peak_lr, config.min_lr, num_steps, warmup_steps
    )
  adam = optax.chain(
    optax.clip_by_global_norm(config.clip_norm)
    if config.clip_norm
    else optax.identity(),
    optax.scale_by_adam(config.b1, config.b2, config.eps),
    optax.add_decayed_weights(
      config.weight_decay, decayed if options['decay'] == 'matrices' else None
    ),
  )
  if config.skip_norm:
    adam = skip_large(adam, config.skip_norm)
  # Outside the skipping: a skipped step still advances the schedule.
  tx = optax.chain(adam, optax.scale_by_learning_rate(schedule))
  return bounded(tx, options['bounds']), schedule


def bounded(tx, bounds):
  """`tx` with some parameters clamped right after each of its updates.

  Args:
    tx: `optax.GradientTransformation`.
    bounds: {path, joined by '/': (lowest, highest)}; none changes nothing.

  Raises:
    ValueError: at the first use, if there is no such parameter.
  """
  if not bounds:
    return tx

  def init(params):
    unknown = set(bounds) - {
      _path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)
    }
    if unknown:
      raise ValueError(
        f'config.optimizer.bounds names {sorted(unknown)}; the parameters '
        'have no such path.'
      )
    return tx.init(params)

  def update(updates, state, params=None):
    updates, state = tx.update(updates, state, params)

    def clamp(path, change, value):
      if _path(path) not in bounds:
        return change
      return jnp.clip(value + change, *bounds[_path(path)]) - value

    return jax.tree_util.tree_map_with_path(clamp, updates, params), state

  return optax.GradientTransformation(init, update)


def periodic_schedule(peak_lr, min_lr, half_period):
  """Torch's cosine annealing: down to `min_lr`, up again, and so on.

  Differs from torch's use by the epoch: the rate changes at every step.
  """

  def schedule(step):
    angle = jnp.pi * jnp.asarray(step, jnp.float32) / half_period
    return min_lr + 0.5 * (peak_lr - min_lr) * (1 + jnp.cos(angle))

  return schedule


def cosine_schedule(peak_lr, min_lr, num_steps, warmup_steps):
  """Linear warm-up from 0 to the peak, both included, then half a cosine.

  Step 0 has rate 0; the peak is reached at the last warm-up step and used
  again at the next. Steps past the end keep the last rate.

  Raises:
    ValueError: if the warm-up is longer than the run.
  """
  if not 0 <= warmup_steps <= num_steps:
    raise ValueError(
      f'A warm-up of {warmup_steps} steps does not fit into a run of '
      f'{num_steps}; lower config.optimizer.warmup_steps (or '
      'warmup_tokens).'
    )
  length = max(1, num_steps - warmup_steps)

  def schedule(step):
    step = jnp.asarray(step, jnp.float32)
    warm = peak_lr * step / max(1, warmup_steps - 1)
    angle = jnp.pi * jnp.clip(step - warmup_steps, 0, length - 1) / length
    cosine = min_lr + 0.5 * (peak_lr - min_lr) * (1 + jnp.cos(angle))
    return jnp.where(step < warmup_steps, warm, cosine)

  return schedule


def decayed(params):
  """Which parameters decay: all but norms (scale and bias) and biases.

  Args:
    params: nested dict; norms are known by 'norm' at the start or end of a
      module's name.

  Returns:
    The same tree of bools. Token and modality embeddings and the mask token
    do decay, as in the reference.
  """

  def one(path, _):
    *modules, name = [str(getattr(key, 'key', key)) for key in path]
    return not (
      name in ('bias', 'scale', 'gamma')
      or any(_NORM.search(module) for module in modules)
    )

  return jax.tree_util.tree_map_with_path(one, params)


class SkipState(NamedTuple):
  """How many updates were skipped, and the state of what was wrapped."""

  skipped: Any
  inner: Any


def skip_large(tx, max_norm):
  """Wraps `tx`: no update where the norm of its input exceeds `max_norm`.

  Its state then stays as it was, too. A norm that is not finite counts as
  large.
  """

  def init(params):
    return SkipState(jnp.zeros((), jnp.int32), tx.init(params))

  def update(updates, state, params=None):
    keep = optax.tree.norm(updates) <= max_norm  # False for nan.
    updates, inner = tx.update(updates, state.inner, params)
    updates = jax.tree.map(lambda x: jnp.where(keep, x, 0), updates)
    inner = jax.tree.map(
      lambda new, old: jnp.where(keep, new, old), inner, state.inner
    )
    return updates, SkipState(state.skipped + ~keep, inner)

  return optax.GradientTransformation(init, update)


def num_skipped(opt_state):
  """Updates skipped so far, int32 scalar; None if none can be."""
  found = optax.tree_utils.tree_get_all_with_path(opt_state, 'skipped')
  return found[0][1] if found else None


def steps_for_tokens(tokens, tokens_per_step):
  """Steps that see at least `tokens` input and target slots.

  Args:
    tokens: of the whole run, or of the warm-up.
    tokens_per_step: (input + target slots) x examples of the global batch.
  """
  return math.ceil(tokens / tokens_per_step)


def steps_for_epochs(total_tokens, tokens_per_example, epoch_size, batch_size):
  """Steps of a run that is counted in whole epochs, as 4M counts.

  Args:
    total_tokens: input and target slots to see.
    tokens_per_example: input and target slots of one example.
    epoch_size: examples of an epoch; its incomplete last batch is dropped.
    batch_size: examples of one step, over all devices.
  """
  epochs = math.ceil(total_tokens / (tokens_per_example * epoch_size))
  return epochs * (epoch_size // batch_size)


def _warmup_steps(config, tokens_per_step):
  if not config.warmup_tokens:
    return config.warmup_steps
  if config.warmup_steps:
    raise ValueError(
      f'config.optimizer.warmup_steps={config.warmup_steps} and '
      f'warmup_tokens={config.warmup_tokens} are both given; set one to 0.'
    )
  if not tokens_per_step:
    raise ValueError(
      f'config.optimizer.warmup_tokens={config.warmup_tokens} needs '
      'tokens_per_step; pass it to optim.make.'
    )
  return steps_for_tokens(config.warmup_tokens, tokens_per_step)


def _path(path):
  return jax.tree_util.keystr(path, simple=True, separator='/')
