"""Reads records from the shards of a split, on a disk that may fail.

A read that fails is repeated with a new reader. What still fails after that
ends the run and names the shard: an example that was left out would change the
order of all that follow, and with it every result.
"""

import bisect
import collections
import contextlib
import itertools
import pathlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging
from array_record.python import array_record_data_source

# Seconds before each repetition of a read: a network file system that is
# failing over needs some.
_WAITS_S = (0.1, 1.0, 5.0)

# Makes a shard present: from its number and whether the one that is there is
# damaged.
Fetch = Callable[[int, bool], None]


class ReadError(OSError):
  """A record cannot be read; the message names the shard."""


class ShardFiles:
  """The records of several ArrayRecord files, by their number.

  Attributes:
    errors: {name of a shard: number of reads of it that failed}; those that
      succeeded when they were repeated count, too.
  """

  errors: collections.Counter[str]

  def __init__(
    self,
    paths: Sequence[pathlib.Path],
    lengths: Sequence[int],
    fetch: Fetch | None = None,
  ) -> None:
    """Opens the files.

    Args:
      paths: paths of the shards.
      lengths: number of records of each.
      fetch: function that makes a shard present before it is first read; None
        if all are, which are then opened at once and counted.

    Raises:
      RuntimeError: if a file is damaged.
      ValueError: if the files hold another number of records.
    """
    self.errors = collections.Counter()
    self._paths = list(paths)
    self._ends = list(itertools.accumulate(lengths))
    self._fetch = fetch
    self._lock = threading.Lock()
    # Readers: of all shards together; of each that was fetched or opened anew.
    self._all: Any = None
    self._each: dict[int, Any] = {}
    if fetch is None and paths:
      self._all = _open(self._paths)
      if len(self._all) != len(self):
        raise ValueError(f'{len(self._all)} examples, not the {len(self)}')

  def __len__(self) -> int:
    """Returns the number of records."""
    return self._ends[-1] if self._ends else 0

  def __getitem__(self, index: int) -> bytes:
    """Returns record number `index`, counted from 0.

    Raises:
      IndexError: if there is no such record.
      ReadError: if it cannot be read, after several tries.
    """
    if not 0 <= index < len(self):
      raise IndexError(f'There is no record {index} among {len(self)}.')
    shard = bisect.bisect_right(self._ends, index)
    record = index - (self._ends[shard - 1] if shard else 0)
    if self._fetch is not None:
      self._make_present(shard)
    for wait in (*_WAITS_S, None):
      try:
        reader = self._each.get(shard)
        return self._all[index] if reader is None else reader[record]
      except Exception as error:  # ArrayRecord raises RuntimeErrors and others.
        self._note(shard, record, wait, error)
      time.sleep(wait or 0)
      with contextlib.suppress(Exception):  # Then the next try fails, too.
        self._each[shard] = _open([self._paths[shard]])
    raise AssertionError('The last try returns or raises.')

  def _make_present(self, shard: int) -> None:
    """Fetches and opens a shard unless it is open."""
    if shard in self._each:
      return
    assert self._fetch is not None
    for is_damaged in (False, True):
      self._fetch(shard, is_damaged)
      try:
        reader = _open([self._paths[shard]])
        length = self._ends[shard] - (self._ends[shard - 1] if shard else 0)
        if len(reader) != length:
          raise RuntimeError(f'it has {len(reader)} records, not {length}')
      except RuntimeError as error:
        self._count(shard)
        logging.warning('%s is damaged: %s.', self._paths[shard], error)
        cause = error
      else:
        self._each[shard] = reader
        return
    raise ReadError(
      f'{self._paths[shard].name} is damaged where it was fetched from '
      f'({_one_line(cause)}); upload it, or prepare the data set, again.'
    )

  def _note(
    self, shard: int, record: int, wait: float | None, error: Exception
  ) -> None:
    """Counts a failed read; raises if it was the last try."""
    path, count = self._paths[shard], self._count(shard)
    message = f'Record {record} of {path} cannot be read: {_one_line(error)}'
    if wait is None:
      raise ReadError(
        f'{message} ({len(_WAITS_S) + 1} tries, {count} errors of this shard '
        'so far). Copy the shard again, or see to the disk, then run the same '
        'command to resume.'
      ) from error
    logging.warning(
      '%s (error %d of this shard); it is read again in %.1f s.',
      message,
      count,
      wait,
    )

  def _count(self, shard: int) -> int:
    """Counts an error of a shard; returns how many it has had."""
    with self._lock:
      self.errors[self._paths[shard].name] += 1
      return self.errors[self._paths[shard].name]


def _open(paths: Sequence[pathlib.Path]) -> Any:
  """Returns a reader of the records of some files."""
  return array_record_data_source.ArrayRecordDataSource(
    [str(path) for path in paths]
  )


def _one_line(error: Exception) -> str:
  """Returns the message of an error without its line breaks."""
  return ' '.join(str(error).split()) or type(error).__name__
