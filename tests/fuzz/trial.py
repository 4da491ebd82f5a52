"""Runs a reader on a damaged file, in a process of its own with limits."""

import contextlib
import enum
import faulthandler
import os
import pathlib
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from fusion_jax.commands import door
from fusion_jax.untrusted import memory

LIMIT = 2**28  # Bytes that one file may take, as --max-memory.
_GROWTH = 3 * 2**28  # Of the resident memory of a process that keeps to it.
_ADDRESSES = 2**33  # Bytes of addresses beyond those at the start.
_WALL_S, _CPU_S = 120, 20


class Outcome(enum.StrEnum):
  """How a reader took a damaged file."""

  OK = 'read'
  ERROR = 'error that names the file'
  UNNAMED = 'error that does not name the file'
  TRACEBACK = 'exception of another kind'
  CRASH = 'crash'
  HANG = 'hang'
  MEMORY = 'memory over the limit'


GOOD = {Outcome.OK, Outcome.ERROR}


class Result(NamedTuple):
  """The outcome of one trial.

  Attributes:
    outcome: how it ended.
    message: what was said.
    grown: bytes by which the memory of the process grew.
  """

  outcome: Outcome
  message: str
  grown: int


def run(read: Callable[[pathlib.Path], Any], path: pathlib.Path) -> Result:
  """Reads a file in a forked process.

  Args:
    read: reader, which takes the path.
    path: file or folder; an error has to name it, or a file in it.
  """
  ours, theirs = os.pipe()
  child = os.fork()
  if not child:
    os.close(ours)
    _read_in_child(read, path, theirs)
  os.close(theirs)
  with open(ours, 'rb') as pipe:
    status, usage, late = _wait(child)
    answer = pipe.read().decode(errors='replace')
  before, _, rest = answer.partition('\n')
  name, _, message = rest.partition('\n')
  start = int(before or 0)
  grown = usage.ru_maxrss * 1024 - start if start else 0
  if late or (os.WIFSIGNALED(status) and _is_timeout(status)):
    return Result(Outcome.HANG, message, grown)
  if os.WIFSIGNALED(status):
    number = os.WTERMSIG(status)
    return Result(Outcome.CRASH, signal.Signals(number).name, grown)
  if not name:
    return Result(Outcome.CRASH, f'it ended with {status}', grown)
  if grown > _GROWTH:
    return Result(Outcome.MEMORY, f'{grown} bytes; {message}', grown)
  return Result(Outcome[name], message, grown)


def _is_timeout(status):
  return os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)


def _wait(child):
  """Waits for a process, and ends it when it takes too long."""
  end = time.monotonic() + _WALL_S
  while time.monotonic() < end:
    ended, status, usage = os.wait4(child, os.WNOHANG)
    if ended:
      return status, usage, False
    time.sleep(0.002)
  os.kill(child, signal.SIGKILL)
  _, status, usage = os.wait4(child, 0)
  return status, usage, True


def _read_in_child(read, path, pipe):
  """Reads, reports through a pipe, and ends the process."""
  faulthandler.disable()
  with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
  pages, resident, *_ = map(int, open('/proc/self/statm').read().split())
  page = os.sysconf('SC_PAGE_SIZE')
  most = pages * page + _ADDRESSES
  resource.setrlimit(resource.RLIMIT_AS, (most, most))
  os.environ[memory.VARIABLE] = str(LIMIT)
  silent = os.open(os.devnull, os.O_WRONLY)
  os.dup2(silent, 1)
  os.dup2(silent, 2)
  os.write(pipe, f'{resident * page}\n'.encode())
  try:
    read(path)
    outcome, message = Outcome.OK, ''
  except door.USER_ERRORS as error:
    message = door.one_line(error)
    named = path.name in message
    outcome = Outcome.ERROR if named else Outcome.UNNAMED
    if not named:
      message += _where()
  except BaseException as error:  # All others are what is looked for.
    outcome = Outcome.TRACEBACK
    message = f'{type(error).__name__}: {error}'[:300] + _where()
  os.write(pipe, f'{outcome.name}\n{message[:3000]}'.encode(errors='replace'))
  os._exit(0)


def _where():
  """Returns the last lines of the traceback."""
  frames = traceback.extract_tb(sys.exc_info()[2])[-4:]
  return ' @ ' + ' < '.join(
    f'{pathlib.Path(x.filename).name}:{x.lineno}' for x in reversed(frames)
  )
