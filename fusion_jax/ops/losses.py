"""Losses of masked modelling, grouped by modality.

Every decoder slot is scored by the head of its own modality only. Slots are
sorted by modality into blocks of 128 rows, one matrix product a block; the
number of blocks is dynamic, so nothing is dropped, and no array of slots x
vocabulary exists, let alone of slots x all vocabularies.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

_BLOCK = 128  # Rows of one product.
_BATCH_AXES = ('data', 'fsdp')  # Mesh axes that split a batch.


class Head(NamedTuple):
  """What the loss knows about one modality."""

  name: str
  index: int  # Its id in `modality` arrays.
  vocab_size: int
  first_value: int = 0  # Id of its first value bin.
  num_values: int = 0  # Value bins, in order; 0 if its codes have no order.


def modality_weights(modality, trainable, heads):
  """Weights of the reference's `mod` loss, float32 like `modality`.

  A modality counts by the mean over its slots in the whole batch, every one of
  `heads` alike; one without targets counts 0 and still divides.

  Args:
    modality: int [...].
    trainable: bool [...], False where a slot is no target.
    heads: `Head`s of all modalities that can be predicted.
  """
  return _share(
    modality,
    trainable,
    heads,
    lambda head, count: 1 / (jnp.maximum(count, 1) * len(heads)),
  )


def token_weights(modality, trainable, heads):
  """Weights of the reference's `token` loss, float32 like `modality`.

  The mean of a modality counts by its number of logits, targets x vocabulary
  size: large vocabularies weigh more. Args: as of `modality_weights`.
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


def ordinal_weights(modality, trainable, target, heads):
  """Weights of the ordinal term in the `mod` loss, float32 like `modality`.

  As `modality_weights`, over the slots whose target is a value bin. Multiply
  by the weight of the term. Args: there, and target, int [...].
  """
  return modality_weights(
    modality, trainable & is_value(modality, target, heads), heads
  )


def is_value(modality, target, heads):
  """Bool [...]: whether a target is a value bin of an ordered modality."""
  found = jnp.zeros(modality.shape, bool)
  for head in heads:
    last = head.first_value + head.num_values
    found |= (
      (modality == head.index) & (target >= head.first_value) & (target < last)
    )
  return found


def _counts(modality, trainable, heads):
  return [
    jnp.sum((modality == head.index) & trainable).astype(jnp.float32)
    for head in heads
  ]


def _share(modality, trainable, heads, weight):
  weights = jnp.zeros(modality.shape, jnp.float32)
  for head, count in zip(heads, _counts(modality, trainable, heads)):
    member = (modality == head.index) & trainable
    weights = jnp.where(member, weight(head, count), weights)
  return weights


def cross_entropy(logits, target):
  """-log softmax(logits)[target], [..., V] and [...] to [...], in nats."""
  logits = logits.astype(jnp.float32)
  hit = _last_index(logits) == target[..., None]
  return jax.nn.logsumexp(logits, axis=-1) - jnp.sum(
    jnp.where(hit, logits, 0), axis=-1
  )


def ordinal_distance(logits, target):
  """Squared earth mover's distance between softmax and one-hot, in [0, 1].

  Sum over bins of (cumulated softmax - cumulated one-hot)^2 / (bins - 1).

  Args:
    logits: [..., bins], of ordered bins.
    target: int [...], the true bin.

  Returns:
    [...] float32.
  """
  num_bins = logits.shape[-1]
  cumulated = jnp.cumsum(jax.nn.softmax(logits.astype(jnp.float32)), axis=-1)
  step = _last_index(logits) >= target[..., None]
  return jnp.sum((cumulated - step) ** 2, axis=-1) / max(num_bins - 1, 1)


def _last_index(x):
  return jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)


def grouped_cross_entropy(
  outputs, modality, target, ce_weight, emd_weight, tables, heads
):
  """Weighted sum of cross-entropies and ordinal distances of slots.

  Under a mesh of several devices (`jax.set_mesh`) every device groups its own
  rows; `tables` are then needed whole on each.

  Args:
    outputs: [R, D], the decoder's output; R = B * M.
    modality: int [R]; a slot of none of `heads` counts 0.
    target: int [R].
    ce_weight: float32 [R]; a slot with both weights 0 is skipped.
    emd_weight: float32 [R], 0 where `is_value` is False.
    tables: {name: [V, D]}.
    heads: tuple of `Head`, one a table.

  Returns:
    The sum of ce_weight * CE + emd_weight * EMD, float32 scalar; and, without
    weights, {name: {'ce': (sum, count), 'emd': (sum, count)}}. Gradients reach
    outputs and tables, and only from the scalar.
  """
  labels = jax.tree.map(jnp.asarray, (modality, target, ce_weight, emd_weight))
  loss, sums = _grouped(heads, outputs, tables, labels)
  sums = jax.lax.stop_gradient(sums)
  return loss, {
    head.name: {'ce': (row[0], row[1]), 'emd': (row[2], row[3])}
    for head, row in zip(heads, sums)
  }


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _grouped(heads, outputs, tables, labels):
  loss, sums, _ = _over_devices(heads, False, outputs, tables, labels)
  return loss, sums


def _grouped_forward(heads, outputs, tables, labels):
  # Gradients are made with the logits at hand: nothing is computed twice.
  loss, sums, gradients = _over_devices(heads, True, outputs, tables, labels)
  return (loss, sums), gradients


def _grouped_backward(heads, gradients, cotangents):
  del heads
  scale = cotangents[0]
  outputs, tables = jax.tree.map(
    lambda g: (g * scale).astype(g.dtype), gradients
  )
  return outputs, tables, None


_grouped.defvjp(_grouped_forward, _grouped_backward)


def _over_devices(heads, with_gradients, outputs, tables, labels):
  """`_over_modalities` on every device's rows, summed over devices."""
  mesh = jax.sharding.get_abstract_mesh()
  axes = tuple(axis for axis in _BATCH_AXES if axis in mesh.axis_names)
  if mesh.empty or not axes or mesh.size == 1:
    return _over_modalities(heads, with_gradients, outputs, tables, labels)

  def local(outputs, tables, labels):
    loss, sums, gradients = _over_modalities(
      heads, with_gradients, outputs, tables, labels
    )
    loss, sums = jax.lax.psum((loss, sums), axes)
    if with_gradients:
      gradients = gradients[0], jax.lax.psum(gradients[1], axes)
    return loss, sums, gradients

  rows, whole = jax.P(axes), jax.P()
  gradients = (rows, whole) if with_gradients else ()
  return jax.shard_map(
    local,
    in_specs=(rows, whole, rows),
    out_specs=(whole, whole, gradients),
    check_vma=False,
  )(outputs, tables, labels)


def _over_modalities(heads, with_gradients, outputs, tables, labels):
  """Loss, sums [heads, 4] and, if asked for, gradients; of local rows."""
  modality, target, ce_weight, emd_weight = labels
  used = (ce_weight != 0) | (emd_weight != 0)
  modality = jnp.where(used, modality, -1)
  order = jnp.argsort(modality)  # Stable.
  rows = jax.tree.map(
    lambda x: _pad(x[order]), (outputs, target, ce_weight, emd_weight)
  )
  d_rows = jnp.zeros_like(rows[0]) if with_gradients else None
  loss, sums, d_tables = jnp.float32(0), [], {}
  for head in heads:
    first, stop = (
      jnp.sum(modality < head.index),
      jnp.sum(modality <= head.index),
    )
    part, some, d_rows, d_tables[head.name] = _over_blocks(
      head, rows, first, stop, tables[head.name], d_rows
    )
    loss += part
    sums.append(some)
  if not with_gradients:
    return loss, jnp.stack(sums), ()
  d_outputs = (
    jnp.zeros_like(outputs)
    .at[order]
    .set(d_rows[: outputs.shape[0]], unique_indices=True)
  )
  return loss, jnp.stack(sums), (d_outputs, d_tables)


def _pad(rows):
  """Appends a block of zeros, so that no block starts too late."""
  return jnp.pad(rows, ((0, _BLOCK),) + ((0, 0),) * (rows.ndim - 1))


def _over_blocks(head, rows, first, stop, table, d_rows):
  """One modality: its rows `first`..`stop` of the sorted ones.

  Blocks come in order, so the rows that the last one takes too many are
  overwritten by the next modality.
  """
  outputs = rows[0]
  weight = table.astype(outputs.dtype)

  def step(i, carry):
    loss, sums, d_rows, d_table = carry
    start = first + i * _BLOCK
    block, *labels = (
      jax.lax.dynamic_slice_in_dim(x, start, _BLOCK) for x in rows
    )
    member = start + jnp.arange(_BLOCK) < stop
    logits = jnp.matmul(block, weight.T, preferred_element_type=jnp.float32)
    score = functools.partial(_score, head, member, labels)
    if d_rows is None:
      part, some = score(logits)
      return loss + part, sums + some, None, None
    (part, some), d_logits = jax.value_and_grad(score, has_aux=True)(logits)
    d_logits = d_logits.astype(outputs.dtype)
    d_rows = jax.lax.dynamic_update_slice_in_dim(
      d_rows, d_logits @ weight, start, axis=0
    )
    d_table += jnp.matmul(d_logits.T, block, preferred_element_type=jnp.float32)
    return loss + part, sums + some, d_rows, d_table

  num_blocks = (stop - first + _BLOCK - 1) // _BLOCK
  d_table = None if d_rows is None else jnp.zeros(table.shape, jnp.float32)
  carry = jnp.float32(0), jnp.zeros(4, jnp.float32), d_rows, d_table
  return jax.lax.fori_loop(0, num_blocks, step, carry)


def _score(head, member, labels, logits):
  """Weighted loss of a block [128, V], and [CE sum, count, EMD sum, count]."""
  target, ce_weight, emd_weight = labels
  ce_weight = jnp.where(member, ce_weight, 0)
  entropy = cross_entropy(logits, target)
  loss = jnp.sum(ce_weight * entropy)
  terms = [
    jnp.sum(jnp.where(ce_weight != 0, entropy, 0)),
    jnp.sum(ce_weight != 0).astype(jnp.float32),
  ]
  if not head.num_values:
    return loss, jnp.stack(terms + [jnp.float32(0)] * 2)
  emd_weight = jnp.where(member, emd_weight, 0)
  values = jax.lax.slice_in_dim(
    logits, head.first_value, head.first_value + head.num_values, axis=1
  )
  distance = ordinal_distance(values, target - head.first_value)
  loss += jnp.sum(emd_weight * distance)
  terms += [
    jnp.sum(jnp.where(emd_weight != 0, distance, 0)),
    jnp.sum(emd_weight != 0).astype(jnp.float32),
  ]
  return loss, jnp.stack(terms)
