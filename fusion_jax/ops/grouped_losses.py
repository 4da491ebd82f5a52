"""The loss of masked modelling over slots that are grouped by modality.

Every decoder slot is scored by the head of its own modality only. Slots are
sorted by modality into blocks of 128 rows, and each block takes one matrix
product. The number of blocks is dynamic, so no slot is dropped, and no array
of slots x vocabulary exists, let alone one of slots x all vocabularies.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fusion_jax.ops import losses, partitioning
from fusion_jax.types import Array

_BLOCK = 128  # Rows of one product.


def grouped_cross_entropy(
  outputs: Array,
  modality: Array,
  target: Array,
  ce_weight: Array,
  emd_weight: Array,
  tables: Mapping[str, Array],
  heads: tuple[losses.Head, ...],
) -> tuple[jax.Array, dict[str, dict[str, tuple[jax.Array, jax.Array]]]]:
  """Returns the weighted sum of cross-entropies and ordinal distances.

  Under a mesh of several devices (`jax.set_mesh`), every device groups its own
  rows, and gathers the whole `tables` in the dtype of the outputs.

  Args:
    outputs: [R, D] float, the decoder's outputs; R = B * M slots.
    modality: [R] int, the modality of each slot. A slot whose modality is none
      of `heads` counts 0.
    target: [R] int, the true code of each slot.
    ce_weight: [R] float32, weight of the cross-entropy.
    emd_weight: [R] float32, weight of the ordinal distance, 0 where `is_value`
      is False. A slot whose two weights are 0 is skipped.
    tables: {name of a head: [V, D] float}, the code vectors that score outputs.
    heads: modalities that can be predicted, one for each table.

  Returns:
    The sum of ce_weight * CE + emd_weight * EMD, float32 scalar; and, for
    logging, the unweighted {name of a head: {'ce': (sum, count), 'emd': (sum,
    count)}}. Gradients reach the outputs and the tables, and only from the
    first.
  """
  labels = jax.tree.map(jnp.asarray, (modality, target, ce_weight, emd_weight))
  loss, sums = _grouped(heads, outputs, tables, labels)
  sums = jax.lax.stop_gradient(sums)
  return loss, {
    head.name: {'ce': (row[0], row[1]), 'emd': (row[2], row[3])}
    for head, row in zip(heads, sums)
  }


def _grouped_value(
  heads: tuple[losses.Head, ...],
  outputs: Array,
  tables: Mapping[str, Array],
  labels: tuple[jax.Array, ...],
) -> tuple[jax.Array, jax.Array]:
  """Returns the loss and the unweighted sums [heads, 4]."""
  loss, sums, _ = _over_devices(heads, False, outputs, tables, labels)
  return loss, sums


_grouped = jax.custom_vjp(_grouped_value, nondiff_argnums=(0,))


def _grouped_forward(
  heads: tuple[losses.Head, ...],
  outputs: Array,
  tables: Mapping[str, Array],
  labels: tuple[jax.Array, ...],
) -> tuple[tuple[jax.Array, jax.Array], Any]:
  """Returns the value of `_grouped` and its gradients."""
  # Gradients are computed while the logits exist: nothing is computed twice.
  loss, sums, gradients = _over_devices(heads, True, outputs, tables, labels)
  return (loss, sums), gradients


def _grouped_backward(
  heads: tuple[losses.Head, ...], gradients: Any, cotangents: Any
) -> tuple[Any, Any, None]:
  """Scales the gradients by the cotangent of the loss."""
  del heads
  scale = cotangents[0]
  outputs, tables = jax.tree.map(
    lambda g: (g * scale).astype(g.dtype), gradients
  )
  return outputs, tables, None


_grouped.defvjp(_grouped_forward, _grouped_backward)


def _over_devices(
  heads: tuple[losses.Head, ...],
  with_gradients: bool,
  outputs: Array,
  tables: Mapping[str, Array],
  labels: tuple[jax.Array, ...],
) -> tuple[jax.Array, jax.Array, Any]:
  """Runs `_over_modalities` on each device's rows and adds up the results."""
  tables = {name: table.astype(outputs.dtype) for name, table in tables.items()}
  axes = partitioning.batch_axes(outputs.shape[0])
  if not axes:
    return _over_modalities(heads, with_gradients, outputs, tables, labels)
  specs = {
    name: partitioning.weight_spec(table.shape)
    for name, table in tables.items()
  }

  def local(outputs, tables, labels):
    tables = {
      name: partitioning.gather(table, specs[name])
      for name, table in tables.items()
    }
    loss, sums, gradients = _over_modalities(
      heads, with_gradients, outputs, tables, labels
    )
    loss, sums = jax.lax.psum((loss, sums), axes)
    if with_gradients:
      d_outputs, d_tables = gradients
      gradients = (
        d_outputs,
        {
          name: partitioning.scatter_sum(gradient, specs[name], axes)
          for name, gradient in d_tables.items()
        },
      )
    return loss, sums, gradients

  rows, whole = jax.P(axes), jax.P()
  return jax.shard_map(
    local,
    in_specs=(rows, specs, rows),
    out_specs=(whole, whole, (rows, specs) if with_gradients else ()),
    check_vma=False,
  )(outputs, tables, labels)


def _over_modalities(
  heads: tuple[losses.Head, ...],
  with_gradients: bool,
  outputs: Array,
  tables: Mapping[str, Array],
  labels: tuple[jax.Array, ...],
) -> tuple[jax.Array, jax.Array, Any]:
  """Returns the loss, sums [heads, 4] and, if asked for, the gradients.

  All of them are those of the local rows.
  """
  modality, target, ce_weight, emd_weight = labels
  used = (ce_weight != 0) | (emd_weight != 0)
  modality = jnp.where(used, modality, -1)
  order = jnp.argsort(modality)  # Stable.
  rows = jax.tree.map(
    lambda x: _pad(x[order]), (outputs, target, ce_weight, emd_weight)
  )
  d_rows = jnp.zeros_like(rows[0]) if with_gradients else None
  loss, sums, d_tables = jnp.zeros((), jnp.float32), [], {}
  for head in heads:
    first, stop = (
      jnp.sum(modality < head.index),
      jnp.sum(modality <= head.index),
    )
    part, part_sums, d_rows, d_tables[head.name] = _over_blocks(
      head, rows, first, stop, tables[head.name], d_rows
    )
    loss += part
    sums.append(part_sums)
  if d_rows is None:
    return loss, jnp.stack(sums), ()
  d_outputs = (
    jnp.zeros_like(outputs)
    .at[order]
    .set(d_rows[: outputs.shape[0]], unique_indices=True)
  )
  return loss, jnp.stack(sums), (d_outputs, d_tables)


def _pad(rows: jax.Array) -> jax.Array:
  """Appends a block of zeros, so that the last block stays inside the array."""
  return jnp.pad(rows, ((0, _BLOCK),) + ((0, 0),) * (rows.ndim - 1))


def _over_blocks(
  head: losses.Head,
  rows: tuple[jax.Array, ...],
  first: jax.Array,
  stop: jax.Array,
  table: Array,
  d_rows: jax.Array | None,
) -> tuple[jax.Array, jax.Array, Any, Any]:
  """Scores one modality: rows `first` to `stop` of the sorted rows.

  Blocks are taken in order. The last one may reach into the rows of the next
  modality; the gradients it writes there are overwritten by that modality.

  Args:
    head: modality to score.
    rows: outputs [rows, D], target, weight of the cross-entropy and weight of
      the ordinal distance, [rows] each; the last 128 rows are padding.
    first: int32 scalar, first row of the modality.
    stop: int32 scalar, row behind its last one.
    table: [V, D], code vectors of the modality.
    d_rows: [rows, D], gradients of the outputs so far; None for no gradients.

  Returns:
    The loss, sums [4] as in `_score`, and the gradients of the outputs and of
    the table, or None.
  """
  outputs = rows[0]

  def step(i, carry):
    loss, sums, d_rows, d_table = carry
    start = first + i * _BLOCK
    block, *labels = (
      jax.lax.dynamic_slice_in_dim(x, start, _BLOCK) for x in rows
    )
    member = start + jnp.arange(_BLOCK) < stop
    logits = jnp.matmul(block, table.T, preferred_element_type=jnp.float32)
    score = functools.partial(_score, head, member, labels)
    if d_rows is None:
      part, part_sums = score(logits)
      return loss + part, sums + part_sums, None, None
    (part, part_sums), d_logits = jax.value_and_grad(score, has_aux=True)(
      logits
    )
    d_logits = d_logits.astype(outputs.dtype)
    d_rows = jax.lax.dynamic_update_slice_in_dim(
      d_rows, d_logits @ table, start, axis=0
    )
    d_table += jnp.matmul(d_logits.T, block, preferred_element_type=jnp.float32)
    return loss + part, sums + part_sums, d_rows, d_table

  num_blocks = (stop - first + _BLOCK - 1) // _BLOCK
  d_table = None if d_rows is None else jnp.zeros(table.shape, jnp.float32)
  carry = jnp.float32(0), jnp.zeros(4, jnp.float32), d_rows, d_table
  return jax.lax.fori_loop(0, num_blocks, step, carry)


def _score(
  head: losses.Head,
  member: jax.Array,
  labels: Sequence[jax.Array],
  logits: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Scores one block of logits.

  Args:
    head: modality that the block belongs to.
    member: [128] bool, False for rows that belong to the next modality.
    labels: target (int), weight of the cross-entropy and weight of the ordinal
      distance, [128] each.
    logits: [128, V] float32.

  Returns:
    The weighted loss, and [4] float32: sum and count of the cross-entropies,
    sum and count of the ordinal distances.
  """
  target, ce_weight, emd_weight = labels
  ce_weight = jnp.where(member, ce_weight, 0)
  entropy = losses.cross_entropy(logits, target)
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
  distance = losses.ordinal_distance(values, target - head.first_value)
  loss += jnp.sum(emd_weight * distance)
  terms += [
    jnp.sum(jnp.where(emd_weight != 0, distance, 0)),
    jnp.sum(emd_weight != 0).astype(jnp.float32),
  ]
  return loss, jnp.stack(terms)
