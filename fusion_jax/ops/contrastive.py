"""InfoNCE loss against a queue of earlier keys.

Queries are embeddings of satellite pixels, keys are embeddings of ground
photos. Source: He et al. 2020, arXiv:1911.05722, Algorithm 1, in the form of
TimeSenCLIP `src/models/model.py`. There is no momentum encoder, because CLIP
is frozen.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fusion_jax.types import Array, Key

MAX_LOG_SCALE = math.log(100.0)  # Logits are at most 100 x cosine.
_NONE = jnp.finfo(jnp.float32).min  # Logit of a pair that is left out.


class Queue(NamedTuple):
  """The last Q keys that training has seen.

  Attributes:
    keys: [Q, D] float32, unit vectors.
    ids: [Q] int32, the number of the place that each key belongs to.
    pointer: int32 scalar, index of the oldest row, which is overwritten next.
    filled: int32 scalar, number of rows written so far, at most Q; the other
      rows hold random noise.
  """

  keys: jax.Array
  ids: jax.Array
  pointer: jax.Array
  filled: jax.Array


def normalise(x: Array) -> jax.Array:
  """Returns x / max(|x|, 1e-12) along the last axis, [..., D] float32."""
  x = jnp.asarray(x, jnp.float32)
  square = jnp.sum(x**2, axis=-1, keepdims=True)
  return x / jnp.sqrt(jnp.maximum(square, 1e-24))


def init_queue(key: Key, size: int, width: int) -> Queue:
  """Returns a queue that is filled with random unit vectors.

  Args:
    key: key of the random vectors.
    size: Q, number of rows.
    width: D, width of the keys.
  """
  return Queue(
    keys=normalise(jax.random.normal(key, (size, width))),
    ids=jnp.zeros((size,), jnp.int32),
    pointer=jnp.zeros((), jnp.int32),
    filled=jnp.zeros((), jnp.int32),
  )


def check_queue_size(size: int, batch_size: int, accumulate: int = 1) -> None:
  """Raises an error unless a queue holds a whole number of batches.

  Args:
    size: Q, number of rows of the queue.
    batch_size: number of examples of a training step, over all devices.
    accumulate: number of micro-batches that a step is divided into.

  Raises:
    ValueError: if Q is not a multiple of the size of a micro-batch; the
      message names the nearest size that is.
  """
  part = batch_size // accumulate
  if size < part or size % part:
    micro = f' (a micro-batch: {batch_size} / {accumulate})'
    raise ValueError(
      f'A queue of {size} does not hold whole batches of {part}'
      f'{micro if accumulate > 1 else ""}; set config.loss.queue_size to '
      f'{max(1, round(size / part)) * part}.'
    )


def enqueue(queue: Queue, keys: Array, ids: Array) -> Queue:
  """Returns the queue with its oldest rows replaced by a batch, in its order.

  Args:
    queue: queue of Q rows.
    keys: [B, D] float, unit vectors; B must divide Q. No gradient reaches
      them through the queue.
    ids: [B] int32, the number of the place that each key belongs to.
  """
  size, number = queue.keys.shape[0], keys.shape[0]
  rows = (queue.pointer + jax.lax.iota(jnp.int32, number)) % size
  keys = jax.lax.stop_gradient(keys)
  return Queue(
    keys=queue.keys.at[rows].set(keys, unique_indices=True),
    ids=queue.ids.at[rows].set(ids, unique_indices=True),
    pointer=(queue.pointer + number) % size,
    filled=jnp.minimum(queue.filled + number, size),
  )


def logits(
  queries: Array,
  keys: Array,
  ids: Array,
  queue: Queue,
  scale: Array | float,
  *,
  in_batch: bool = False,
  mask_ids: bool = False,
  skip_noise: bool = False,
) -> jax.Array:
  """Returns the scaled cosines of every query with its own and other keys.

  Args:
    queries: [B, D] float, unit vectors, one for each place.
    keys: [B, D] float, unit vectors of the photos of these places.
    ids: [B] int32, the number of each place.
    queue: queue of Q earlier keys, which serve as negatives.
    scale: factor on the cosines, the exponential of the learned log scale.
    in_batch: whether the keys of the other places in the batch are negatives
      as well.
    mask_ids: whether to leave out negatives that belong to the query's own
      place.
    skip_noise: whether to leave out rows of the queue that still hold noise.

  Returns:
    [B, 1 + Q] float32, or [B, 1 + Q + B] with `in_batch`. Column 0 is the
    positive pair. A pair that is left out has a logit so low that its softmax
    is 0.
  """
  batch, size = queries.shape[0], queue.keys.shape[0]
  own = jnp.sum(queries * keys, axis=-1, keepdims=True)
  others = scale * (queries @ jax.lax.stop_gradient(queue.keys).T)
  left_out = jnp.zeros((batch, size), bool)
  if mask_ids:
    written = jax.lax.iota(jnp.int32, size) < queue.filled
    left_out |= (ids[:, None] == queue.ids[None, :]) & written[None, :]
  if skip_noise:
    left_out |= (jax.lax.iota(jnp.int32, size) >= queue.filled)[None, :]
  parts = [scale * own, jnp.where(left_out, _NONE, others)]
  if in_batch:
    parts.append(_without_own(scale * (queries @ keys.T), ids, mask_ids))
  return jnp.concatenate(parts, axis=1)


def info_nce(logits: Array) -> jax.Array:
  """Returns -log softmax of column 0 of logits [B, N], [B] float, in nats."""
  return jax.nn.logsumexp(logits, axis=-1) - logits[:, 0]


def reverse_info_nce(
  queries: Array,
  keys: Array,
  ids: Array,
  scale: Array | float,
  *,
  mask_ids: bool = False,
) -> jax.Array:
  """Returns the InfoNCE loss of each key against all queries of the batch.

  The queue holds keys only, so the negatives of a key are the other queries
  of its batch.

  Args:
    queries: [B, D] float, unit vectors, one for each place.
    keys: [B, D] float, unit vectors of the photos of these places.
    ids: [B] int32, the number of each place.
    scale: factor on the cosines, the exponential of the learned log scale.
    mask_ids: whether to leave out queries of the key's own place.

  Returns:
    [B] float32, in nats.
  """
  own = jnp.sum(queries * keys, axis=-1, keepdims=True)
  others = _without_own(scale * (keys @ queries.T), ids, mask_ids)
  return info_nce(jnp.concatenate([scale * own, others], axis=1))


def _without_own(logits: Array, ids: Array, mask_ids: bool) -> jax.Array:
  """Returns logits [B, B] with pairs of a place with itself left out."""
  own = jnp.eye(len(logits), dtype=bool)
  if mask_ids:
    own = ids[:, None] == ids[None, :]
  return jnp.where(own, _NONE, logits)
