"""InfoNCE against a queue of earlier keys.

Queries are satellite embeddings, keys those of ground photos. Source: He et
al. 2020, arXiv:1911.05722, Algorithm 1, as used in TimeSenCLIP
`src/models/model.py`; there is no momentum encoder, since CLIP is frozen.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

MAX_LOG_SCALE = math.log(100.0)  # Logits are at most 100 x cosine.
_NONE = jnp.finfo(jnp.float32).min  # Logit of a pair that does not count.


class Queue(NamedTuple):
  """The last K keys.

  Attributes:
    keys: float32 [K, D], normalised.
    ids: int32 [K], of the place of each key.
    pointer: int32 scalar, the oldest row: the next to be overwritten.
    filled: int32 scalar, rows written so far, at most K; the others are noise.
  """

  keys: Any
  ids: Any
  pointer: Any
  filled: Any


def normalise(x):
  """x / max(|x|, 1e-12) along the last axis, in float32."""
  x = x.astype(jnp.float32)
  square = jnp.sum(x**2, axis=-1, keepdims=True)
  return x / jnp.sqrt(jnp.maximum(square, 1e-24))


def init_queue(key, size, width):
  """A `Queue` of normalised Gaussian noise, K = `size`, D = `width`."""
  return Queue(
    keys=normalise(jax.random.normal(key, (size, width))),
    ids=jnp.zeros((size,), jnp.int32),
    pointer=jnp.zeros((), jnp.int32),
    filled=jnp.zeros((), jnp.int32),
  )


def check_queue_size(size, batch_size, accumulate=1):
  """Raises unless whole batches fit into the queue.

  Args:
    size: K.
    batch_size: B, over all devices.
    accumulate: micro-batches a step.

  Raises:
    ValueError: with the nearest size that fits.
  """
  part = batch_size // accumulate
  if size < part or size % part:
    micro = f' (a micro-batch: {batch_size} / {accumulate})'
    raise ValueError(
      f'A queue of {size} does not hold whole batches of {part}'
      f'{micro if accumulate > 1 else ""}; set config.loss.queue_size to '
      f'{max(1, round(size / part)) * part}.'
    )


def enqueue(queue, keys, ids):
  """Overwrites the oldest rows with a batch, in its order.

  Args:
    queue: `Queue`, K rows.
    keys: [B, D] normalised, B divides K. No gradient passes.
    ids: int32 [B].
  """
  size, number = len(queue.keys), len(keys)
  rows = (queue.pointer + jax.lax.iota(jnp.int32, number)) % size
  keys = jax.lax.stop_gradient(keys)
  return Queue(
    keys=queue.keys.at[rows].set(keys, unique_indices=True),
    ids=queue.ids.at[rows].set(ids, unique_indices=True),
    pointer=(queue.pointer + number) % size,
    filled=jnp.minimum(queue.filled + number, size),
  )


def logits(
  queries,
  keys,
  ids,
  queue,
  scale,
  *,
  in_batch=False,
  mask_ids=False,
  skip_noise=False,
):
  """Scaled cosines of every query: its own key, the queue, other keys.

  Args:
    queries: [B, D] normalised.
    keys: [B, D] normalised, of the same places.
    ids: int32 [B], of the places.
    queue: `Queue`, K rows.
    scale: factor of the cosines, exp(log scale).
    in_batch: whether the keys of the batch's other places are negatives too.
    mask_ids: whether negatives of the query's own place do not count.
    skip_noise: whether rows of the queue that are still noise do not count.

  Returns:
    float32 [B, 1 + K], with `in_batch` [B, 1 + K + B]; the positive first.
    What does not count is so low that its softmax is 0.
  """
  batch, size = len(queries), len(queue.keys)
  own = jnp.sum(queries * keys, axis=-1, keepdims=True)
  others = scale * (queries @ jax.lax.stop_gradient(queue.keys).T)
  out = jnp.zeros((batch, size), bool)
  if mask_ids:
    real = jax.lax.iota(jnp.int32, size) < queue.filled
    out |= (ids[:, None] == queue.ids[None, :]) & real[None, :]
  if skip_noise:
    out |= (jax.lax.iota(jnp.int32, size) >= queue.filled)[None, :]
  parts = [scale * own, jnp.where(out, _NONE, others)]
  if in_batch:
    parts.append(_without_own(scale * (queries @ keys.T), ids, mask_ids))
  return jnp.concatenate(parts, axis=1)


def info_nce(logits):
  """-log softmax of the first column, [B, N] to [B], in nats."""
  return jax.nn.logsumexp(logits, axis=-1) - logits[:, 0]


def reverse_info_nce(queries, keys, ids, scale, *, mask_ids=False):
  """The other direction: each key against all queries of the batch, [B].

  The queue holds keys only, so the negatives are the batch's. Arguments are
  those of `logits`.
  """
  own = jnp.sum(queries * keys, axis=-1, keepdims=True)
  others = _without_own(scale * (keys @ queries.T), ids, mask_ids)
  return info_nce(jnp.concatenate([scale * own, others], axis=1))


def _without_own(logits, ids, mask_ids):
  """[B, B] logits without those of each place with itself."""
  own = jnp.eye(len(logits), dtype=bool)
  if mask_ids:
    own = ids[:, None] == ids[None, :]
  return jnp.where(own, _NONE, logits)
