"""Texts that the processes of one run tell each other."""

import jax
import numpy as np
from jax.experimental import multihost_utils


def from_first(text: str) -> str:
  """Returns the text that the first process has; all processes call it.

  Args:
    text: any text; only that of the first process counts.
  """
  if jax.process_count() == 1:
    return text
  content = np.frombuffer(text.encode(), np.uint8)
  length = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
  if not length:
    return ''
  padded = np.zeros(length, np.uint8)
  if jax.process_index() == 0:
    padded[:] = content
  return bytes(
    np.asarray(multihost_utils.broadcast_one_to_all(padded))
  ).decode()


def from_all(text: str) -> list[str]:
  """Returns the texts of all processes, in their order.

  All of them call it, and have the same number of devices.

  Args:
    text: text of this process.
  """
  if jax.process_count() == 1:
    return [text]
  content = np.frombuffer(text.encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.int32(len(content)))
  padded = np.zeros(int(np.max(lengths)), np.uint8)
  padded[: len(content)] = content
  texts = np.asarray(multihost_utils.process_allgather(padded))
  return [bytes(x[:n]).decode() for x, n in zip(texts, np.ravel(lengths))]
