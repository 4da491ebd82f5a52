"""What compressed bytes become is known before they are decompressed."""

import bz2
import contextlib
import gzip
import struct
import zlib

import numcodecs
import numpy as np
import pytest

from fusion_jax.untrusted import compressed

ZEROS = bytes(5_000_000)
NOISE = np.random.default_rng(0).bytes(100_000)
ENCODE = {
  'zlib': zlib.compress,
  'gzip': gzip.compress,
  'bz2': bz2.compress,
  'zstd': numcodecs.Zstd(3).encode,
  'blosc': numcodecs.Blosc('lz4').encode,
  'lz4': numcodecs.LZ4().encode,
}


@pytest.mark.parametrize('codec', compressed.CODECS)
@pytest.mark.parametrize('content', [ZEROS, NOISE])
def test_the_size_of_real_chunks_is_known(codec, content):
  data = bytes(ENCODE[codec](content))
  assert not compressed.exceeds(codec, data, len(content))
  assert compressed.exceeds(codec, data, len(content) // 2)


@pytest.mark.parametrize('codec', ['zlib', 'gzip', 'bz2', 'zstd'])
def test_streams_that_follow_each_other_are_added(codec):
  data = 3 * bytes(ENCODE[codec](ZEROS))
  if codec == 'zlib':  # Its codec stops after the first.
    return
  assert not compressed.exceeds(codec, data, 3 * len(ZEROS))
  assert compressed.exceeds(codec, data, 2 * len(ZEROS))


def test_zstd_without_a_stated_size_is_bounded_by_its_blocks():
  # Magic, no size, a window of 1 MiB, then runs of 128 KiB of one byte.
  run = (2**17 << 3 | 1 << 1).to_bytes(3, 'little')
  last = (2**17 << 3 | 1 << 1 | 1).to_bytes(3, 'little')
  head = struct.pack('<I', 0xFD2FB528) + bytes([0x00, 0x50])
  data = head + 9 * (run + b'\0') + last + b'\0'
  assert len(data) < 50
  with contextlib.suppress(RuntimeError):  # Of older ones, that refuse it.
    assert len(numcodecs.Zstd().decode(data)) == 10 * 2**17
  assert compressed.exceeds('zstd', data, 9 * 2**17)
  assert not compressed.exceeds('zstd', data, 10 * 2**17)


@pytest.mark.parametrize('codec', compressed.CODECS)
@pytest.mark.parametrize('size', [0, 1, 3, 7, 20])
def test_what_is_no_such_stream_is_left_to_the_codec(codec, size):
  assert not compressed.exceeds(codec, b'\x01' * size, 2**60)
