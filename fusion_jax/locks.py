"""Locks that keep two processes from writing to the same place."""

import contextlib
import datetime
import errno
import fcntl
import os
import pathlib
import socket
import threading
from collections.abc import Iterator

from absl import logging

# What this process holds, {file of the lock: who holds it}. These files are
# never opened again: a POSIX lock lets its own process in, and goes as soon as
# any descriptor of its file is closed there.
_held: dict[pathlib.Path, str] = {}
_guard = threading.Lock()  # Of `_held` and of what is opened by it.


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
  a file system without locks a warning is logged. `flock` would outlive the
  process in what it forked, and is a POSIX lock on a network file system
  anyway.

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
  path = pathlib.Path(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.parent.resolve() / path.name
    with _guard:
      descriptor = _acquire(path, place)
      if descriptor is not None:
        _held[path] = _describe_holder()
  except OSError as error:
    raise _failure(error, place, advice) from None
  if descriptor is None:
    raise _refusal(path, place, advice)
  try:
    try:
      os.ftruncate(descriptor, 0)
      os.write(descriptor, _held[path].encode())
    except OSError as error:  # The disk is full.
      raise _failure(error, place, advice) from None
    for rival in sorted(path.parent.glob(rivals)) if rivals else ():
      if rival != path and _is_held(rival):
        raise _refusal(rival, place, advice)
    yield
  finally:
    with _guard:
      try:
        if _is_at(descriptor, path):
          path.unlink()
      finally:
        os.close(descriptor)
        del _held[path]


def _acquire(path: pathlib.Path, place: str | os.PathLike[str]) -> int | None:
  """Returns the descriptor of a file that is locked; None if it is held."""
  if path in _held:
    return None
  while True:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
      if not _lock(descriptor, place):
        os.close(descriptor)
        return None
      if _is_at(descriptor, path):
        return descriptor
    except BaseException:
      os.close(descriptor)
      raise
    os.close(descriptor)  # Its holder has removed it; there may be another.


def _is_held(path: pathlib.Path) -> bool:
  """Whether another process, or another call in this one, holds a lock."""
  with _guard:
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
  with _guard:
    holder = _held.get(path, '')
    if not holder:
      with contextlib.suppress(OSError):
        holder = path.read_text()
  return InUseError(
    f'{place} is in use by {holder or "another process"}. Wait for its end or '
    f'stop it, or {advice[0].lower()}{advice[1:]}'
  )


def _failure(
  error: OSError, place: str | os.PathLike[str], advice: str
) -> InUseError:
  if isinstance(error, FileExistsError | NotADirectoryError) and (
    pathlib.Path(place).is_file()
  ):
    return InUseError(f'{place} is a file; give the path of a folder.')
  return InUseError(f'{place} cannot be written: {error.strerror}. {advice}')
