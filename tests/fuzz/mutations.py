"""Ways to damage a file, each drawn from a generator of random numbers."""

import io
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np

_HEAD = 1024  # Most headers lie here.
_NUMBERS = [
  struct.pack(order + kind, value)
  for order in '<>'
  for kind, values in {
    'H': (0xFFFF, 0x7FFF),
    'I': (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 2**28, 2**30),
    'Q': (2**64 - 1, 2**63 - 1, 2**63, 2**36, 2**40, 2**56),
  }.items()
  for value in values
]
_WORDS = (
  b'99999999999',
  b'-1',
  b'1e400',
  b'NaN',
  b'0',
  b'340282366920938463463374607431768211456',
  b'null',
  b'{}',
  b'""',
  b'[]',
)


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
  """Returns a damaged copy of the bytes of a file.

  Args:
    content: the bytes.
    rng: where choices come from.
  """
  chosen = [*_BYTES]
  if zipfile.is_zipfile(io.BytesIO(content)):
    chosen += 8 * [_zip]
  elif content[257:262] == b'ustar':
    chosen += 8 * [_tar]
  elif _is_text(content):
    chosen += [_word, _word, _nested, _line]
  for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
    content = chosen[rng.integers(len(chosen))](content, rng)
  return content


def _is_text(content):
  try:
    return '\0' not in content[:2000].decode()
  except UnicodeDecodeError:
    return False


def _place(content, rng):
  """Returns a place, half of the time in the head of the file."""
  end = len(content) if rng.random() < 0.5 else min(len(content), _HEAD)
  return int(rng.integers(max(end, 1)))


def _flip(content, rng):
  damaged = bytearray(content)
  for _ in range(int(rng.integers(1, 8))):
    if damaged:
      damaged[_place(content, rng)] ^= 1 << int(rng.integers(8))
  return bytes(damaged)


def _cut(content, rng):
  return content[: _place(content, rng)]


def _number(content, rng):
  """Makes a number of a header huge, at an even place."""
  at, number = _place(content, rng), _NUMBERS[rng.integers(len(_NUMBERS))]
  at -= at % min(len(number), 4)
  return content[:at] + number + content[at + len(number) :]


def _zeros(content, rng):
  at, size = _place(content, rng), int(rng.integers(1, 200))
  size = min(size, len(content) - at)
  return content[:at] + bytes(size) + content[at + size :]


def _splice(content, rng):
  """Puts a piece of the file in another place of it."""
  start, to = _place(content, rng), _place(content, rng)
  piece = content[start : start + int(rng.integers(1, 300))]
  return content[:to] + piece + content[to + len(piece) * rng.integers(2) :]


def _swap(content, rng):
  """Exchanges two pieces of one size."""
  size = int(rng.integers(1, 100))
  a, b = sorted((_place(content, rng), _place(content, rng)))
  if b < a + size:
    return content
  return (
    content[:a]
    + content[b : b + size]
    + content[a + size : b]
    + content[a : a + size]
    + content[b + size :]
  )


def _word(content, rng):
  """Puts another value in the place of a number or a word of a text."""
  words = [*re.finditer(rb'-?[\w.]+|"[^"]*"', content[: 2**16])]
  if not words:
    return content
  word = words[rng.integers(len(words))]
  other = _WORDS[rng.integers(len(_WORDS))]
  return content[: word.start()] + other + content[word.end() :]


def _nested(content, rng):
  at = _place(content, rng)
  deep = int(rng.choice([90, 2000, 100_000]))
  opened, closed = [(b'[', b']'), (b'{"a":', b'}')][rng.integers(2)]
  return content[:at] + opened * deep + closed * deep + content[at:]


def _line(content, rng):
  """Repeats, drops or exchanges lines."""
  lines = content.split(b'\n')
  a, b = rng.integers(len(lines), size=2)
  lines[a] = [lines[b], b'', lines[a] + b',' + lines[b]][rng.integers(3)]
  return b'\n'.join(lines)


def _members(contents, rng):
  """Damages a member of an archive, or exchanges the content of two."""
  names = list(contents)
  if not names:
    return contents
  a, b = (names[i] for i in rng.integers(len(names), size=2))
  kind = rng.integers(4)
  if kind == 0:
    contents[a], contents[b] = contents[b], contents[a]
  elif kind == 1:
    del contents[a]
  else:
    contents[a] = mutate(contents[a], rng)
  return contents


def _zip(content, rng):
  """Damages what is inside of a zip file, whose checksums are then right."""
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      contents = {name: archive.read(name) for name in archive.namelist()}
  except Exception:  # It was damaged before.
    return content
  result, contents = io.BytesIO(), _members(contents, rng)
  kind = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED][rng.integers(2)]
  with zipfile.ZipFile(result, 'w', kind) as archive:
    for name, member in contents.items():
      archive.writestr(name, member)
  return result.getvalue()


def _tar(content, rng):
  """Damages what is inside of a tar."""
  contents = {}
  try:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
      for info in archive:
        file = archive.extractfile(info)
        contents[info.name] = file.read() if file else b''
  except Exception:  # It was damaged before.
    return content
  result, contents = io.BytesIO(), _members(contents, rng)
  with tarfile.open(fileobj=result, mode='w') as archive:
    for name, member in contents.items():
      info = tarfile.TarInfo(name)
      info.size = len(member)
      archive.addfile(info, io.BytesIO(member))
  return result.getvalue()


_BYTES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
  _flip,
  _flip,
  _cut,
  _number,
  _number,
  _zeros,
  _splice,
  _swap,
)
