"""What the partitioner of the compiler is told about arrays within a step.

`in_shardings` alone leave it free to split the activations as the weights are
split, and then every device gathers the activations of the whole batch in every
layer. So each stack of layers and each look-up says that activations belong to
the batch, and that weights are gathered instead. Without a mesh of several
devices (`jax.set_mesh`), nothing here does anything.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from fusion_jax.types import Array

BATCH_AXES = ('data', 'fsdp')  # Axes of a mesh that split a batch.


def batch_axes(num_rows: int = 0) -> tuple[str, ...]:
  """Returns the axes of the current mesh that split a batch.

  Args:
    num_rows: rows of the batch.

  Returns:
    Names of axes; () without a mesh, on a mesh of one device, and where the
    devices do not divide the rows (an axis of 1 that broadcasts, say).
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return ()
  axes = tuple(axis for axis in BATCH_AXES if axis in mesh.axis_names)
  return axes if num_rows % math.prod(mesh.shape[a] for a in axes) == 0 else ()


def split_rows(arrays: Any) -> Any:
  """Keeps the leading axis of arrays spread over the devices of the batch.

  Args:
    arrays: tree of arrays [B, ...].

  Returns:
    The same arrays. One whose B the devices do not divide is left to the
    partitioner.
  """

  def split(x: jax.Array) -> jax.Array:
    axes = batch_axes(x.shape[0]) if x.ndim else ()
    return jax.lax.with_sharding_constraint(x, jax.P(axes)) if axes else x

  return jax.tree.map(split, arrays)


def by_rows(
  function: Callable[[jax.Array], jax.Array], rows: jax.Array
) -> jax.Array:
  """Applies a function of single rows where the rows lie.

  For functions that the partitioner would gather the rows of all devices for,
  such as `jax.lax.top_k`.

  Args:
    function: function of [B, ...] that treats every row alone.
    rows: [B, ...].

  Returns:
    The function's result, [B, ...].
  """
  axes = batch_axes(rows.shape[0])
  if not axes:
    return function(rows)
  spec = jax.P(axes)
  return jax.shard_map(
    function, in_specs=spec, out_specs=spec, check_vma=False
  )(rows)


def weight_spec(
  shape: Sequence[int],
  mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh | None = None,
  min_size: int = 2**18,
) -> jax.P:
  """Returns how an array of parameters is spread over 'fsdp'.

  Args:
    shape: shape of the array.
    mesh: mesh of devices, by default the current one.
    min_size: arrays with fewer elements are whole on every device.

  Returns:
    The longest axis that the size of 'fsdp' divides is split; an array without
    such an axis is whole on every device.
  """
  mesh = mesh or jax.sharding.get_abstract_mesh()
  num_parts = dict(mesh.shape).get('fsdp', 1)
  if num_parts == 1 or math.prod(shape) < min_size:
    return jax.P()
  for axis in sorted(range(len(shape)), key=lambda i: -shape[i]):
    if shape[axis] % num_parts == 0:
      return jax.P(*[None] * axis, 'fsdp')
  return jax.P()


def gather(table: jax.Array, spec: jax.P) -> jax.Array:
  """Gathers an array of parameters; for the body of a `shard_map`.

  Args:
    table: [...], part of an array on this device.
    spec: spec of the whole array, as `weight_spec` returns it.

  Returns:
    The whole array [...], the split axis as long as all parts.
  """
  for axis, name in enumerate(spec):
    if name:
      table = jax.lax.all_gather(table, name, axis=axis, tiled=True)
  return table


def scatter_sum(
  gradient: jax.Array, spec: jax.P, axes: tuple[str, ...]
) -> jax.Array:
  """Adds up gradients of all devices; for the body of a `shard_map`.

  Args:
    gradient: [...] float32, what the rows of this device add to the gradient
      of the whole array.
    spec: spec of the whole array, as `weight_spec` returns it.
    axes: axes of the mesh to sum over.

  Returns:
    This device's part of the sum, [...] float32.
  """
  for axis, name in enumerate(spec):
    if name:
      gradient = jax.lax.psum_scatter(
        gradient, name, scatter_dimension=axis, tiled=True
      )
  mesh = jax.sharding.get_abstract_mesh()
  rest = tuple(a for a in axes if a not in spec and mesh.shape[a] > 1)
  return jax.lax.psum(gradient, rest) if rest else gradient


def product(rows: jax.Array, kernel: jax.Array, dtype: DTypeLike) -> jax.Array:
  """Multiplies rows by a kernel whose gradient is summed in float32.

  In bfloat16 the kernel is gathered in bfloat16, half the bytes, but its
  gradient leaves the product in float32, so that the sum over the rows of all
  devices is one of float32.

  Args:
    rows: [R, I] in `dtype`.
    kernel: [I, O] float32.
    dtype: dtype of the computation.

  Returns:
    [R, O] in `dtype`.
  """
  if jnp.dtype(dtype) == kernel.dtype:
    return rows @ kernel
  return _mixed_product(rows, kernel)


@jax.custom_vjp
def _mixed_product(rows: jax.Array, kernel: jax.Array) -> jax.Array:
  """Returns rows [R, I] @ kernel [I, O], in the dtype of the rows."""
  return rows @ kernel.astype(rows.dtype)


def _mixed_forward(
  rows: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _mixed_product(rows, kernel), (rows, kernel)


def _mixed_backward(
  saved: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
  rows, kernel = saved
  d_kernel = jnp.matmul(rows.T, cotangent, preferred_element_type=kernel.dtype)
  return cotangent @ kernel.astype(rows.dtype).T, d_kernel


_mixed_product.defvjp(_mixed_forward, _mixed_backward)


def look_up(
  table: Array,
  indices: jax.Array,
  dtype: DTypeLike,
  *,
  frozen: int | None = None,
) -> jax.Array:
  """Reads rows of a table, which is gathered in the dtype of the result.

  The gradient of the table is summed in float32 on each device, then over the
  devices.

  Args:
    table: [V, D] float32.
    indices: [B, ...] int; an index that is out of range reads as 0.
    dtype: dtype of the result.
    frozen: index of a row that no gradient reaches from here; None for none.

  Returns:
    [B, ..., D] in `dtype`.
  """
  table = jnp.asarray(table)
  return _look_up((jnp.dtype(dtype), table.shape[0], frozen), table, indices)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _look_up(
  static: tuple[Any, int, int | None], table: jax.Array, indices: jax.Array
) -> jax.Array:
  """Reads rows; `static` is the dtype, V and the frozen row of `look_up`."""

  def read(table, indices):
    return table.at[indices].get(mode='fill', fill_value=0)

  table = table.astype(static[0])
  axes = batch_axes(indices.shape[0])
  if not axes:
    return read(table, indices)
  spec = weight_spec(table.shape)
  return jax.shard_map(
    lambda table, indices: read(gather(table, spec), indices),
    in_specs=(spec, jax.P(axes)),
    out_specs=jax.P(axes),
    check_vma=False,
  )(table, indices)


def _look_up_forward(
  static: tuple[Any, int, int | None], table: jax.Array, indices: jax.Array
) -> tuple[jax.Array, jax.Array]:
  return _look_up(static, table, indices), indices


def _look_up_backward(
  static: tuple[Any, int, int | None], indices: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array, None]:
  _, num_rows, frozen = static
  shape = num_rows, cotangent.shape[-1]
  if frozen is not None:
    indices = jnp.where(indices == frozen, num_rows, indices)

  def add(indices, cotangent):
    zeros = jnp.zeros(shape, jnp.float32)
    return zeros.at[indices].add(cotangent.astype(jnp.float32), mode='drop')

  axes = batch_axes(indices.shape[0])
  if not axes:
    return add(indices, cotangent), None
  spec = weight_spec(shape)
  return jax.shard_map(
    lambda *rows: scatter_sum(add(*rows), spec, axes),
    in_specs=(jax.P(axes), jax.P(axes)),
    out_specs=spec,
    check_vma=False,
  )(indices, cotangent), None


_look_up.defvjp(_look_up_forward, _look_up_backward)
