"""Losses of masked modelling: weights of slots, and scores of logits."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from fusion_jax.types import Array

_TILE = 32  # Bins whose sums are one product.


@dataclasses.dataclass(frozen=True)
class Head:
  """What the loss knows about one modality.

  Attributes:
    name: name of the modality.
    index: number that stands for the modality in `modality` arrays.
    vocab_size: V, number of codes.
    first_value: code of the first value bin.
    num_values: number of value bins, whose codes are in ascending order of the
      value; 0 if the codes of this modality have no order.
  """

  name: str
  index: int
  vocab_size: int
  first_value: int = 0
  num_values: int = 0


def modality_weights(
  modality: Array, trainable: Array, heads: Sequence[Head]
) -> jax.Array:
  """Returns the weights of slots in a loss that averages over modalities.

  This is the reference's `mod` loss. Each of the `heads` counts equally, by
  the mean over its slots in the whole batch; a modality without targets
  contributes 0, but still counts in the divisor.

  Args:
    modality: [...] int, the modality of each slot.
    trainable: [...] bool, False where a slot is not a target.
    heads: all modalities that can be predicted.

  Returns:
    [...] float32.
  """
  return _share(
    modality,
    trainable,
    heads,
    lambda head, count: 1 / (jnp.maximum(count, 1) * len(heads)),
  )


def token_weights(
  modality: Array, trainable: Array, heads: Sequence[Head]
) -> jax.Array:
  """Returns the weights of slots in a loss that averages over logits.

  This is the reference's `token` loss. The mean over the slots of a modality
  is weighted by its number of logits, targets x vocabulary size, so modalities
  with large vocabularies weigh more.

  Args:
    modality: [...] int, the modality of each slot.
    trainable: [...] bool, False where a slot is not a target.
    heads: all modalities that can be predicted.

  Returns:
    [...] float32.
  """
  counts = _counts(modality, trainable, heads)
  num_logits = sum(
    count * head.vocab_size for head, count in zip(heads, counts)
  )
  return _share(
    modality,
    trainable,
    heads,
    lambda head, count: head.vocab_size / jnp.maximum(num_logits, 1),
  )


def ordinal_weights(
  modality: Array, trainable: Array, target: Array, heads: Sequence[Head]
) -> jax.Array:
  """Returns the weights of slots in the ordinal term of the `mod` loss.

  These are the `modality_weights` over the slots whose target is a value bin.
  Multiply them by the weight of the ordinal term.

  Args:
    modality: [...] int, the modality of each slot.
    trainable: [...] bool, False where a slot is not a target.
    target: [...] int, the true code of each slot.
    heads: all modalities that can be predicted.

  Returns:
    [...] float32.
  """
  return modality_weights(
    modality, trainable & is_value(modality, target, heads), heads
  )


def is_value(
  modality: Array, target: Array, heads: Sequence[Head]
) -> jax.Array:
  """Returns where the target of a slot is a value bin of an ordered modality.

  Args:
    modality: [...] int, the modality of each slot.
    target: [...] int, the true code of each slot.
    heads: all modalities that can be predicted.

  Returns:
    [...] bool.
  """
  is_bin = jnp.zeros(modality.shape, bool)
  for head in heads:
    last = head.first_value + head.num_values
    is_bin |= (
      (modality == head.index) & (target >= head.first_value) & (target < last)
    )
  return is_bin


def _counts(
  modality: Array, trainable: Array, heads: Sequence[Head]
) -> list[jax.Array]:
  """Returns the number of targets of each head, float32 scalars."""
  return [
    jnp.sum((modality == head.index) & trainable).astype(jnp.float32)
    for head in heads
  ]


def _share(
  modality: Array,
  trainable: Array,
  heads: Sequence[Head],
  weight: Callable[[Head, jax.Array], Array],
) -> jax.Array:
  """Gives every target the weight of its head, which depends on its count."""
  weights = jnp.zeros(modality.shape, jnp.float32)
  for head, count in zip(heads, _counts(modality, trainable, heads)):
    member = (modality == head.index) & trainable
    weights = jnp.where(member, weight(head, count), weights)
  return weights


def cross_entropy(logits: Array, target: Array) -> jax.Array:
  """Returns -log softmax(logits)[target] in nats.

  Args:
    logits: [..., V] float.
    target: [...] int, the true code.

  Returns:
    [...] float32.
  """
  logits = logits.astype(jnp.float32)
  hit = _last_index(logits) == target[..., None]
  return jax.nn.logsumexp(logits, axis=-1) - jnp.sum(
    jnp.where(hit, logits, 0), axis=-1
  )


def ordinal_distance(logits: Array, target: Array) -> jax.Array:
  """Returns the squared earth mover's distance of a softmax from the truth.

  The distance is the sum over bins of (cumulated softmax - cumulated
  one-hot)^2 / (bins - 1), which is in [0, 1].

  Args:
    logits: [..., bins] float, of bins in ascending order.
    target: [...] int, the true bin.

  Returns:
    [...] float32.
  """
  num_bins = logits.shape[-1]
  cumulated = _cumulate(jax.nn.softmax(logits.astype(jnp.float32)))
  step = _last_index(logits) >= target[..., None]
  return jnp.sum((cumulated - step) ** 2, axis=-1) / max(num_bins - 1, 1)


def _cumulate(x: jax.Array) -> jax.Array:
  """Returns sums of the last axis up to each entry, [..., n] float32.

  They are two products with triangles of ones: sums within tiles of 32, and of
  the tiles before. On a CPU `jnp.cumsum` is a loop of scalars.
  """
  *leading, length = x.shape
  num_tiles = -(-length // _TILE)
  tiles = jnp.pad(
    x.reshape(-1, length), ((0, 0), (0, num_tiles * _TILE - length))
  ).reshape(-1, num_tiles, _TILE)
  product = functools.partial(jnp.matmul, precision='highest')
  within = product(tiles, jnp.triu(jnp.ones((_TILE, _TILE))))
  before = product(
    within[..., -1], jnp.triu(jnp.ones((num_tiles, num_tiles)), 1)
  )
  sums = (within + before[..., None]).reshape(-1, num_tiles * _TILE)
  return sums[:, :length].reshape(*leading, length)


def _last_index(x: Array) -> jax.Array:
  """Returns the index of every entry along the last axis, int32."""
  return jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
