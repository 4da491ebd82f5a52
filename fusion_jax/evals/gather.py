"""Brings the rows of all processes to each."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax


def fetch(batch: Mapping[str, Any]) -> dict[str, Any]:
  """Brings global arrays to every process.

  Args:
    batch: dict of global arrays [B, ...].

  Returns:
    A dict of NumPy arrays [B, ...] with the same keys.
  """
  first = next(iter(batch.values()))
  if not first.is_fully_addressable:
    batch = _to_all(first.sharding.mesh)(batch)
  return jax.device_get(batch)


@functools.cache
def _to_all(mesh: jax.sharding.Mesh) -> Callable[[Any], Any]:
  return jax.jit(
    lambda tree: tree, out_shardings=jax.NamedSharding(mesh, jax.P())
  )
