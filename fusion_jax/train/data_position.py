"""The position of the data iterator, as it is saved with a checkpoint."""

import json
import os
from typing import Any

import jax


class ProcessCountError(ValueError):
  """The run cannot be resumed with another number of processes."""


class Saved:
  """Hands the position of an iterator to Grain's checkpoint handler."""

  def __init__(self, state: Any):
    """Takes a position.

    Args:
      state: JSON-like result of the iterator's `get_state`.
    """
    self._state = state

  def get_state(self) -> bytes:
    """Returns the position as JSON text."""
    return json.dumps(self._state).encode()


def read(path: str) -> Any:
  """Reads the position that this process saved.

  If the number of processes has changed, it is the position that all of them
  had: batches are global, so position n means the same for any number.

  Args:
    path: folder of one checkpoint.

  Raises:
    ProcessCountError: if the number of processes has changed and the saved
      positions differ.
  """
  folder = os.path.join(path, 'batches')
  states = {}
  for name in os.listdir(folder):
    if name.startswith('process_'):
      with open(os.path.join(folder, name)) as file:
        states[name] = json.load(file)
  own = f'process_{jax.process_index()}-of-{jax.process_count()}.json'
  if own in states:
    return states[own]
  first, *others = states.values()
  if any(other != first for other in others):
    raise ProcessCountError(
      f'{folder} was written by {len(states)} processes whose positions in '
      f'the data differ; resume with {len(states)} processes.'
    )
  return first
