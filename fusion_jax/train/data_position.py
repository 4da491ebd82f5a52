"""Where the data iterator stands, as saved with a checkpoint."""

import json
import os

import jax


class ProcessCountError(ValueError):
  """Another number of processes cannot go on from here."""


class Saved:
  """Hands a saved iterator state to Grain's checkpoint handler."""

  def __init__(self, state):
    self._state = state

  def get_state(self):
    return json.dumps(self._state).encode()


def read(path):
  """This process's state of the iterator, or all's if their number changed.

  Args:
    path: folder of one checkpoint.

  Raises:
    ProcessCountError: if their number changed and their states differ.
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
  return first  # Batches are global: position n is the same for any number.
