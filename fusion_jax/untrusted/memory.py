"""How much memory one file may take.

Headers state sizes, and a damaged or hostile one states any. A reader checks
what it is about to take against a limit: `--max-memory` of the commands, the
environment variable of the same name, or half of what the machine has. Worker
processes inherit it.
"""

import contextlib
import functools
import math
import os
import pathlib
import re
import resource
import threading
from collections.abc import Iterable, Iterator
from typing import Any

VARIABLE = 'FUSION_JAX_MAX_MEMORY'
_SHARE = 0.5  # Of the memory of the machine.
_CGROUP = pathlib.Path('/sys/fs/cgroup/memory.max')
_UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
_lock = threading.Lock()
_bound: dict[str, Any] = {'depth': 0}
_SIZE = re.compile(r'(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?', re.IGNORECASE)


class MemoryLimitError(ValueError):
  """A file would take more memory than it may; the message names it."""


def parse(text: str) -> int:
  """Returns the bytes of a size such as '8G', '512M' or '1.5GiB'.

  Raises:
    ValueError: if it is no such size, or nothing at all.
  """
  match = _SIZE.fullmatch(text.strip())
  size = float(match[1]) * _UNITS[match[2].upper()] if match else 0
  if size < 1:
    raise ValueError(f'{text!r} is no size of memory such as 8G or 512M')
  return int(size)


def use(text: str) -> None:
  """Sets the limit of this process and of those that it starts.

  Args:
    text: size such as '8G', see `parse`.
  """
  parse(text)
  os.environ[VARIABLE] = text


def limit() -> int:
  """Returns how many bytes one file may take.

  Raises:
    ValueError: if the environment variable holds no size.
  """
  text = os.environ.get(VARIABLE, '')
  if text:
    try:
      return parse(text)
    except ValueError as error:
      raise ValueError(f'{VARIABLE}: {error}') from error
  return int(_SHARE * _of_machine())


def check(num_bytes: float, path: str | os.PathLike[str], what: str) -> None:
  """Checks that something may be taken into memory.

  Args:
    num_bytes: bytes that it takes.
    path: file that states its size.
    what: what it is, as the subject of a sentence.

  Raises:
    MemoryLimitError: if it is larger than the limit.
  """
  most = limit()
  if num_bytes > most:
    needed = math.ceil(num_bytes / 2**30)
    raise MemoryLimitError(
      f'{path}: {what} would take {describe(num_bytes)} of memory, more than '
      f'the limit of {describe(most)}. If the file is not damaged and the '
      f'machine has it, allow it: --max-memory {needed}G, or '
      f'{VARIABLE}={needed}G in the environment.'
    )


@contextlib.contextmanager
def bounded() -> Iterator[None]:
  """Lets the process take no more than the limit beyond what it has.

  For libraries that take what a number in a file asks for, where the number
  cannot be read before: their allocation fails. Where the system has no such
  bound, nothing is done. It holds for all threads: keep what is inside short,
  as another thread that meanwhile takes more than the limit fails as well.
  """
  with _lock:
    _bound['depth'] += 1
    if _bound['depth'] == 1:
      _bound['before'] = resource.getrlimit(resource.RLIMIT_AS)
      _set_addresses(_bound['before'])
  try:
    yield
  finally:
    with _lock:
      _bound['depth'] -= 1
      if not _bound['depth']:
        resource.setrlimit(resource.RLIMIT_AS, _bound['before'])


def _set_addresses(before: tuple[int, int]) -> None:
  """Lowers the limit of addresses to those in use and one file more."""
  try:
    pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])
  except (OSError, ValueError):  # No Linux.
    return
  most = pages * os.sysconf('SC_PAGE_SIZE') + limit()
  if before[0] == resource.RLIM_INFINITY or most < before[0]:
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))


def num_bytes(shape: Iterable[int], itemsize: int) -> int:
  """Returns the bytes of an array, exactly, however large."""
  return math.prod(map(int, shape)) * int(itemsize)


def describe(num_bytes: float) -> str:
  """Returns bytes in words, such as '1.5 GiB'."""
  for unit in ('bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'):
    if num_bytes < 1024 or unit == 'PiB':
      break
    num_bytes /= 1024
  return f'{num_bytes:.4g} {unit}'


@functools.cache
def _of_machine() -> int:
  """Returns the bytes of memory that this process can have."""
  try:
    total = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  except (AttributeError, OSError, ValueError):  # No POSIX.
    total = 2**34
  try:
    return min(total, int(_CGROUP.read_text()))
  except (OSError, ValueError):  # No group, or one without a limit.
    return total
