"""Draws codes from logits: guidance, temperature, top-k, top-p, allowed codes.

Source: 4M `fourm/generation/sequences.py`, as TerraMind uses it.
"""

from collections.abc import Sequence

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


def keep_likely(
  logits: Array, top_k: int | float = 0, top_p: float = 0.0
) -> jax.Array:
  """Keeps the codes that both filters keep: top-k first, then top-p.

  The reference filters before any temperature, and top-p looks at the softmax
  of what top-k has left.

  Args:
    logits: [..., V] float, not divided by a temperature.
    top_k: number or fraction of codes, see `keep_top_k`; 0 keeps all.
    top_p: probability mass, see `keep_top_p`; 0 keeps all.

  Returns:
    [..., V] float, -inf for codes that are not kept.
  """
  if top_k:
    logits = keep_top_k(logits, top_k)
  if top_p:
    logits = keep_top_p(logits, top_p)
  return jnp.asarray(logits)


def guided(
  unconditional: Array, conditional: Array, scales: Sequence[float]
) -> jax.Array:
  """Moves logits away from those without the conditions.

  Classifier-free guidance: u + sum over i of scale_i (c_i - u). A scale of 1
  for the only condition leaves its logits as they are. Several conditions are
  composed as by Liu et al. 2022 (arXiv:2206.01714), Eq. (11).

  Args:
    unconditional: [..., V] float, u, logits without any of the G conditions.
    conditional: [G, ..., V] float, c_i, logits with condition i.
    scales: G numbers, strength of each condition.

  Returns:
    [..., V] float.
  """
  total = jnp.asarray(unconditional)
  for logits, scale in zip(conditional, scales, strict=True):
    total += scale * (logits - unconditional)
  return total


def draw(
  keys: Key, logits: Array, temperature: Array
) -> tuple[jax.Array, jax.Array]:
  """Draws one code from every row of logits, each with a key of its own.

  Args:
    keys: [R, K] random keys; what one row draws depends on its key alone.
    logits: [R, K, V] float, -inf for codes that cannot be drawn.
    temperature: float32 scalar, divisor of the logits; about 0 takes the most
      probable code.

  Returns:
    [R, K] int32 codes; and [R, K] float32, the probability with which each one
    was drawn, 1 where the temperature is about 0.
  """
  greedy = temperature < GREEDY
  logits = logits.astype(jnp.float32)
  tempered = logits / jnp.where(greedy, 1.0, temperature)
  drawn = jax.vmap(jax.vmap(jax.random.categorical))(keys, tempered)
  codes = jnp.where(greedy, jnp.argmax(logits, axis=-1), drawn)
  log_probs = jax.nn.log_softmax(tempered, axis=-1)
  chosen = jnp.take_along_axis(log_probs, codes[..., None], axis=-1)[..., 0]
  probability = jnp.where(greedy, 1.0, jnp.exp(chosen))
  return codes.astype(jnp.int32), probability


def most_certain(
  certainty: Array, candidates: Array, count: Array | int
) -> jax.Array:
  """Chooses the candidates that are the most certain.

  Args:
    certainty: [..., K] float.
    candidates: bool [..., K], True for what may be chosen.
    count: int32 scalar, number to choose; of equal ones the first.

  Returns:
    bool [..., K].
  """
  order = jnp.argsort(jnp.where(candidates, -certainty, jnp.inf), axis=-1)
  rank = jnp.argsort(order, axis=-1)
  return jnp.asarray(candidates) & (rank < count)


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
  logits = keep_likely(logits, top_k, top_p)
  codes = jax.random.categorical(key, logits / temperature, axis=-1)
  return codes.astype(jnp.int32)
