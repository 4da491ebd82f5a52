"""Learning rates over the steps of a run, and the lengths of runs.

Source: apple/ml-4m (commit cda590f), `fourm/utils/scheduler.py`.
"""

import math

import jax.numpy as jnp
import optax

# Function from the number of steps done to the learning rate, a scalar.
Schedule = optax.Schedule


def periodic(peak_lr: float, min_lr: float, half_period: int) -> Schedule:
  """Returns torch's cosine annealing: down to `min_lr`, up again, and so on.

  Differs from torch's use by the epoch: the rate changes at every step.

  Args:
    peak_lr: learning rate of step 0 and after every full period.
    min_lr: learning rate after half a period.
    half_period: steps from the peak to `min_lr`.
  """

  def schedule(step):
    angle = jnp.pi * jnp.asarray(step, jnp.float32) / half_period
    return min_lr + 0.5 * (peak_lr - min_lr) * (1 + jnp.cos(angle))

  return schedule


def cosine(
  peak_lr: float, min_lr: float, num_steps: int, warmup_steps: int
) -> Schedule:
  """Returns a linear warm-up from 0 to the peak, then half a cosine.

  Step 0 has rate 0; the peak is reached at the last warm-up step and used
  again at the next. Steps past the end keep the last rate.

  Args:
    peak_lr: learning rate at the end of the warm-up.
    min_lr: learning rate that the cosine approaches.
    num_steps: length of the run in steps, warm-up included.
    warmup_steps: length of the warm-up in steps.

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


def steps_for_tokens(tokens: float, tokens_per_step: int) -> int:
  """Returns the steps that see at least `tokens` input and target tokens.

  Args:
    tokens: tokens of the whole run, or of the warm-up.
    tokens_per_step: (input + target tokens) x examples of the global batch.
  """
  return math.ceil(tokens / tokens_per_step)


def steps_for_epochs(
  total_tokens: float, tokens_per_example: int, epoch_size: int, batch_size: int
) -> int:
  """Returns the steps of a run that is counted in whole epochs, as 4M counts.

  Args:
    total_tokens: input and target tokens to see.
    tokens_per_example: input and target tokens of one example.
    epoch_size: examples of an epoch; its incomplete last batch is dropped.
    batch_size: examples of one step, over all devices.
  """
  epochs = math.ceil(total_tokens / (tokens_per_example * epoch_size))
  return epochs * (epoch_size // batch_size)
