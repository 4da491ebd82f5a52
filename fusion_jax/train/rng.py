"""Random keys as functions of (seed, stream, step): nothing to save."""

import zlib

import jax


def key_for(seed, stream, step):
  """The key of one named stream at one step, the same on every host.

  Args:
    seed: int, the run's.
    stream: name of what draws, such as 'train' or 'init'.
    step: int or int32 scalar array, traced or not.
  """
  name = zlib.crc32(stream.encode())  # Python's hash() differs between hosts.
  key = jax.random.fold_in(jax.random.key(seed), name)
  return jax.random.fold_in(key, step)
