"""Devices: the mesh, where the state lies on it, how batches enter it."""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

BATCH_AXES = ('data', 'fsdp')


def make_mesh(fsdp=1, devices=None):
  """A mesh of axes ('data', 'fsdp') over all devices, or over those given.

  Args:
    fsdp: devices that share one copy of the parameters.
    devices: list of devices; by default all of every process.

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


def check_batch_size(batch_size, mesh, accumulate=1):
  """Raises unless the batch splits into equal parts.

  Args:
    batch_size: examples of one step, over all devices and processes.
    mesh: of `make_mesh`.
    accumulate: micro-batches a step.

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


def replicated(mesh):
  """The sharding of an array that every device holds whole."""
  return NamedSharding(mesh, P())


def batch_sharding(mesh):
  """The sharding of a batch: its leading axis over all devices."""
  return NamedSharding(mesh, P(BATCH_AXES))


def state_shardings(state, mesh, min_size=2**18):
  """Splits big arrays over 'fsdp' on their longest divisible axis.

  Args:
    state: tree of arrays or of `jax.ShapeDtypeStruct`.
    mesh: of `make_mesh`.
    min_size: arrays of fewer elements are copied to every device.

  Returns:
    A tree of `NamedSharding`, one for every leaf, counters included: a leaf
    without comes back on a single device from a checkpoint.
  """

  def one(x):
    for axis in sorted(range(x.ndim), key=lambda i: -x.shape[i]):
      if x.size >= min_size and x.shape[axis] % mesh.shape['fsdp'] == 0:
        return NamedSharding(mesh, P(*[None] * axis, 'fsdp'))
    return replicated(mesh)

  return jax.tree.map(one, state)


def with_shardings(shapes, shardings):
  """The `jax.ShapeDtypeStruct`s of `shapes`, each with its sharding."""
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    shardings,
  )


def place(batch, mesh):
  """Turns this process's share of a batch into global arrays.

  Args:
    batch: tree of NumPy arrays, leading axis batch_size / process_count.
    mesh: of `make_mesh`.

  Returns:
    The same tree of `jax.Array`, leading axis batch_size, split over the mesh.
  """
  target = batch_sharding(mesh)
  processes = len({d.process_index for d in mesh.devices.flat})

  def one(x):
    x = np.asarray(x)
    shape = (x.shape[0] * processes, *x.shape[1:])
    return jax.make_array_from_process_local_data(target, x, shape)

  return jax.tree.map(one, batch)


def split_batch(batch, parts):
  """Splits a batch [B, ...] into micro-batches [parts, B / parts, ...].

  Rows are dealt out in turn, so that every device keeps the rows it has.
  """

  def one(x):
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1)
    if jax.sharding.get_abstract_mesh().empty:
      return x
    return jax.lax.with_sharding_constraint(x, P(None, BATCH_AXES))

  return jax.tree.map(one, batch)


def _nearest_divisor(count, wanted):
  divisors = [i for i in range(1, count + 1) if count % i == 0]
  return min(divisors, key=lambda i: abs(i - wanted))
