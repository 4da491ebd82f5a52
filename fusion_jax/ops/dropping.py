"""Augmentations of a year of pixels: months and bands that are left out.

Source: TimeSenCLIP, Sec. 3.2, and its code. Where the two differ:
- 1 to 11 months are kept, as in the paper (older code: up to 12);
- the quarter that is left out starts at any of the first ten months and never
  wraps around the end of the year, as in the code;
- bands are dropped in 7 of 10 draws, as in the code (the paper says half);
  months are dropped in half of the draws, independently of the bands;
- dropped bands become 0. The code removes them, which its own first layer
  does not accept.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fusion_jax.ops import calendar
from fusion_jax.types import Array, Key

# Names of the paper. 'msdrop', which drops bands alone, is in its Tables 5, 6.
KINDS = ('none', 'tsdrop', 'tsmixaug', 'tsmsdrop', 'msdrop')
_FIXED_BANDS = 3  # B2, B3 and B4 are never dropped.
_QUARTER = 3  # Months.


class Drops(NamedTuple):
  """Which months and bands of a batch are kept.

  The first axis is 1 where all examples of the batch share one draw.

  Attributes:
    months: bool [B or 1, 12], True where a month is kept.
    bands: bool [B or 1, C], True where a band is kept.
    median: bool [B or 1], True where all months become one token, their median.
  """

  months: Array
  bands: Array
  median: Array


def draw(
  key: Key,
  kind: str,
  batch: int,
  *,
  num_bands: int = 10,
  per_sample: bool = False,
) -> Drops:
  """Draws which months and bands of a batch are left out.

  Args:
    key: key of the random draws. It belongs to the whole global batch, so that
      every device leaves out the same months and bands.
    kind: name of the augmentation, one of KINDS.
    batch: B, number of examples.
    num_bands: C, number of bands.
    per_sample: whether every example gets a draw of its own. Otherwise one
      draw serves the whole batch, as in the reference's code.

  Raises:
    ValueError: if `kind` is not in KINDS.
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


def _some_months(key: Key, rows: int) -> jax.Array:
  """Keeps 1 to 11 months, each number equally likely, in half of the rows."""
  key_whether, key_subset = jax.random.split(key)
  drop = jax.random.uniform(key_whether, (rows, 1)) > 0.5
  return (
    _subset(key_subset, rows, calendar.MONTHS, 1, calendar.MONTHS - 1) | ~drop
  )


def _mixed(key: Key, rows: int) -> tuple[jax.Array, jax.Array]:
  """Drops three months in a row, takes the median, or changes nothing.

  Returns:
    Kept months, bool [rows, 12]: a quarter of the rows lacks three consecutive
    months; and bool [rows], True for the quarter that becomes its median.
  """
  key_which, key_start = jax.random.split(key)
  which = jax.random.uniform(key_which, (rows,))
  start = jax.random.randint(
    key_start, (rows, 1), 0, calendar.MONTHS - _QUARTER + 1
  )
  month = jax.lax.broadcasted_iota(jnp.int32, (rows, calendar.MONTHS), 1)
  dropped = (month >= start) & (month < start + _QUARTER)
  return ~(dropped & (which < 0.25)[:, None]), which >= 0.75


def _some_bands(key: Key, rows: int, num_bands: int) -> jax.Array:
  """Keeps three fixed bands and a random subset of others in 7 of 10 rows."""
  key_whether, key_subset = jax.random.split(key)
  drop = jax.random.uniform(key_whether, (rows, 1)) > 0.3
  others = _subset(
    key_subset, rows, num_bands - _FIXED_BANDS, 0, num_bands - _FIXED_BANDS
  )
  fixed = jnp.ones((rows, _FIXED_BANDS), bool)
  return jnp.concatenate([fixed, others | ~drop], axis=1)


def _subset(
  key: Key, rows: int, size: int, fewest: int, most: int
) -> jax.Array:
  """Draws subsets, bool [rows, size], of uniform sizes from fewest to most."""
  key_number, key_order = jax.random.split(key)
  number = jax.random.randint(key_number, (rows, 1), fewest, most + 1)
  rank = jnp.argsort(
    jnp.argsort(jax.random.uniform(key_order, (rows, size)), axis=1), axis=1
  )
  return rank < number
