"""Random keys as functions of (seed, stream, step): nothing to save."""

import zlib

import jax

from fusion_jax.types import Array, Key


def key_for(seed: int, stream: str, step: int | Array) -> Key:
  """Returns the key of one named stream at one step, equal on every host.

  Args:
    seed: seed of the run.
    stream: name of what draws, such as 'train' or 'init'.
    step: int or int32 scalar array, traced or not.

  Returns:
    A scalar array of a JAX key type.
  """
  name = zlib.crc32(stream.encode())  # Python's hash() differs between hosts.
  key = jax.random.fold_in(jax.random.key(seed), name)
  return jax.random.fold_in(key, step)
