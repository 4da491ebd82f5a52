"""Augmentations of a year of pixels: months and bands that are left out.

Source: TimeSenCLIP, Sec. 3.2 and its code. Where they differ:
- 1 to 11 months are kept (the paper; older code: up to 12);
- the quarter that is left out starts at any of the first ten months, as in the
  code, without wrapping around;
- bands are dropped in 7 of 10 draws (the code; the paper: half), months, on
  their own, in half of them;
- dropped bands become 0. The code removes them, which its own first layer
  refuses.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fusion_jax.ops import calendar

# Names of the paper; 'msdrop', bands alone, is of its Tables 5 and 6.
KINDS = ('none', 'tsdrop', 'tsmixaug', 'tsmsdrop', 'msdrop')
_FIXED_BANDS = 3  # B2, B3 and B4 always stay.
_QUARTER = 3


class Drops(NamedTuple):
  """What is left; the first axis is 1 where a batch shares its draw.

  Attributes:
    months: bool [B or 1, 12], True where a month is kept.
    bands: bool [B or 1, C], True where a band is kept.
    median: bool [B or 1], True where all months become one token, the median.
  """

  months: Any
  bands: Any
  median: Any


def draw(key, kind, batch, *, num_bands=10, per_sample=False):
  """Draws what to leave out of a batch.

  Args:
    key: of the whole global batch, so that every device leaves out the same.
    kind: one of KINDS.
    batch: B.
    num_bands: C.
    per_sample: draw for every sample; else once for the batch, as the code.

  Returns:
    `Drops`.

  Raises:
    ValueError: if there is no such kind.
  """
  if kind not in KINDS:
    raise ValueError(f'augment={kind!r} is not one of {list(KINDS)}.')
  rows = batch if per_sample else 1
  key_months, key_bands = jax.random.split(key)
  months = jnp.ones((rows, calendar.MONTHS), bool)
  bands = jnp.ones((rows, num_bands), bool)
  median = jnp.zeros((rows,), bool)
  if kind in ('tsdrop', 'tsmsdrop'):
    months = _some_months(key_months, rows)
  if kind == 'tsmixaug':
    months, median = _mixed(key_months, rows)
  if kind in ('tsmsdrop', 'msdrop'):
    bands = _some_bands(key_bands, rows, num_bands)
  return Drops(months, bands, median)


def _some_months(key, rows):
  """In half of the rows 1 to 11 months, each number alike."""
  key_whether, key_subset = jax.random.split(key)
  drop = jax.random.uniform(key_whether, (rows, 1)) > 0.5
  return (
    _subset(key_subset, rows, calendar.MONTHS, 1, calendar.MONTHS - 1) | ~drop
  )


def _mixed(key, rows):
  """A quarter of the rows without three months in a row, a quarter medians."""
  key_which, key_start = jax.random.split(key)
  which = jax.random.uniform(key_which, (rows,))
  start = jax.random.randint(
    key_start, (rows, 1), 0, calendar.MONTHS - _QUARTER + 1
  )
  month = jax.lax.broadcasted_iota(jnp.int32, (rows, calendar.MONTHS), 1)
  gone = (month >= start) & (month < start + _QUARTER)
  return ~(gone & (which < 0.25)[:, None]), which >= 0.75


def _some_bands(key, rows, num_bands):
  """In 7 of 10 rows the first three and a random subset of the others."""
  key_whether, key_subset = jax.random.split(key)
  drop = jax.random.uniform(key_whether, (rows, 1)) > 0.3
  others = _subset(
    key_subset, rows, num_bands - _FIXED_BANDS, 0, num_bands - _FIXED_BANDS
  )
  fixed = jnp.ones((rows, _FIXED_BANDS), bool)
  return jnp.concatenate([fixed, others | ~drop], axis=1)


def _subset(key, rows, size, fewest, most):
  """Bool [rows, size]: random subsets, their sizes uniform in fewest..most."""
  key_number, key_order = jax.random.split(key)
  number = jax.random.randint(key_number, (rows, 1), fewest, most + 1)
  rank = jnp.argsort(
    jnp.argsort(jax.random.uniform(key_order, (rows, size)), axis=1), axis=1
  )
  return rank < number
