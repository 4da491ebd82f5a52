"""Which process keeps the others waiting."""

import socket
import statistics
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from fusion_jax.train import processes

# A process is slower than the others if its devices wait longer for it than
# for the median of the others, by more than this share of a step.
SLOWER = 0.1


def host_names() -> list[str]:
  """Returns the names of the hosts of all processes, which all call it."""
  return processes.from_all(socket.gethostname())


def gather(values: Sequence[float]) -> np.ndarray:
  """Returns the numbers of all processes [P, N], which all call it.

  Args:
    values: N numbers of this process.
  """
  row = np.asarray(values, np.float32)
  if jax.process_count() == 1:
    return row[None]
  return np.asarray(multihost_utils.process_allgather(row))


def slowest(waits_s: Sequence[float]) -> tuple[int, float]:
  """Finds the process that holds up the others most.

  Args:
    waits_s: seconds that the devices of each process waited for their host,
      [P].

  Returns:
    (its number, seconds beyond the median of the others); 0 seconds where it is
    the only process.
  """
  index = max(range(len(waits_s)), key=lambda i: waits_s[i])
  others = [x for i, x in enumerate(waits_s) if i != index]
  if not others:
    return index, 0.0
  return index, float(waits_s[index] - statistics.median(others))
