"""The lock of a work directory: two runs never write to the same one."""

import contextlib
import datetime
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

import jax
from absl import logging

from fusion_jax.train import processes

FILE, HOLDER = 'run.lock', 'run.holder'
_held: set[pathlib.Path] = set()  # By this process, whose own lock lets it in.


class InUseError(ValueError):
  """Another run writes to the work directory; the message names it."""


@contextlib.contextmanager
def hold(workdir: str | os.PathLike[str]) -> Iterator[None]:
  """Keeps other runs out of a work directory while the context is open.

  The first process of a run holds a POSIX lock on `<workdir>/run.lock`, which
  the system takes back when the process ends, however it ends (on a network
  file system whose client died, when its lease ends). `<workdir>/run.holder`
  names the holder. On a file system without locks a warning is logged.

  Args:
    workdir: work directory of the run; made if need be.

  Raises:
    InUseError: in every process, if another run holds it or the folder cannot
      be written; names host, process and start of the other run.
  """
  folder = pathlib.Path(workdir).resolve()
  with contextlib.ExitStack() as stack:
    refusal = ''
    if jax.process_index() == 0:
      try:
        stack.enter_context(_locked(folder))
      except InUseError as error:
        refusal = str(error)
    if refusal := processes.from_first(refusal):
      raise InUseError(refusal)
    yield


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
  """Holds the lock of a folder, and says so in its second file."""
  holder = folder / HOLDER
  try:
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / FILE).open('a')
  except OSError as error:
    raise InUseError(
      f'The work directory {folder} cannot be written: {error.strerror}. Name '
      'another --workdir.'
    ) from None
  with file:
    if folder in _held or not _lock(file.fileno(), folder):
      text = holder.read_text() if holder.exists() else 'another process'
      raise InUseError(
        f'{folder} is in use by {text}. Wait for its end or stop it, or name '
        'another --workdir.'
      )
    now = datetime.datetime.now(datetime.UTC).isoformat(' ', 'seconds')
    holder.write_text(
      f'process {os.getpid()} on {socket.gethostname()} since {now}'
    )
    _held.add(folder)
    try:
      yield
    finally:
      _held.discard(folder)
      holder.unlink(missing_ok=True)


def _lock(descriptor: int, folder: pathlib.Path) -> bool:
  """Returns whether the lock is ours, or there are no locks at all."""
  try:
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except (BlockingIOError, PermissionError):
    return False
  except OSError as error:
    logging.warning(
      '%s cannot be locked (%s): make sure that no other run uses it.',
      folder,
      error,
    )
  return True
