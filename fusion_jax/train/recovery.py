"""Damaged checkpoints: how they are told, and which one is used instead."""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from fusion_jax.train import checksums, data_position

DIRECTORY = 'damaged_checkpoints'  # In the work directory.


class CheckpointError(ValueError):
  """A checkpoint cannot be read or written; the message tells what to do."""


def newest_sound(directory: str, steps: Sequence[int]) -> int:
  """Returns the newest undamaged step; moves the damaged ones after it.

  The first process verifies the checksums, the others follow it. A checkpoint
  of an earlier version has none and counts as sound.

  Args:
    directory: folder of the checkpoints, `<workdir>/checkpoints`.
    steps: steps of the checkpoints, ascending.

  Raises:
    CheckpointError: if there is no checkpoint, or every one is damaged.
  """
  if not steps:
    raise CheckpointError(f'{directory} holds no checkpoint.')
  damaged: dict[int, str] = {}
  if jax.process_index() == 0:
    for step in reversed(steps):
      cause = _find_damage(pathlib.Path(directory, str(step)))
      if not cause:
        break
      damaged[step] = cause
  num_sound = len(steps) - _from_first_process(len(damaged))
  if not num_sound:
    cause = damaged.get(steps[-1], 'the first process found it so')
    raise CheckpointError(
      f'The checkpoint {os.path.join(directory, str(steps[-1]))} is damaged: '
      f'{cause}. No other one is sound; delete them, and the run begins anew.'
    )
  for step, cause in damaged.items():
    _set_aside(directory, step, cause, steps[num_sound - 1])
  _from_first_process(0)  # The others wait until the folders are moved.
  return steps[num_sound - 1]


@contextlib.contextmanager
def explain_damage(path: str) -> Iterator[None]:
  """Turns what Orbax raises for an unreadable folder into a `CheckpointError`.

  Args:
    path: folder of one checkpoint.

  Raises:
    CheckpointError: tells what to do.
  """
  try:
    yield
  except (CheckpointError, data_position.ProcessCountError):
    raise
  except Exception as error:
    cause = error if isinstance(error, checksums.ChecksumError) else repr(error)
    raise CheckpointError(
      f'The checkpoint {path} is damaged or half-written: {cause}. Delete '
      'this folder; the run then resumes from the checkpoint before it, or '
      'from the start.'
    ) from error


def _find_damage(path: pathlib.Path) -> str:
  """Returns what is wrong with a checkpoint, '' for nothing that shows."""
  try:
    checksums.verify(path)
  except (checksums.ChecksumError, OSError) as error:
    return str(error)
  return ''


def _set_aside(directory: str, step: int, cause: str, sound: int) -> None:
  """Moves a damaged checkpoint out of the way; nothing is deleted."""
  source = os.path.join(directory, str(step))
  folder = os.path.join(os.path.dirname(directory), DIRECTORY)
  os.makedirs(folder, exist_ok=True)
  target, number = os.path.join(folder, str(step)), 1
  while os.path.exists(target):
    number += 1
    target = os.path.join(folder, f'{step}_{number}')
  os.rename(source, target)
  logging.warning(
    'The checkpoint %s is damaged: %s. It was moved to %s; step %d is used '
    'instead.',
    source,
    cause,
    target,
    sound,
  )


def _from_first_process(number: int) -> int:
  """Returns the number that the first process has; all processes call it."""
  if jax.process_count() == 1:
    return number
  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))
