"""Devices: the mesh, where the state lies on it, how batches enter it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from fusion_jax.ops import partitioning
from fusion_jax.ops.partitioning import BATCH_AXES
from fusion_jax.types import Array, Batch


def make_mesh(fsdp: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
  """Makes a mesh of axes ('data', 'fsdp').

  Args:
    fsdp: number of devices that share one copy of the parameters.
    devices: JAX devices of the mesh; by default all devices of every process.

  Raises:
    ValueError: if `fsdp` does not divide the number of devices.
  """
  count = len(devices) if devices is not None else jax.device_count()
  if fsdp < 1 or count % fsdp:
    raise ValueError(
      f'mesh.fsdp={fsdp} does not divide {count} devices; '
      f'try {_nearest_divisor(count, fsdp)}.'
    )
  auto = (AxisType.Auto,) * 2  # The default is Explicit on recent JAX.
  return jax.make_mesh(
    (count // fsdp, fsdp), BATCH_AXES, axis_types=auto, devices=devices
  )


def check_batch_size(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
  """Raises unless the batch splits into equal parts.

  Args:
    batch_size: examples of one step, over all devices and processes.
    mesh: mesh of the run.
    accumulate: micro-batches of a step.

  Raises:
    ValueError: with the nearest size that fits.
  """
  if accumulate < 1:
    raise ValueError(f'accumulate={accumulate} micro-batches; 1 is the least.')
  parts = mesh.size * accumulate
  if batch_size < 1 or batch_size % parts:
    micro = f' x {accumulate} micro-batches' if accumulate > 1 else ''
    raise ValueError(
      f'batch_size={batch_size} does not divide over {mesh.size} '
      f'devices{micro}; try {max(1, batch_size // parts) * parts}.'
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of an array that every device holds whole.

  Args:
    mesh: mesh of the run.
  """
  return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of a batch: its leading axis over all devices.

  Args:
    mesh: mesh of the run.
  """
  return NamedSharding(mesh, P(BATCH_AXES))


def state_shardings(state: Any, mesh: Mesh, min_size: int = 2**18) -> Any:
  """Splits big arrays over 'fsdp' on their longest divisible axis.

  Args:
    state: tree of arrays of any shape, or of `jax.ShapeDtypeStruct`.
    mesh: mesh of the run.
    min_size: arrays with fewer elements are copied to every device.

  Returns:
    A tree of `NamedSharding`, one for every leaf, counters included: a leaf
    without one comes back on a single device from a checkpoint.
  """

  return jax.tree.map(
    lambda x: NamedSharding(
      mesh, partitioning.weight_spec(x.shape, mesh, min_size)
    ),
    state,
  )


def with_shardings(shapes: Any, shardings: Any) -> Any:
  """Adds to each `jax.ShapeDtypeStruct` of a tree its sharding.

  Args:
    shapes: tree of `jax.ShapeDtypeStruct` of any shape.
    shardings: tree of `NamedSharding` with the same structure.
  """
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    shardings,
  )


def place(batch: Any, mesh: Mesh) -> Any:
  """Turns this process's share of a batch into global arrays.

  Args:
    batch: tree of NumPy arrays [B / process_count, ...].
    mesh: mesh of the run.

  Returns:
    A tree of `jax.Array` [B, ...] with the structure of `batch`, split over
    the mesh.
  """
  target = batch_sharding(mesh)
  processes = len({d.process_index for d in mesh.devices.flat})

  def place_array(x):
    x = np.asarray(x)
    shape = (x.shape[0] * processes, *x.shape[1:])
    return jax.make_array_from_process_local_data(target, x, shape)

  return jax.tree.map(place_array, batch)


def split_batch(batch: Batch, parts: int) -> Any:
  """Splits a batch into micro-batches.

  Rows are dealt out in turn, so that every device keeps the rows it has.

  Args:
    batch: tree of arrays [B, ...].
    parts: number of micro-batches; it divides B.

  Returns:
    A tree of arrays [parts, B / parts, ...] with the structure of `batch`.
  """

  def split(x: Array) -> Array:
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
    if jax.sharding.get_abstract_mesh().empty:
      return x
    return jax.lax.with_sharding_constraint(x, P(None, BATCH_AXES))

  return jax.tree.map(split, batch)


def _nearest_divisor(count: int, number: int) -> int:
  divisors = [i for i in range(1, count + 1) if count % i == 0]
  return min(divisors, key=lambda i: abs(i - number))
