"""The position of the data iterator, as it is saved with a checkpoint."""

import asyncio
import json
import os
from collections.abc import Awaitable
from typing import Any

import jax


class ProcessCountError(ValueError):
  """The run cannot be resumed with another number of processes."""


class Saved:
  """Writes the position of an iterator, a file for each process.

  This is Orbax's protocol `StatefulCheckpointable`.
  """

  def __init__(self, state: Any):
    """Takes a position.

    Args:
      state: JSON-like result of the iterator's `get_state`.
    """
    self._text = json.dumps(state)

  async def save(self, directory: Any) -> Awaitable[None]:
    """Returns what writes the file in the background.

    Args:
      directory: Orbax's path of a folder that is still being made.
    """
    return self._write(directory)

  async def load(self, directory: Any) -> Awaitable[None]:
    """Belongs to the protocol, but positions are read by `read`.

    Raises:
      TypeError: always.
    """
    raise TypeError(f'Read the position in {directory} with data_position.')

  async def _write(self, directory: Any) -> None:
    path = await directory.await_creation() / _own_name()
    await asyncio.to_thread(path.write_text, self._text)


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
  if _own_name() in states:
    return states[_own_name()]
  first, *others = states.values()
  if any(other != first for other in others):
    raise ProcessCountError(
      f'{folder} was written by {len(states)} processes whose positions in '
      f'the data differ; resume with {len(states)} processes.'
    )
  return first


def _own_name() -> str:
  """Returns the name of the file of this process."""
  return f'process_{jax.process_index()}-of-{jax.process_count()}.json'
