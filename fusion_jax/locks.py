"""Locks that keep two processes from writing to the same place."""

import contextlib
import datetime
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import IO

from absl import logging

_held: set[pathlib.Path] = set()  # By this process, whose own lock lets it in.


class InUseError(ValueError):
  """Another process writes there; the message names it."""


@contextlib.contextmanager
def hold(
  path: str | os.PathLike[str],
  place: str | os.PathLike[str],
  advice: str,
  rivals: str = '',
) -> Iterator[None]:
  """Keeps other processes out of a place while the context is open.

  The lock is a POSIX lock on a file, which the system takes back when the
  process ends, however it ends (on a network file system whose client died,
  when its lease ends). The file says who holds it, and goes with the lock. On
  a file system without locks a warning is logged.

  Args:
    path: file of the lock; its folder is made if need be.
    place: folder or file that the lock is for, as messages name it.
    advice: last sentence of the messages, what to do.
    rivals: pattern of the names of other locks in the folder that keep this
      one out; '' for none.

  Raises:
    InUseError: if another process, or another call in this one, holds the lock
      or a rival, which tells its host, process and start; or if the file
      cannot be written.
  """
  path = pathlib.Path(path).absolute()
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _acquire(path, place)
  except (FileExistsError, NotADirectoryError) as error:
    raise InUseError(
      f'{place} is a file; give the path of a folder.'
    ) from error
  except OSError as error:
    raise InUseError(
      f'{place} cannot be written: {error.strerror}. {advice}'
    ) from None
  if file is None:
    raise _refusal(path, place, advice)
  with file:
    _held.add(path)
    try:
      file.truncate(0)
      file.write(_describe_holder())
      file.flush()
      for rival in sorted(path.parent.glob(rivals)) if rivals else ():
        if rival != path and _is_held(rival):
          raise _refusal(rival, place, advice)
      yield
    finally:
      _held.discard(path)
      path.unlink(missing_ok=True)


def _acquire(
  path: pathlib.Path, place: str | os.PathLike[str]
) -> IO[str] | None:
  """Opens and locks a file; None if another one holds it."""
  if path in _held:
    return None
  while True:
    file = path.open('a')
    try:
      if not _lock(file.fileno(), place):
        file.close()
        return None
      if _is_at(file.fileno(), path):
        return file
    except BaseException:
      file.close()
      raise
    file.close()  # Its holder has removed it meanwhile; there may be another.


def _is_held(path: pathlib.Path) -> bool:
  """Whether another process, or another call in this one, holds a lock."""
  if path in _held:
    return True
  try:
    with path.open('r+') as file:
      if not _lock(file.fileno(), path):
        return True
      if _is_at(file.fileno(), path):
        path.unlink()  # Left by a process that crashed.
  except OSError:  # It has gone, or is not ours to write.
    pass
  return False


def _lock(descriptor: int, place: str | os.PathLike[str]) -> bool:
  """Returns whether the lock is ours, or there are no locks at all."""
  try:
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except (BlockingIOError, PermissionError):
    return False
  except OSError as error:
    if error.errno != errno.ESTALE:  # The file was removed: `_is_at` says so.
      logging.warning(
        '%s cannot be locked (%s): make sure that no other process writes to '
        'it.',
        place,
        error,
      )
  return True


def _is_at(descriptor: int, path: pathlib.Path) -> bool:
  """Whether an open file is still the one at a path."""
  try:
    return os.path.samestat(os.fstat(descriptor), path.stat())
  except OSError:
    return False


def _describe_holder() -> str:
  now = datetime.datetime.now(datetime.UTC).isoformat(' ', 'seconds')
  return f'process {os.getpid()} on {socket.gethostname()} since {now}'


def _refusal(
  path: pathlib.Path, place: str | os.PathLike[str], advice: str
) -> InUseError:
  try:
    holder = path.read_text()
  except OSError:
    holder = ''
  return InUseError(
    f'{place} is in use by {holder or "another process"}. Wait for its end or '
    f'stop it, or {advice[0].lower()}{advice[1:]}'
  )
