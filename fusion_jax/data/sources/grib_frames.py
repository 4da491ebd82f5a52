"""Where the messages of a GRIB file begin and end, and which are damaged.

A message begins with `GRIB`, states its length, and ends with `7777`. ecCodes
looks for the next `GRIB` and may take what follows a cut for a part of the
message; here the end has to stand where the length says.
"""

import mmap
import os
from collections.abc import Iterator
from typing import NamedTuple

_BEGIN, _END = b'GRIB', b'7777'
_HEAD = 16  # Bytes with the edition and the length.
_LONG = 0x800000  # Marks the length of a GRIB 1 message above 8 MB.


class Frame(NamedTuple):
  """A message of a file.

  Attributes:
    number: number in the file, counted from 1; damaged ones count, too.
    offset: first byte in the file.
    problem: what is wrong with it; '' if it is whole.
  """

  number: int
  offset: int
  problem: str


def scan(path: str | os.PathLike[str]) -> Iterator[Frame]:
  """Yields the messages of a file; of each, a few bytes are read.

  Args:
    path: path of the file.
  """
  if not os.path.getsize(path):
    return
  with (
    open(path, 'rb') as file,
    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
  ):
    number, end = 0, 0
    while (offset := content.find(_BEGIN, end)) >= 0 or end < len(content):
      stop = offset if offset >= 0 else len(content)
      if content.rfind(_END, end, stop) >= 0:  # An end without a beginning.
        number += 1
        yield Frame(
          number, end, f'its beginning is missing: byte {end} is no {_BEGIN!r}'
        )
      if offset < 0:
        return
      number += 1
      length = _length(content, offset)
      problem = _problem(content, offset, length)
      yield Frame(number, offset, problem)
      end = _next(content, offset) if problem else offset + length


def _next(content: mmap.mmap, offset: int) -> int:
  """The byte from which to look on, after a damaged message."""
  following = content.find(_BEGIN, offset + len(_BEGIN))
  return following if following >= 0 else len(content)


def _problem(content: mmap.mmap, offset: int, length: int) -> str:
  """What is wrong with a message, by its edition, length and end."""
  left = len(content) - offset
  if not length and left < _HEAD:
    return f'it is cut after {left} bytes'
  if not length:
    return 'it is of no edition that is known (1 or 2)'
  if length > left:
    return f'it is cut after {left} of {length} bytes'
  end = content[offset + length - len(_END) : offset + length]
  if end != _END:
    return f'it does not end after {length} bytes, as its head says'
  return ''


def _length(content: mmap.mmap, offset: int) -> int:
  """The length that a message states in bytes; 0 if it cannot be one."""
  head = content[offset : offset + _HEAD]
  if len(head) == _HEAD and head[7] == 2:
    return int.from_bytes(head[8:16], 'big')
  if len(head) < _HEAD or head[7] != 1:
    return 0
  length = int.from_bytes(head[4:7], 'big')
  if length < _LONG:
    return length
  # ECMWF's form of long messages: in units of 120 bytes, less what the length
  # of the data section says.
  position = offset + 8 + int.from_bytes(head[8:11], 'big')
  for mask in (0x80, 0x40):  # Grid and bit map are optional.
    if head[15] & mask:
      position += int.from_bytes(content[position : position + 3], 'big')
  rest = int.from_bytes(content[position : position + 3], 'big')
  return (length & ~_LONG) * 120 - rest + 4 if rest < 120 else length
