"""Which shards are finished, and what their notes say, each read once.

A data set has thousands of shards and as many jobs may write it. A job lists
the folder when it starts and when it ends, and reads the notes of its own
shards; the job that finds all shards finished reads the others, once.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from fusion_jax.data.builders import skipped

Note = dict[str, Any]  # What is known of a shard that is whole.


class Shard(Protocol):
  """A shard, by its files."""

  @property
  def path(self) -> pathlib.Path:
    """The file of the examples."""
    ...

  @property
  def note_path(self) -> pathlib.Path:
    """The note that it is finished."""
    ...


class Progress:
  """The notes of the shards of one folder.

  Attributes:
    notes: content of the notes that were read, by the path of their shard.
  """

  def __init__(self, shards: Sequence[Shard], max_bad: float):
    """Reads nothing yet.

    Args:
      shards: all shards of the data set, in the order of their names.
      max_bad: share of the examples, 0..1, that may be unreadable.
    """
    self._shards = shards
    self._limit = skipped.Limit(len(shards), max_bad)
    self.notes: dict[pathlib.Path, Note] = {}

  def unfinished(self, shards: Iterable[Shard]) -> list[Any]:
    """Returns those of some shards that lack their file or their note.

    Two folders are listed, whatever the number of shards.
    """
    listed = {}
    return [
      shard
      for shard in shards
      if shard.path not in self.notes
      and not all(
        path.name in _names(path.parent, listed)
        for path in (shard.path, shard.note_path)
      )
    ]

  def resume(self, shards: Sequence[Shard]) -> list[Any]:
    """Reads the notes of the finished ones of some shards; the others."""
    todo = self.unfinished(shards)
    missing = {shard.path for shard in todo}
    self.read(shard for shard in shards if shard.path not in missing)
    return todo

  def read(self, shards: Iterable[Shard]) -> None:
    """Reads the notes of finished shards, unless they were read."""
    for shard in shards:
      if shard.path not in self.notes:
        note = json.loads(shard.note_path.read_text())
        self.notes[shard.path] = note
        self._limit.add(note)

  def check(self) -> None:
    """Checks that few examples are bad.

    Raises:
      TooManyBadExamples: as soon as more than `max_bad` of the archive is.
    """
    self._limit.check()


def _names(
  folder: pathlib.Path, listed: dict[pathlib.Path, set[str]]
) -> set[str]:
  """The names of the files of a folder, which is listed once."""
  if folder not in listed:
    listed[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
  return listed[folder]
