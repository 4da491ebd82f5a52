"""Draws codes from logits: temperature, top-k, top-p, allowed codes.

Source: 4M `fourm/generation/sequences.py`, as TerraMind uses it.
"""

import jax
import jax.numpy as jnp

from fusion_jax.types import Array, Key

GREEDY = 1e-8  # A temperature below this takes the most probable code.


def keep_top_k(logits: Array, top_k: int | float) -> jax.Array:
  """Sets all but the `top_k` largest logits of each row to -inf.

  Args:
    logits: [..., V] float.
    top_k: number of codes to keep (int), or their fraction of V (float in
      (0, 1], rounded down, but at least one code). Codes that tie with the
      last one that is kept are kept too.

  Returns:
    [..., V] float.
  """
  num_codes = logits.shape[-1]
  if isinstance(top_k, float):
    top_k = max(1, int(top_k * num_codes))
  top_k = min(top_k, num_codes)
  smallest = jax.lax.top_k(logits, top_k)[0][..., -1:]
  return jnp.where(logits < smallest, -jnp.inf, logits)


def keep_top_p(logits: Array, top_p: float) -> jax.Array:
  """Keeps the most probable codes up to a probability mass, others get -inf.

  Codes are taken from the most probable one down. The code whose probability
  carries the sum above the threshold is still kept, so at least one always is.

  Args:
    logits: [..., V] float, not divided by a temperature.
    top_p: probability mass to keep, in (0, 1).

  Returns:
    [..., V] float.
  """
  order = jnp.argsort(-logits, axis=-1)  # Stable: ties by code.
  probs = jax.nn.softmax(jnp.take_along_axis(logits, order, -1), axis=-1)
  exceeded = jnp.cumsum(probs, axis=-1) > top_p
  removed = jnp.concatenate(
    [jnp.zeros_like(exceeded[..., :1]), exceeded[..., :-1]], axis=-1
  )
  removed = jnp.take_along_axis(removed, jnp.argsort(order, axis=-1), -1)
  return jnp.where(removed, -jnp.inf, logits)


def keep_allowed(logits: Array, allowed: Array) -> jax.Array:
  """Sets logits [..., V] of codes that are not `allowed` (bool [V]) to -inf."""
  return jnp.where(jnp.broadcast_to(allowed, logits.shape), logits, -jnp.inf)


def sample(
  key: Key,
  logits: Array,
  temperature: float = 1.0,
  top_k: int | float = 0,
  top_p: float = 0.0,
  allowed: Array | None = None,
) -> jax.Array:
  """Draws one code from every row of logits.

  The order is that of the reference: top-k, then top-p on the softmax of the
  codes that are left, before any temperature, then the temperature.

  Args:
    key: key of the random draw; not used if the temperature is about 0.
    logits: [..., V] float.
    temperature: divisor of the logits, a Python number. About 0 takes the most
      probable code.
    top_k: number (int) or fraction (float) of codes to draw from, as
      `keep_top_k` describes it; 0 draws from all codes.
    top_p: probability mass of the codes to draw from, as `keep_top_p`
      describes it; 0 draws from all codes.
    allowed: bool [V], True for codes that may be drawn at all; None allows
      every code.

  Returns:
    [...] int32 codes.

  Raises:
    ValueError: if `temperature` is negative or `top_p` is outside [0, 1].
  """
  if temperature < 0:
    raise ValueError(
      f'temperature={temperature} is negative; give 0 to take the most '
      'probable code, or a number above 0.'
    )
  if not 0 <= top_p <= 1:
    raise ValueError(
      f'top_p={top_p} is not a probability; give a number from 0 to 1, where '
      '0 keeps all codes.'
    )
  logits = logits.astype(jnp.float32)
  if allowed is not None:
    logits = keep_allowed(logits, allowed)
  if temperature < GREEDY:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
  if top_k:
    logits = keep_top_k(logits, top_k)
  if top_p:
    logits = keep_top_p(logits, top_p)
  codes = jax.random.categorical(key, logits / temperature, axis=-1)
  return codes.astype(jnp.int32)
