"""The sequence that a pixel encoder sees, as a product of two matrices.

Every token of a series of pixels is a linear function of few numbers, its
features: the pixels, weights on a table of positions, and whether it is the
class token. Source: TimeSenCLIP `src/models/encoder.py` (commit a48994f), which
adds the three.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from fusion_jax.ops import calendar
from fusion_jax.types import Array

SINGLE = ('mean', 'first')
KEPT = ('own', 'first')


def check(
  pixels: Array, square: tuple[int, int, int], months: Array | None
) -> None:
  """Checks the shape of a series of pixels.

  Args:
    pixels: [B, T, C, k, k].
    square: expected (C, k, k).
    months: [B or 1, T] dates of the time steps, or None.

  Raises:
    ValueError: for another shape, or for a number of time steps other than 12,
      4 and 1 without `months`.
  """
  if pixels.ndim != 5 or pixels.shape[2:] != square:
    raise ValueError(
      f'pixels is {pixels.shape}; expected is [B, T, {square[0]} bands, '
      f'{square[1]} rows, {square[2]} columns].'
    )
  steps = pixels.shape[1]
  if months is None and steps not in calendar.SETTINGS.values():
    raise ValueError(
      f'pixels has {steps} time steps; without `months` these must be '
      '12 months, 4 quarters or 1. Pass `months` for other dates.'
    )


def position_weights(
  months_table: jax.Array,
  keep: Array,
  months: Array | None = None,
  *,
  single: str = 'mean',
  kept: str = 'own',
) -> tuple[jax.Array, jax.Array]:
  """Returns weights and a table whose product are the position vectors.

  A time step has a position whether it is kept or not. Where at most one step
  of a series is kept, its position is the mean of the twelve months.

  Args:
    months_table: [12, D] float, the learned position vector of each month.
    keep: bool [B or 1, T], the time steps that exist.
    months: [B or 1, T] months as fractions, 0 = middle of January; positions in
      between are interpolated linearly, also from December to January. None: T
      is 12 (months), 4 (quarters, the lower medians of their three months) or
      1.
    single: position of an only time step without `months`: 'mean' of the
      twelve, or 'first', that of January.
    kept: 'own' gives every kept step its own position, 'first' gives the kept
      steps the first positions in order.

  Returns:
    [B or 1, T, R] float, weights that add up to 1 over the last axis; and
    [R, D] float, the table. Its last row is the mean of the twelve months,
    unless T is 1.
  """
  steps = keep.shape[1]
  mean = jnp.mean(months_table, axis=0)[None]
  table = months_table
  if months is not None:
    own = calendar.shares_of_months(months)
  elif steps == 1:
    single_row = mean if single == 'mean' else table[:1]
    return jnp.ones((1, 1, 1)), single_row
  else:
    table = calendar.lower_median(
      table.reshape(steps, calendar.MONTHS // steps, -1)
    )
    own = jnp.eye(steps)[None]
  batch = max(len(own), len(keep))
  own = jnp.broadcast_to(own, (batch, *own.shape[1:]))
  keep = jnp.broadcast_to(keep, (batch, steps))
  if kept == 'first':
    own = jnp.take_along_axis(
      own, jnp.maximum(jnp.cumsum(keep, axis=1) - 1, 0)[:, :, None], axis=1
    )
  alone = (jnp.sum(keep, axis=1) <= 1)[:, None, None]
  weight_of_mean = jnp.broadcast_to(alone, (batch, steps, 1))
  weights = jnp.concatenate([jnp.where(alone, 0, own), weight_of_mean], axis=2)
  return weights, jnp.concatenate([table, mean])


def features_and_rows(
  pixels: jax.Array,
  positions: tuple[jax.Array, jax.Array],
  embedding: tuple[jax.Array, jax.Array],
  class_token: jax.Array,
  dtype: DTypeLike,
) -> tuple[jax.Array, jax.Array]:
  """Returns features and rows whose product are the tokens.

  Args:
    pixels: [B, T, P] float, the P pixel values of every time step.
    positions: weights [B or 1, T, R] and table [R, D] of `position_weights`.
      As the weights of a step add up to 1, these rows carry the bias as well.
    embedding: kernel [P, D] and bias [D] of the linear map of the pixels.
    class_token: [D] float.
    dtype: data type of the result.

  Returns:
    [B, T + 1, F] features, those of the class token first, and [F, D] rows,
    where F = P + R + 1.
  """
  batch = len(pixels)
  weights, table = positions
  kernel, bias = embedding
  rows = jnp.concatenate(
    [
      kernel,
      table.astype(dtype) + bias[None],
      class_token[None].astype(dtype),
    ]
  )
  weights = jnp.broadcast_to(weights, (batch, *weights.shape[1:]))
  of_steps = jnp.concatenate([pixels, weights], axis=2)
  of_class = jnp.zeros((batch, 1, len(rows))).at[:, :, -1].set(1)
  features = jnp.concatenate(
    [of_class, jnp.pad(of_steps, ((0, 0), (0, 0), (0, 1)))], axis=1
  )
  return features.astype(dtype), rows


def replace_by_median(
  tokens: jax.Array,
  embedded: jax.Array,
  months_table: jax.Array,
  keep: Array,
  median: Array,
) -> tuple[jax.Array, jax.Array]:
  """Replaces the kept tokens of some series by one, their lower median.

  It stands on the first time step, with the mean of the months' positions; the
  other time steps are then hidden.

  Args:
    tokens: [B, T + 1, D] float, the class token first.
    embedded: [B, T, D] float, the tokens of the time steps without positions.
    months_table: [12, D] float, the learned position vector of each month.
    keep: bool [B or 1, T], the time steps that exist.
    median: bool [B or 1], the series whose tokens are replaced.

  Returns:
    [B, T + 1, D] float, the tokens; and bool [B, T], the time steps that exist.
  """
  medians = calendar.lower_median(embedded, keep)
  medians += jnp.mean(months_table, axis=0)[None].astype(embedded.dtype)
  tokens = tokens.at[:, 1].set(
    jnp.where(median[:, None], medians, tokens[:, 1])
  )
  first = (jax.lax.iota(jnp.int32, keep.shape[1]) == 0)[None, :]
  alone = first & keep.any(axis=1, keepdims=True)
  return tokens, jnp.where(median[:, None], alone, keep)
