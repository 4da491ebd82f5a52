"""How much compressed bytes can become, told without decompressing them.

The header of Blosc, LZ4 and most of Zstandard states it, and the codecs take as
much memory as it states. A byte of DEFLATE stands for at most 1032; where that
could be too much, the bytes are decompressed piece by piece and counted.
"""

import bz2
import struct
import zlib
from collections.abc import Callable
from typing import Any

_MOST_DEFLATED = 1032
_PIECE = 2**20
_ZSTD_MAGIC, _ZSTD_SKIPPED = 0xFD2FB528, 0x184D2A50
_ZSTD_BLOCK = 2**17  # Bytes of a block of Zstandard at most.


def exceeds(codec: str, data: bytes, most: int) -> bool:
  """Returns whether compressed bytes become more than a number of bytes.

  Bytes that are no such compressed bytes do not: their codec refuses them.

  Args:
    codec: name of the codec, one of `CODECS`.
    data: compressed bytes.
    most: number of bytes that they may become.
  """
  try:
    return CODECS[codec](data, most)
  except (zlib.error, OSError, ValueError, EOFError, struct.error, IndexError):
    return False


def _blosc(data, most):
  return len(data) >= 16 and struct.unpack_from('<I', data, 4)[0] > most


def _lz4(data, most):
  return len(data) >= 4 and struct.unpack_from('<I', data, 0)[0] > most


def _deflated(data, most):
  if _MOST_DEFLATED * len(data) <= most:
    return False
  return _grows(lambda: zlib.decompressobj(wbits=47), data, most)


def _bz2(data, most):
  return _grows(bz2.BZ2Decompressor, data, most)


def _grows(make: Callable[[], Any], data: bytes, most: int) -> bool:
  """Decompresses piece by piece, and counts; streams may follow each other."""
  total, rest = 0, bytes(data)
  while rest:
    decompressor = make()
    while not decompressor.eof:
      piece = decompressor.decompress(rest, _PIECE)
      total += len(piece)
      if total > most:
        return True
      rest = getattr(decompressor, 'unconsumed_tail', b'')
      if (
        not piece
        and not decompressor.eof
        and (not rest or getattr(decompressor, 'needs_input', False))
      ):
        return False  # Cut short.
    rest = decompressor.unused_data
  return False


def _zstd(data, most):
  """Adds up the sizes of frames: stated, or by the number of their blocks."""
  total, at = 0, 0
  while at + 4 <= len(data):
    (magic,) = struct.unpack_from('<I', data, at)
    if magic & 0xFFFFFFF0 == _ZSTD_SKIPPED:
      at += 8 + struct.unpack_from('<I', data, at + 4)[0]
      continue
    if magic != _ZSTD_MAGIC:
      return False
    stated, at, has_checksum = _frame_header(data, at + 4)
    blocks, at = _blocks(data, at)
    total += stated if stated is not None else blocks * _ZSTD_BLOCK
    if total > most:
      return True
    at += 4 * has_checksum
  return False


def _frame_header(data, at):
  """Returns (stated size or None, its end, whether a checksum follows)."""
  descriptor = data[at]
  at += 1
  single = bool(descriptor & 0x20)
  at += (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
  width = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
  stated = None
  if width:
    stated = int.from_bytes(data[at : at + width], 'little')
    stated += 256 if width == 2 else 0
  return stated, at + width, bool(descriptor & 4)


def _blocks(data, at):
  """Returns the number of blocks from a place on, and where they end."""
  count, last = 0, False
  while not last and at + 3 <= len(data):
    header = int.from_bytes(data[at : at + 3], 'little')
    last, kind = bool(header & 1), header >> 1 & 3
    at += 3 + (1 if kind == 1 else header >> 3)  # Of a run, one byte is kept.
    count += 1
  return count, at


# {codec: whether bytes [n] become more than a number}.
CODECS: dict[str, Callable[[bytes, int], bool]] = {
  'blosc': _blosc,
  'lz4': _lz4,
  'zlib': _deflated,
  'gzip': _deflated,
  'bz2': _bz2,
  'zstd': _zstd,
}
