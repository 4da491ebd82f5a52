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

FILE = 'run.lock'


class InUseError(ValueError):
  """Another run writes to the work directory; the message names it."""


@contextlib.contextmanager
def hold(workdir: str | os.PathLike[str]) -> Iterator[None]:
  """Keeps other runs out of a work directory while the context is open.

  The first process of a run holds a POSIX lock on `<workdir>/run.lock`, which
  the system takes back when the process ends, however it ends. The file names
  the holder, for people. On a file system without locks a warning is logged.

  Args:
    workdir: work directory of the run; it exists.

  Raises:
    InUseError: if another run holds it; names host, process and start.
  """
  if jax.process_index():
    yield
    return
  path = pathlib.Path(workdir, FILE)
  with path.open('a+') as file:
    _lock(file.fileno(), path)
    file.truncate(0)
    now = datetime.datetime.now(datetime.UTC).isoformat(' ', 'seconds')
    file.write(f'process {os.getpid()} on {socket.gethostname()} since {now}')
    file.flush()
    try:
      yield
    finally:
      file.truncate(0)


def _lock(descriptor: int, path: pathlib.Path) -> None:
  try:
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except (BlockingIOError, PermissionError):
    holder = path.read_text().strip() or 'a process that has just begun'
    raise InUseError(
      f'{path.parent} is in use by {holder}. Wait for its end or stop it, or '
      'name another --workdir.'
    ) from None
  except OSError as error:
    logging.warning(
      '%s cannot be locked (%s): make sure that no other run uses this work '
      'directory.',
      path,
      error,
    )
