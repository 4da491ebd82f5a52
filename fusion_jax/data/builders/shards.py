"""Writes the shards of a data set in any number of processes.

A shard is written under a temporary name and renamed. Then a note beside it
(`.notes/*.json` with its length and the skipped examples, and `*.statistics`)
marks it as finished. So a killed run continues with the first shard that has no
note, and a process that finds all notes writes the metadata of the folder.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import tqdm
from absl import logging

from fusion_jax.data import examples, readers
from fusion_jax.data.builders import (
  layout,
  metadata,
  skipped,
  statistics,
  workers,
  writer,
)

_MIN_SHARDS = 8

Note = dict[str, Any]  # What is known of a shard that is whole.


@dataclasses.dataclass(frozen=True)
class Indexed:
  """A reader of examples of random access, whose parts are ranges of numbers.

  Attributes:
    source: the examples.
    examples_per_shard: largest number of examples in one file. A split has at
      least `_MIN_SHARDS` files, for as many processes.
  """

  source: readers.IndexedExamples
  examples_per_shard: int = 256

  @property
  def schema(self) -> readers.Schema:
    """The fields of the first example, which are those of all examples."""
    split = next(iter(self.source.splits))
    return examples.schema_of(self.source.example(split, 0))

  def parts(self) -> dict[str, list[tuple[int, int]]]:
    """Returns ranges of numbers, (first, last + 1), of every split."""
    parts = {}
    for split, total in self.source.splits.items():
      size = max(min(self.examples_per_shard, -(-total // _MIN_SHARDS)), 1)
      parts[split] = [
        (start, min(start + size, total)) for start in range(0, total, size)
      ]
    return parts

  def read(
    self, split: str, part: tuple[int, int]
  ) -> Iterator[readers.Example | readers.Skipped]:
    """Yields the examples of a range."""
    for i in range(*part):
      yield self.source.example(split, i)


@dataclasses.dataclass(frozen=True)
class Job:
  """One shard to write.

  Attributes:
    out: folder of the data set.
    split: name of the split.
    index: number of the shard, counted from 0.
    total: number of shards of the split.
    part: part of the reader, the content of the shard.
  """

  out: str
  split: str
  index: int
  total: int
  part: Any

  @property
  def path(self) -> pathlib.Path:
    """The file of the shard."""
    name = layout.shard_name(self.split, self.index, self.total)
    return pathlib.Path(self.out) / name

  def __str__(self) -> str:
    return str(self.path)

  @property
  def note_path(self) -> pathlib.Path:
    """Path of the note that the shard is finished."""
    return self.path.parent / layout.NOTES / f'{self.path.name}.json'

  @property
  def statistics_path(self) -> pathlib.Path:
    """The file with the statistics of the shard."""
    return self.note_path.with_suffix('.statistics')

  def note(self) -> Note | None:
    """The note about the finished shard; None before it is finished."""
    if self.path.exists() and self.note_path.exists():
      return json.loads(self.note_path.read_text())
    return None


def jobs(source: readers.Reader, out: str | os.PathLike[str]) -> list[Job]:
  """All shards of a data set, in the order of their names."""
  return [
    Job(str(out), split, index, len(parts), part)
    for split, parts in source.parts().items()
    for index, part in enumerate(parts)
  ]


def read(
  source: readers.Reader,
  split: str,
  part: Any,
  schema: readers.Schema,
  note: Note,
) -> Iterator[readers.Example]:
  """Yields the complete examples of a part, and counts them.

  Args:
    source: reader of the examples, see the package's docstring.
    split: name of the split.
    part: one of `source.parts()[split]`.
    schema: fields of the data set, which are those of every part.
    note: dict that gets 'num_examples', 'skipped', [[key, reason], ...], and,
      after the last example, 'statistics' (for 'train' only).
  """
  codec = examples.Codec(schema)
  counted = statistics.Statistics(schema)
  note |= {'num_examples': 0, 'skipped': []}
  for example in source.read(split, part):
    if isinstance(example, readers.Skipped):
      note['skipped'].append(list(example))
      continue
    example = codec.complete(example)
    note['num_examples'] += 1
    if split == 'train':
      counted.add(example)
    yield example
  note['statistics'] = counted.state()


def write(
  job: Job,
  source: readers.Reader,
  schema: readers.Schema,
  compression: str = 'uncompressed',
) -> None:
  """Writes one shard, then its note.

  Args:
    job: the shard.
    source: reader of the examples, see the package's docstring.
    schema: fields of the data set, which are those of every shard.
    compression: compression of ArrayRecord: 'zstd:1', 'uncompressed', ...
  """
  codec = examples.Codec(schema)
  note: Note = {'num_bytes': 0}
  job.path.parent.mkdir(parents=True, exist_ok=True)
  temporary = layout.temporary_name(job.path)
  file = writer.open_file(temporary, compression)
  try:
    for example in read(source, job.split, job.part, schema, note):
      record = codec.encode(example)
      file.write(record)
      note['num_bytes'] += len(record)
    file.close()
    os.replace(temporary, job.path)
  finally:
    pathlib.Path(temporary).unlink(missing_ok=True)
  layout.write_whole(job.statistics_path, json.dumps(note.pop('statistics')))
  layout.write_whole(job.note_path, json.dumps(note))


def build(
  source: readers.Reader,
  out: str | os.PathLike[str],
  *,
  schema: readers.Schema | None = None,
  num_workers: int = 1,
  share: tuple[int, int] = (0, 1),
  max_bad: float = 0.01,
  compression: str = 'uncompressed',
  command: str = '',
) -> bool:
  """Writes this process's share of the shards, and at the end the metadata.

  Args:
    source: reader of the examples, see the package's docstring.
    out: folder of the data set; its finished shards are kept.
    schema: fields of the examples, by default the reader's.
    num_workers: number of processes on this machine.
    share: (i, n): every n-th shard from the i-th, for job arrays.
    max_bad: share of the examples, 0..1, that may be unreadable.
    compression: compression of the records, see `write`.
    command: command line that `statistics.json` keeps.

  Returns:
    Whether the data set is complete: False while other processes' shards are
    missing.

  Raises:
    TooManyBadExamples: as soon as more than `max_bad` of the archive is bad.
    InputError: if a worker cannot use a file.
    RuntimeError: if a worker fails otherwise. After any of them, the same call
      continues.
  """
  schema = schema or source.schema
  all_jobs = jobs(source, out)
  todo = [job for job in all_jobs[share[0] :: share[1]] if job.note() is None]
  done = workers.run(
    write, todo, (source, schema, compression), min(num_workers, len(todo))
  )
  _watch(done, todo, all_jobs, max_bad)
  notes = _notes(all_jobs)
  skipped.check(notes.values(), len(all_jobs), max_bad)
  if len(notes) < len(all_jobs):
    logging.info(
      '%d of %d shards are written; the process that writes the '
      'last one finishes %s.',
      len(notes),
      len(all_jobs),
      out,
    )
    return False
  _finish(out, schema, notes, command)
  # These are left by killed processes. Other temporary files may be in use: if
  # the last shards are finished at once, several processes finish the folder.
  for leftover in pathlib.Path(out).glob(f'{layout.RECORDS}.tmp-*'):
    leftover.unlink(missing_ok=True)
  return True


def _watch(
  done: Generator[Job],
  todo: Sequence[Job],
  all_jobs: Sequence[Job],
  max_bad: float,
) -> None:
  """Logs finished shards, and stops if too many examples are bad."""
  notes = _notes(all_jobs)
  on_terminal = sys.stderr.isatty()
  with contextlib.closing(done):  # Stops the workers if too many are bad.
    for job in tqdm.tqdm(done, 'shards', len(todo), disable=not on_terminal):
      note = job.note()
      assert note is not None  # It has just been written.
      notes[job] = note
      skipped.check(notes.values(), len(all_jobs), max_bad)
      if not on_terminal:
        logging.info('Wrote %s.', job.path)


def _finish(
  out: str | os.PathLike[str],
  schema: readers.Schema,
  notes: dict[Job, Note],
  command: str,
) -> None:
  """Writes the metadata from the notes of all shards."""
  sizes = {}
  for job, note in notes.items():
    sizes.setdefault(job.split, []).append(
      (note['num_examples'], note['num_bytes'])
    )
  metadata.finish(
    out,
    schema,
    sizes,
    (
      note | {'statistics': json.loads(job.statistics_path.read_text())}
      for job, note in notes.items()
    ),
    command,
  )


def _notes(all_jobs: Sequence[Job]) -> dict[Job, Note]:
  """Returns the notes of the finished shards."""
  notes = {job: job.note() for job in all_jobs}
  return {job: note for job, note in notes.items() if note}
