"""Time steps of a year of images: medians over months, months of dates.

Medians are lower medians, as torch's: of an even number of values the smaller
of the two in the middle, never their mean.
"""

import jax
import jax.numpy as jnp
import numpy as np

MONTHS = 12
SETTINGS = {'monthly': 12, 'quarterly': 4, 'single': 1}  # Steps of a year.
_LENGTHS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_STARTS = np.cumsum(_LENGTHS) - _LENGTHS


def lower_median(values, valid=None):
  """The lower median over axis 1.

  Found by counting for every value those below it: no sort, which is slow on
  CPU along any but the last axis.

  Args:
    values: [B, T, ...], finite.
    valid: bool [B or 1, T]; only these count. None: all.

  Returns:
    [B, ...]; 0 where nothing is valid. Its gradient goes to the value chosen.
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


def summarise(pixels, valid, setting):
  """A year of months as the months, the quarters or one step.

  Args:
    pixels: [B, 12, ...], finite.
    valid: bool [B, 12].
    setting: 'monthly', 'quarterly' (lower medians of three months) or
      'single' (of the year).

  Returns:
    [B, T, ...] and bool [B, T], T = 12, 4 or 1. A step is valid if any of its
    months is; medians are over the valid ones.

  Raises:
    ValueError: if the setting is none of the three, or there are not 12 steps.
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


def months_of_days(days):
  """Months, as fractions, of days of the year.

  The middle of January is 0, that of December 11, and in between it runs
  linearly within each month, so a monthly composite at the middle of its month
  gets that month exactly.

  Args:
    days: day of the year [...], 1 = January 1; fractions are times of day.

  Returns:
    float32 [...] in [-0.5, 11.5]: what `PixelEncoder` takes as `months`.
  """
  days = np.asarray(days, np.float64) - 0.5
  month = np.clip(np.searchsorted(_STARTS, days, 'right') - 1, 0, 11)
  return (month + (days - _STARTS[month]) / _LENGTHS[month] - 0.5).astype(
    np.float32
  )


def shares_of_months(months):
  """How much of the twelve months lies at fractions of months.

  Args:
    months: [...], 0 = middle of January, see `months_of_days`.

  Returns:
    float32 [..., 12]: linear between the two months around, from December to
    January too; together 1.
  """
  months = jnp.asarray(months, jnp.float32) % MONTHS
  before = jnp.floor(months)
  share = (months - before)[..., None]
  before = before.astype(jnp.int32) % MONTHS
  return (1 - share) * jax.nn.one_hot(before, MONTHS) + share * jax.nn.one_hot(
    (before + 1) % MONTHS, MONTHS
  )


def _earlier(i, steps, num_axes):
  """Bool [1, T, 1, ...]: which steps come after step `i`."""
  return (jax.lax.iota(jnp.int32, steps) > i).reshape(
    1, steps, *(1 for _ in range(num_axes))
  )
