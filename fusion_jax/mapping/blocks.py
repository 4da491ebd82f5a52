"""Splits a scene into blocks, and keeps the results of finished blocks."""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

_PIXELS = 256 * 256  # Approximate size of a block.
_SETTINGS = 'settings.json'


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

  A file gets its name only when it is complete, so every file that exists can
  be used, however the work was stopped.
  """

  def __init__(
    self,
    folder: str | os.PathLike[str],
    settings: Mapping[str, Any],
    anew: bool = False,
  ):
    """Makes the folder, or continues with the blocks in it.

    Args:
      folder: folder of the files.
      settings: all settings that the content of a block depends on.
      anew: whether to drop finished blocks and start again.

    Raises:
      ValueError: if the folder was begun with other settings.
    """
    self.folder = pathlib.Path(folder)
    settings = json.loads(json.dumps(settings))
    if anew:
      shutil.rmtree(self.folder, ignore_errors=True)
    path = self.folder / _SETTINGS
    if path.exists():
      before = json.loads(path.read_text())
      if other := sorted(
        key
        for key in {**before, **settings}
        if before.get(key) != settings.get(key)
      ):
        raise ValueError(
          f'{self.folder} was begun with another {", ".join(other)}; '
          'finish it as it was begun, or start anew with --overwrite.'
        )
    else:
      self.folder.mkdir(parents=True, exist_ok=True)
      _write(path, lambda file: file.write(json.dumps(settings).encode()))

  def __contains__(self, block: Block) -> bool:
    return self._path(block).exists()

  def write(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
    """Stores the arrays of a block, {name: [Y, X, ...]}."""
    named_arrays = cast(
      Any, arrays
    )  # NumPy's types take any name for an option.
    _write(self._path(block), lambda file: np.savez(file, **named_arrays))

  def read(self, block: Block) -> dict[str, np.ndarray]:
    """Returns the arrays of a block, {name: [Y, X, ...]}."""
    with np.load(self._path(block)) as file:
      return dict(file)

  def remove(self) -> None:
    """Removes the folder."""
    shutil.rmtree(self.folder)

  def _path(self, block: Block) -> pathlib.Path:
    return self.folder / 'block-{:05d}-{:05d}.npz'.format(*block.index)


def _write(path: pathlib.Path, write: Callable[[Any], Any]) -> None:
  """Writes a file under a temporary name, then renames it."""
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  with open(temporary, 'wb') as file:
    write(file)
    file.flush()
    os.fsync(file.fileno())
  temporary.replace(path)
