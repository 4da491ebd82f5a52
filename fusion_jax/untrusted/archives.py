"""Zip files and the arrays of NumPy's formats, of sizes that are checked."""

import contextlib
import os
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from fusion_jax.untrusted import memory
from fusion_jax.untrusted.reading import reading

_MOST_DEFLATED = 1032  # Bytes that a byte of DEFLATE can stand for.
_SLACK = 2**16
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_zip(archive: zipfile.ZipFile, path: str | os.PathLike[str]) -> None:
  """Checks what the members of a zip file would take in memory.

  Args:
    archive: open zip file.
    path: its path, for messages.

  Raises:
    ValueError: if they take more than the limit, or state a size that their
      bytes cannot hold.
  """
  check_members(archive.infolist(), path)


def check_members(
  infos: Sequence[zipfile.ZipInfo], path: str | os.PathLike[str]
) -> None:
  """Checks some members of a zip file; see `check_zip`."""
  memory.check(
    sum(info.file_size for info in infos), path, 'the content of the zip'
  )
  for info in infos:
    if info.compress_type not in _PLAIN:
      raise ValueError(
        f'{path}: {info.filename} is compressed by method '
        f'{info.compress_type} of zip files, which is not read; store it, or '
        'use DEFLATE.'
      )
    factor = _MOST_DEFLATED if info.compress_type else 1
    if info.file_size > factor * info.compress_size + _SLACK:
      raise ValueError(
        f'{path}: {info.filename} states {info.file_size} bytes, which its '
        f'{info.compress_size} bytes cannot hold; the file is damaged.'
      )


@contextlib.contextmanager
def open_npz(path: str | os.PathLike[str]) -> Iterator[Any]:
  """Opens an .npz file after a check of the headers of its arrays.

  Args:
    path: path of the file.

  Yields:
    What `np.load` returns, closed at the end of the block.

  Raises:
    OSError: if there is no such file.
    ValueError: if it is damaged, holds objects of Python, or an array that
      would take more memory than allowed; the message names the file.
  """
  # np.load leaves a file open that it cannot read.
  with open(path, 'rb') as raw, reading(path, '.npz file', 'write it again'):
    if not zipfile.is_zipfile(raw):
      raise ValueError('it is cut short or no .npz file')
    with zipfile.ZipFile(raw) as archive:
      check_zip(archive, path)
      for info in archive.infolist():
        with archive.open(info) as member:
          _check_header(member, info.file_size, f'{path}: {info.filename}')
    raw.seek(0)
    with np.load(raw, allow_pickle=False) as file:
      yield file


def read_npy(path: str | os.PathLike[str], mapped: bool = False) -> np.ndarray:
  """Returns the array of an .npy file after a check of its header.

  Args:
    path: path of the file.
    mapped: whether to map it into memory and leave it on disk.

  Raises:
    OSError: if there is no such file.
    ValueError: as `open_npz`.
  """
  path = pathlib.Path(path)
  with reading(path, '.npy file', 'write it again'):
    with open(path, 'rb') as file:
      size = path.stat().st_size
      _check_header(file, size, path, in_memory=not mapped)
    return np.load(path, 'r' if mapped else None, allow_pickle=False)


def _check_header(
  file: IO[bytes],
  size: int,
  name: str | os.PathLike[str],
  in_memory: bool = True,
) -> None:
  """Checks the header of an array against the size of its file."""
  version = np.lib.format.read_magic(file)
  readers = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }
  if version not in readers:
    raise ValueError(f'{name} is of version {version} of .npy, not 1.0 or 2.0')
  shape, _, dtype = readers[version](file)
  if dtype.hasobject:
    raise ValueError(
      f'{name} holds objects of Python, which could run code; store plain '
      'numbers or strings'
    )
  stated = memory.num_bytes(shape, dtype.itemsize)
  if stated > size - file.tell() or min(shape, default=0) < 0:
    raise ValueError(
      f'{name} states an array {shape} of {stated} bytes, but has '
      f'{size - file.tell()}; it is damaged'
    )
  if in_memory:
    memory.check(stated, name, 'the array')
