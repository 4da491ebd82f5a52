"""Damaged checkpoints: how they are told, and which one is used instead."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import logging

from fusion_jax import checksums as plain_checksums
from fusion_jax.train import checksums, data_position, processes

DIRECTORY = 'damaged_checkpoints'  # In the work directory.
_MOVE = (
  'move this folder elsewhere; the run then resumes from the checkpoint before '
  'it, or from the start.'
)

_unchecked: set[pathlib.Path] = set()  # Folders that this was said of.


class CheckpointError(ValueError):
  """A checkpoint cannot be read or written; the message tells what to do."""


def newest_sound(directory: str, steps: Sequence[int]) -> int | None:
  """Sets damaged checkpoints aside and returns the newest sound step.

  The first process verifies the checksums, the others follow it: all of them
  call this. A checkpoint of an earlier version has none and counts as sound. Of
  those before the newest sound one, only the metrics are verified, which
  Orbax reads of all.

  Args:
    directory: folder of the checkpoints, `<workdir>/checkpoints`.
    steps: steps of the checkpoints, ascending.

  Returns:
    The step; None if there is no checkpoint.

  Raises:
    CheckpointError: in every process, if every checkpoint is damaged, or a
      file cannot be read for another reason.
  """
  outcome: dict[str, Any] = {}
  if jax.process_index() == 0:
    try:
      outcome['step'] = _set_damaged_aside(directory, steps)
    except CheckpointError as error:
      outcome['error'] = str(error)
    except OSError as error:
      outcome['error'] = (
        f'{directory} cannot be read: {error}. See to the permissions and the '
        'file system, then run the same command again.'
      )
  outcome = json.loads(processes.from_first(json.dumps(outcome)))
  if 'error' in outcome:
    raise CheckpointError(outcome['error'])
  return outcome['step']


def check_beside(workdir: str | os.PathLike[str]) -> None:
  """Compares the files beside the checkpoints with their checksums.

  These are what a model is used with, such as `statistics.json`. That a folder
  of an earlier version has no checksums is logged once.

  Args:
    workdir: folder of a run or of converted weights.

  Raises:
    CheckpointError: if a file is not what was saved.
  """
  folder = pathlib.Path(workdir)
  try:
    has_checksums = plain_checksums.verify(folder)
  except checksums.ChecksumError as error:
    raise CheckpointError(
      f'{folder} is damaged: {error}. Copy or convert it again; if you changed '
      f'it on purpose, remove {folder / checksums.FILE}.'
    ) from error
  if not has_checksums and folder.absolute() not in _unchecked:
    _unchecked.add(folder.absolute())
    logging.info(
      '%s is of an earlier version: the files beside its checkpoints have no '
      'checksums.',
      folder,
    )


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
  except checksums.ChecksumError as error:
    raise CheckpointError(
      f'The checkpoint {path} is damaged: {error}. To go on, {_MOVE}'
    ) from error
  except Exception as error:
    raise CheckpointError(
      f'The checkpoint {path} cannot be read: {error!r}. '
      f'If the cause is in its files, {_MOVE}'
    ) from error


def _set_damaged_aside(directory: str, steps: Sequence[int]) -> int | None:
  """See `newest_sound`; for the first process."""
  sound, damaged = None, {}
  for step in reversed(steps):
    try:
      checksums.verify(
        pathlib.Path(directory, str(step)),
        part='' if sound is None else 'metrics/',
      )
    except checksums.ChecksumError as error:
      damaged[step] = str(error)
    else:
      sound = step if sound is None else sound
  if damaged and sound is None:
    raise CheckpointError(
      f'The checkpoint {os.path.join(directory, str(steps[-1]))} is damaged: '
      f'{damaged[steps[-1]]}. No other one is sound. Move them elsewhere; the '
      'same command then starts the run from its beginning.'
    )
  for step, cause in damaged.items():
    _set_aside(directory, step, cause, sound)
  return sound


def _set_aside(
  directory: str, step: int, cause: str, sound: int | None
) -> None:
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
