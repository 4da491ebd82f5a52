"""Drawing codes from logits: temperature, top-k, top-p, allowed ids.

Source: 4M `fourm/generation/sequences.py` as TerraMind uses it.
"""

import jax
import jax.numpy as jnp

GREEDY = 1e-8  # Temperatures below this mean the most probable code.


def keep_top_k(logits, top_k):
  """Sets all but the `top_k` largest logits of each row to -inf.

  Args:
    logits: [..., V] float.
    top_k: a count (int), or a fraction of V (float in (0, 1], rounded down but
      at least one code). Codes that tie with the last kept one stay too.

  Returns:
    [..., V] float.
  """
  num_codes = logits.shape[-1]
  if isinstance(top_k, float):
    top_k = max(1, int(top_k * num_codes))
  top_k = min(top_k, num_codes)
  smallest = jax.lax.top_k(logits, top_k)[0][..., -1:]
  return jnp.where(logits < smallest, -jnp.inf, logits)


def keep_top_p(logits, top_p):
  """Sets to -inf what follows the codes that first exceed `top_p` together.

  Codes are taken from the most probable down; the one that carries the sum
  over the threshold is kept, so at least one always is.

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


def keep_allowed(logits, allowed):
  """Sets logits [..., V] of codes not in `allowed`, bool [V], to -inf."""
  return jnp.where(jnp.broadcast_to(allowed, logits.shape), logits, -jnp.inf)


def sample(key, logits, temperature=1.0, top_k=0, top_p=0.0, allowed=None):
  """Draws one code a row.

  The order is the reference's: top-k, then top-p on the untempered softmax of
  what is left, then the temperature.

  Args:
    key: of the draw; not used at temperature ~ 0.
    logits: [..., V] float.
    temperature: Python number; ~ 0 takes the most probable code.
    top_k: 0 keeps all; see `keep_top_k`.
    top_p: 0 keeps all; see `keep_top_p`.
    allowed: bool [V], codes that may come out at all; None allows every one.

  Returns:
    [...] int32 codes.

  Raises:
    ValueError: if `temperature` is negative or `top_p` outside [0, 1].
  """
  if temperature < 0:
    raise ValueError(f'temperature={temperature} is negative; 0 is greedy.')
  if not 0 <= top_p <= 1:
    raise ValueError(f'top_p={top_p} is not a probability; 0 keeps all codes.')
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
