"""Flips single bits of files, as a failing disk does."""

import contextlib
import random


def files_in(folder):
  """All files under a folder, in the order of their names."""
  return sorted(path for path in folder.rglob('*') if path.is_file())


def places(folder, count, seed=0):
  """Yields `count` random (file, byte, bit); every file is as likely."""
  chosen = random.Random(seed)
  for _ in range(count):
    path = chosen.choice(files_in(folder))
    yield path, chosen.randrange(path.stat().st_size), chosen.randrange(8)


@contextlib.contextmanager
def flipped(path, byte, bit):
  """The bit is flipped while the context is open."""
  flip(path, byte, bit)
  try:
    yield
  finally:
    flip(path, byte, bit)


def flip(path, byte, bit):
  content = bytearray(path.read_bytes())
  content[byte] ^= 1 << bit
  path.write_bytes(content)
