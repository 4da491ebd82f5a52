"""Draws the codes of one grid: the steps of ROAR and MaskGIT.

`grids` has the functions to call, and the sources.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.generation import conditions, schedules
from fusion_jax.generation.conditions import Inputs
from fusion_jax.generation.grid_settings import Settings
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.ops import decoding, partitioning
from fusion_jax.types import Array, Key, Params


class Sampler:
  """Draws the codes of one target.

  Attributes:
    index: index of the target into the model's modalities.
    modality: the target.
    num_tokens: L, number of codes of the grid.
  """

  def __init__(
    self,
    backbone: backbone_lib.Backbone,
    params: Params,
    target: str,
    settings: Settings,
  ):
    self.index, self.modality = conditions.find_target(backbone, target)
    self._backbone, self._params = backbone, params
    self._settings = settings
    built = backbone.image_size // modality_table.PATCH
    self._shape = tuple(backbone.grid) or (built, built)
    self.num_tokens = self._shape[0] * self._shape[1]

  def check(self, inputs: Inputs) -> None:
    """Raises ValueError unless the target can be drawn from the inputs."""
    if self._settings.num_steps > 1 and not self.modality.seen:
      raise ValueError(
        f'The encoder cannot see {self.modality.name!r}, so that later steps '
        f'would not know the earlier ones; set num_steps=1, not '
        f'{self._settings.num_steps}.'
      )
    inputs.check(self.index, self._settings.guidance)

  def grids(
    self, inputs: Inputs, row_keys: Key, order: Array | None
  ) -> jax.Array:
    """Draws the codes [B, S, rows, columns] with one key per grid, [B, S]."""
    num_samples = row_keys.shape[1]
    row_keys = _fold_in(row_keys, self.modality.id)
    counts, degrees = schedules.plan(
      self._settings.schedule,
      self.num_tokens,
      self._settings.num_steps,
      self._settings.temperature,
      self._settings.temperature_schedule,
    )
    order = self._order(order, row_keys)
    if len(counts) == 1:
      codes = self._at_once(inputs, row_keys, degrees[0])
    else:
      codes = self._in_steps(
        inputs.repeat(num_samples),
        row_keys.reshape(-1),
        order.reshape(-1, self.num_tokens),
        (counts, degrees),
      )
    return codes.reshape(-1, num_samples, *self._shape)

  def logits(
    self,
    encoded: backbone_lib.Encoded,
    positions: jax.Array,
    count: Array | int,
  ) -> jax.Array:
    """Decodes positions, and applies the guidance.

    Args:
      encoded: what `Inputs.encode` returned, [R * P, ...].
      positions: int [R, K], different positions of the grid.
      count: int32 scalar, how many of them are decoded; the others are padding,
        and their logits have no meaning.

    Returns:
      [R, K, V] float32.
    """
    guidance = self._settings.guidance
    num_passes = conditions.num_passes(guidance)
    index = jnp.arange(positions.shape[1])
    attention = jnp.where(index == 0, count, 0)
    modality = jnp.where(index < count, self.index, -1)
    slots = {
      'modality': jnp.broadcast_to(modality, positions.shape),
      'position': positions,
      'code': jnp.zeros_like(positions),
      'attention': jnp.broadcast_to(attention, positions.shape),
    }
    slots = conditions.repeat_rows(slots, num_passes)
    tokens = self._apply(*encoded, slots, method='decode')
    table = self._backbone.output_tables(self._params)[self.modality.name]
    logits = jnp.matmul(
      tokens.reshape(-1, tokens.shape[-1]),
      table.T.astype(tokens.dtype),
      preferred_element_type=jnp.float32,
    ).reshape(-1, num_passes, *tokens.shape[1:-1], table.shape[0])
    logits = partitioning.split_rows(logits)
    if num_passes == 1:
      return logits[:, 0]
    scales = [g.scale for g in guidance]
    return decoding.guided(
      logits[:, 0], jnp.moveaxis(logits[:, 1:], 1, 0), scales
    )

  def _at_once(
    self, inputs: Inputs, row_keys: Key, temperature: float
  ) -> jax.Array:
    """Draws all codes of B * S grids in one step, [B, S, L] int32."""
    shape = inputs.num_rows, self.num_tokens
    positions = jnp.broadcast_to(jnp.arange(self.num_tokens), shape)
    encoded = inputs.encode(self._settings.guidance)
    logits = self._filter(self.logits(encoded, positions, self.num_tokens))

    def draw(sample_keys):  # One sample at a time: [B, L, V] of noise, not S.
      keys = _position_keys(sample_keys, 0, positions)
      return decoding.draw(keys, logits, jnp.float32(temperature))[0]

    return jax.lax.map(draw, row_keys.T).swapaxes(0, 1)

  def _in_steps(
    self,
    inputs: Inputs,
    row_keys: Key,
    order: jax.Array,
    plan: tuple[np.ndarray, np.ndarray],
  ) -> jax.Array:
    """Draws the codes of R grids step by step, [R, L] int32.

    Args:
      inputs: inputs of R rows.
      row_keys: [R] random keys.
      order: int [R, L], positions in the order in which ROAR draws them.
      plan: number of codes and temperature of each step, [n] each.
    """
    is_roar = self._settings.scheme == 'roar'
    counts, degrees = plan
    starts = np.cumsum(counts) - counts
    width = int(counts.max()) if is_roar else self.num_tokens
    order = jnp.pad(order, ((0, 0), (0, width)))  # The last slice is as wide.

    def step(carry, now):
      codes, known = partitioning.split_rows(carry)
      number, start, count, temperature = now
      if is_roar:
        decoded = count
        positions = jax.lax.dynamic_slice_in_dim(order, start, width, axis=1)
      else:  # All that are hidden; those that are known come last.
        decoded = self.num_tokens - start
        positions = jnp.argsort(known, axis=1)
      shown = inputs.show(self.index, codes, known)
      encoded = shown.encode(self._settings.guidance)
      logits = self._filter(self.logits(encoded, positions, decoded))
      keys = _position_keys(row_keys, number, positions)
      drawn, certainty = decoding.draw(keys, logits, temperature)
      kept = jnp.broadcast_to(jnp.arange(width) < decoded, positions.shape)
      if not is_roar:
        kept = decoding.most_certain(certainty, kept, count)
      written = jnp.where(kept, positions, self.num_tokens)  # Else dropped.
      return (_write(codes, written, drawn), _write(known, written, kept)), None

    shape = inputs.num_rows, self.num_tokens
    empty = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)
    steps = (
      jnp.arange(len(counts), dtype=jnp.int32),
      jnp.asarray(starts, jnp.int32),
      jnp.asarray(counts, jnp.int32),
      jnp.asarray(degrees, jnp.float32),
    )
    (codes, _), _ = jax.lax.scan(step, empty, steps)
    return codes

  def _filter(self, logits: jax.Array) -> jax.Array:
    top_k, top_p = self._settings.top_k, self._settings.top_p
    return partitioning.by_rows(
      lambda rows: decoding.keep_likely(rows, top_k, top_p), logits
    )

  def _order(self, order: Array | None, row_keys: Key) -> jax.Array:
    """Returns the order of the positions of every grid, int [B, S, L]."""
    batch, num_samples = row_keys.shape
    if order is None:
      noise = jax.vmap(
        jax.vmap(lambda key: jax.random.uniform(key, (self.num_tokens,)))
      )(_fold_in(row_keys, self.num_tokens))
      return jnp.argsort(noise, axis=-1).astype(jnp.int32)
    if self._settings.scheme != 'roar':
      raise ValueError(
        f'scheme={self._settings.scheme!r} has no order of positions; leave '
        "out `order`, or set scheme='roar'."
      )
    if order.shape not in ((self.num_tokens,), (batch, self.num_tokens)):
      raise ValueError(
        f'The order is {order.shape}; expected ({self.num_tokens},) or '
        f'({batch}, {self.num_tokens}) positions.'
      )
    if (
      not conditions.is_traced(order)
      and (
        np.sort(order)
        != np.broadcast_to(np.arange(self.num_tokens), order.shape)
      ).any()
    ):
      raise ValueError(
        f'The order must name each position 0..{self.num_tokens - 1} once.'
      )
    order = jnp.asarray(order, jnp.int32).reshape(-1, 1, self.num_tokens)
    return jnp.broadcast_to(order, (batch, num_samples, self.num_tokens))

  def _apply(self, *args: Any, method: str) -> Any:
    return self._backbone.apply({'params': self._params}, *args, method=method)


def _fold_in(keys: Key, number: int | Array) -> Key:
  """Folds one number into every one of some keys [...]."""
  flat = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys.reshape(-1))
  return flat.reshape(keys.shape)


def _position_keys(row_keys: Key, step: Array | int, positions: Array) -> Key:
  """Returns a key for each of the positions [R, K] of R grids in one step."""
  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  return jax.vmap(fold)(_fold_in(row_keys, step), positions)


def _write(
  grid: jax.Array, positions: jax.Array, values: jax.Array
) -> jax.Array:
  """Writes values [R, K] at positions [R, K]; drops those out of range."""
  return jax.vmap(lambda g, p, v: g.at[p].set(v, mode='drop'))(
    grid, positions, values
  )
