"""Time steps of a year of images: medians over months, months of dates.

Medians are lower medians, like PyTorch's: of an even number of values the
smaller one of the two in the middle, never their mean.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy import typing as npt

from fusion_jax.types import Array

MONTHS = 12
# Number of time steps that a year of months becomes in each setting.
SETTINGS: dict[str, int] = {'monthly': 12, 'quarterly': 4, 'single': 1}
_LENGTHS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_STARTS = np.cumsum(_LENGTHS) - _LENGTHS


def lower_median(values: Array, valid: Array | None = None) -> jax.Array:
  """Returns the lower median of the valid values along axis 1.

  The median is the value whose rank, counted by comparing it with every
  other value, is the middle one. There is no sort, which is slow on a CPU
  along any but the last axis.

  Args:
    values: [B, T, ...] float or int, all finite.
    valid: bool [B, T] or [1, T], True for values that count. None counts
      all values.

  Returns:
    [B, ...] of the dtype of `values`; 0 where no value is valid. The gradient
    of a median goes to the value that was chosen.
  """
  batch, steps, *rest = values.shape
  valid = jnp.ones((1, steps), bool) if valid is None else valid
  wide = jnp.broadcast_to(
    valid.reshape(*valid.shape, *(1 for _ in rest)), values.shape
  )
  rank = sum(
    (
      (values[:, i : i + 1] < values)
      | ((values[:, i : i + 1] == values) & _earlier(i, steps, len(rest)))
    )
    & wide[:, i : i + 1]
    for i in range(steps)
  )
  middle = (jnp.sum(valid, axis=1, keepdims=True) - 1) // 2
  chosen = wide & (rank == middle.reshape(-1, 1, *(1 for _ in rest)))
  return jnp.sum(jnp.where(chosen, values, 0), axis=1)


def summarise(pixels: Array, valid: Array, setting: str) -> tuple[Array, Array]:
  """Reduces a year of monthly images to its months, its quarters or one step.

  Args:
    pixels: [B, 12, ...] float or int, all finite.
    valid: bool [B, 12], True for months that count.
    setting: 'monthly' (returns the arguments unchanged), 'quarterly' (lower
      medians of three months each) or 'single' (lower median of the year).

  Returns:
    The pixels [B, T, ...] and their validity, bool [B, T], with T = 12, 4 or
    1. Medians are taken over the valid months; a step is valid if at least one
    of its months is.

  Raises:
    ValueError: if `setting` is none of the three, or if there are not exactly
      12 time steps.
  """
  if setting not in SETTINGS:
    raise ValueError(f'setting={setting!r} is not one of {sorted(SETTINGS)}.')
  batch, steps, *rest = pixels.shape
  if steps != MONTHS:
    raise ValueError(f'pixels has {steps} time steps, not the 12 months.')
  if setting == 'monthly':
    return pixels, valid
  count = SETTINGS[setting]
  parts = pixels.reshape(batch * count, MONTHS // count, *rest)
  known = valid.reshape(batch * count, MONTHS // count)
  medians = lower_median(parts, known).reshape(batch, count, *rest)
  return medians, known.any(axis=1).reshape(batch, count)


def months_of_days(days: npt.ArrayLike) -> np.ndarray:
  """Returns the positions of days in the year, counted in months.

  The middle of January is 0 and the middle of December is 11. In between the
  position runs linearly within each month, so a monthly composite dated to
  the middle of its month gets exactly the number of that month.

  Args:
    days: [...] days of the year; 1 is January 1, fractions are times of day.

  Returns:
    [...] float32 in [-0.5, 11.5], which is what `PixelEncoder` takes as
    `months`.
  """
  days = np.asarray(days, np.float64) - 0.5
  month = np.clip(np.searchsorted(_STARTS, days, 'right') - 1, 0, 11)
  return (month + (days - _STARTS[month]) / _LENGTHS[month] - 0.5).astype(
    np.float32
  )


def shares_of_months(months: Array) -> jax.Array:
  """Returns how much each of the twelve months weighs at a time of the year.

  Args:
    months: [...] float, times in months; 0 is the middle of January, as
      `months_of_days` returns them. Any value is taken modulo 12.

  Returns:
    [..., 12] float32. Two neighbouring months (December and January are
    neighbours too) get weights linear in time; the weights of a time sum to 1.
  """
  months = jnp.asarray(months, jnp.float32) % MONTHS
  before = jnp.floor(months)
  share = (months - before)[..., None]
  before = before.astype(jnp.int32) % MONTHS
  return (1 - share) * jax.nn.one_hot(before, MONTHS) + share * jax.nn.one_hot(
    (before + 1) % MONTHS, MONTHS
  )


def _earlier(i: int, steps: int, num_axes: int) -> jax.Array:
  """Returns bool [1, T, 1, ...]: True for the time steps after step `i`."""
  return (jax.lax.iota(jnp.int32, steps) > i).reshape(
    1, steps, *(1 for _ in range(num_axes))
  )
