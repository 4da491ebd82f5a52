"""Splits a scene into blocks, and keeps the results of finished blocks."""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from absl import logging

from fusion_jax import checksums

_PIXELS = 256 * 256  # Approximate size of a block.
_SETTINGS, _TARGETS = 'settings.json', 'targets'
_MAGIC, _DIGEST_SIZE = b'fusion_jax block\n', 32  # Bytes before the archive.


@dataclasses.dataclass(frozen=True)
class Block:
  """A rectangle of pixels.

  Attributes:
    rows: slice of the rows of the scene.
    columns: slice of the columns of the scene.
    index: (row, column) of the block.
  """

  rows: slice
  columns: slice
  index: tuple[int, int]

  @property
  def shape(self) -> tuple[int, int]:
    """Numbers of rows and columns."""
    return (
      self.rows.stop - self.rows.start,
      self.columns.stop - self.columns.start,
    )


def block_shape(
  shape: tuple[int, int], chunk: tuple[int, int], block_size: int = 0
) -> tuple[int, int]:
  """Returns rows and columns of blocks that suit how a scene is stored.

  Args:
    shape: rows and columns of the scene.
    chunk: rows and columns that are stored together.
    block_size: pixels per side of a block; 0 takes about 65,536 pixels, in
      whole chunks where these are small, in strips where they span the scene.
  """
  if block_size:
    return min(block_size, shape[0]), min(block_size, shape[1])
  height, width = shape
  if chunk[1] >= width:
    return min(max(_PIXELS // width, 1), height), width
  side = round(_PIXELS**0.5)
  columns = min(max(side // chunk[1], 1) * chunk[1], 4 * side, width)
  return min(max(_PIXELS // columns, 1), height), columns


def split(shape: tuple[int, int], size: tuple[int, int]) -> list[Block]:
  """Returns all blocks of a scene, row by row."""
  return [
    Block(
      slice(y, min(y + size[0], shape[0])),
      slice(x, min(x + size[1], shape[1])),
      (i, j),
    )
    for i, y in enumerate(range(0, shape[0], size[0]))
    for j, x in enumerate(range(0, shape[1], size[1]))
  ]


class Finished:
  """The finished blocks of a map, each in a file of its own.

  A file gets its name only when it is complete, and starts with a checksum of
  its content and of the settings; so every block can be used, or is made
  again, however the work was stopped and whatever the disk did since.

  Attributes:
    folder: folder of the files.
    is_begun: whether the folder was begun with the same settings.
    is_complete: whether all was made with them, and only the folder is left.
  """

  folder: pathlib.Path
  is_begun: bool
  is_complete: bool

  def __init__(
    self,
    folder: str | os.PathLike[str],
    settings: Mapping[str, Any],
    targets: Sequence[str] = (),
    anew: bool = False,
    upgrade: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
  ):
    """Reads what the folder has; writes nothing before `start`.

    Args:
      folder: folder of the files.
      settings: all settings that the content of a block depends on.
      targets: names of the files that the blocks are for.
      anew: whether to drop finished blocks and start again.
      upgrade: function from settings that an earlier version noted to those of
        this one.

    Raises:
      ValueError: if the folder was begun with other settings.
    """
    self.folder = pathlib.Path(folder)
    self._settings = json.loads(json.dumps(settings))
    self._targets = list(targets)
    self._salt = _salt(self._settings)
    self._upgrade = upgrade
    # Gets the settings when all is made, then the folder goes.
    self._mark = self.folder.with_suffix('.mapped')
    if anew:
      shutil.rmtree(self.folder, ignore_errors=True)
      self._mark.unlink(missing_ok=True)
    self.is_begun = self._check_settings(self.folder / _SETTINGS)
    self.is_complete = not self.is_begun and self._has_mark()

  def _has_mark(self) -> bool:
    try:
      return self._check_settings(self._mark)
    except ValueError:  # It is of another map.
      return False

  def _check_settings(self, path: pathlib.Path) -> bool:
    """Whether a file says that the folder was begun with these settings."""
    if not path.exists():
      return False
    try:
      before, has_digest = checksums.loads(path.read_bytes(), _SETTINGS)
      if not has_digest and _TARGETS in before:
        raise checksums.ChecksumError('its checksum is damaged')
    except checksums.ChecksumError:
      logging.warning('%s is damaged; it is written again.', path)
      return False
    targets = before.pop(_TARGETS, self._targets)  # Earlier versions: none.
    then = {**self._upgrade(before), _TARGETS: targets}
    now = {**self._settings, _TARGETS: self._targets}
    if then.keys() != now.keys():
      raise ValueError(
        f'{self.folder} was begun by another version, which noted '
        f'{", ".join(sorted(then.keys() ^ now.keys()))} in another way; finish '
        'it with that version, or start anew with --overwrite.'
      )
    if other := sorted(key for key in now if then[key] != now[key]):
      raise ValueError(
        f'{self.folder} was begun with another {", ".join(other)}; '
        'finish it as it was begun, or start anew with --overwrite.'
      )
    # The checksums of its blocks are of the settings as they were noted.
    self._salt = _salt(before)
    return True

  def start(self) -> None:
    """Makes the folder, unless it was begun."""
    if not self.is_begun:
      self.is_complete = False
      self._mark.unlink(missing_ok=True)
      self._salt = _salt(self._settings)
      self.folder.mkdir(parents=True, exist_ok=True)
      content = {**self._settings, _TARGETS: self._targets}
      _write(self.folder / _SETTINGS, checksums.dumps(content).encode())

  def __contains__(self, block: Block) -> bool:
    """Whether a block is finished; a damaged file is removed."""
    path = self._path(block)
    try:
      return bool(self._content(block))
    except FileNotFoundError:
      return False
    except checksums.ChecksumError:
      logging.warning('%s is damaged; the block is made again.', path)
      path.unlink()
      return False

  def write(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
    """Stores the arrays of a block, {name: [Y, X, ...]}."""
    buffer = io.BytesIO()
    # NumPy's types take any name for an option.
    np.savez(buffer, **cast(Any, arrays))
    content = buffer.getvalue()
    _write(self._path(block), _MAGIC + self._digest(content) + content)

  def read(self, block: Block) -> dict[str, np.ndarray]:
    """Returns the arrays of a block, {name: [Y, X, ...]}.

    Raises:
      FileNotFoundError: if it is not finished.
      ChecksumError: if its file is not what was written.
    """
    with np.load(io.BytesIO(self._content(block))) as file:
      return dict(file)

  def _content(self, block: Block) -> bytes:
    """Returns the archive of a block; raises as `read` does."""
    content = self._path(block).read_bytes()
    if content.startswith(_MAGIC):
      start = len(_MAGIC) + _DIGEST_SIZE
      digest, content = content[len(_MAGIC) : start], content[start:]
      is_whole = digest == self._digest(content)
    else:  # A file of an earlier version has the checksums of its archive.
      is_whole = self.is_begun and _is_sound_archive(content)
    if not is_whole:
      raise checksums.ChecksumError(
        f'{self._path(block)} is not what was written; run the same command '
        'again, which makes the block again.'
      )
    return content

  def remove(self) -> None:
    """Removes the folder, which all was made from.

    One step says that all is made. If the rest is stopped, the next call with
    these settings finds `is_complete`.
    """
    if not self.is_complete:
      (self.folder / _SETTINGS).replace(self._mark)
    if self.folder.exists():
      shutil.rmtree(self.folder)
    self._mark.unlink()

  def _digest(self, content: bytes) -> bytes:
    return hashlib.blake2b(
      self._salt + content, digest_size=_DIGEST_SIZE
    ).digest()

  def _path(self, block: Block) -> pathlib.Path:
    return self.folder / 'block-{:05d}-{:05d}.npz'.format(*block.index)


def _salt(settings: Mapping[str, Any]) -> bytes:
  return json.dumps(settings, sort_keys=True).encode()


def _is_sound_archive(content: bytes) -> bool:
  """Whether the members of an archive of NumPy have their checksums."""
  if not content.startswith(b'PK'):  # zipfile passes over other bytes.
    return False
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
      return bool(file.namelist()) and file.testzip() is None
  except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
    return False


def _write(path: pathlib.Path, content: bytes) -> None:
  """Writes a file under a temporary name, then renames it."""
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  with open(temporary, 'wb') as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
  temporary.replace(path)
