"""Writes the shards of a data set in any number of processes, or by Beam.

A shard is written under a temporary name and renamed. Then a note beside it
(`.notes/*.json` with its length and the skipped examples, and `*.statistics`)
marks it as finished. So a killed run continues with the first shard that has no
note, and a process that finds all notes writes the metadata of the folder.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any, cast

import tqdm
from absl import logging

from fusion_jax.data import examples, readers
from fusion_jax.data.builders import (
  ahead,
  beam_route,
  layout,
  metadata,
  progress,
  report,
  series,
  statistics,
  weather,
  workers,
  writer,
)

_MIN_SHARDS = 8

# Readers whose weather is read for many shards at once.
_JOINED = (weather.WithWeather, series.Windows)


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
  note: progress.Note,
) -> Iterator[readers.Example]:
  """Yields the complete examples of a part, and counts them.

  Args:
    source: reader of the examples, see the package's docstring.
    split: name of the split.
    part: one of `source.parts()[split]`.
    schema: fields of the data set, which are those of every part.
    note: dict that gets what was read and what was not ('num_examples',
      'skipped', [[key, reason], ...], and more, see `report`), and, after the
      last example, 'statistics' (for 'train' only).
  """
  codec = examples.Codec(schema)
  counted = statistics.Statistics(schema)
  counts = report.Counts(schema)
  for example in source.read(split, part):
    if isinstance(example, readers.Skipped | readers.Dropped):
      counts.leave_out(example)
      continue
    example = codec.complete(example)
    counts.add(example)
    if split == 'train':
      counted.add(example)
    yield example
  note |= counts.note()
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
  note: progress.Note = {'num_bytes': 0}
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
  beam: beam_route.Beam | None = None,
  share: tuple[int, int] = (0, 1),
  max_bad: float = 0.01,
  compression: str = 'uncompressed',
  command: str = '',
) -> bool:
  """Writes this process's share of the shards, and at the end the metadata.

  Args:
    source: reader of the examples, see the package's docstring.
    out: folder of the data set; its finished shards are kept. All processes
      and all workers of Beam see it.
    schema: fields of the examples, by default the reader's.
    num_workers: number of processes on this machine.
    beam: runner of Apache Beam, in place of own processes.
    share: (i, n): every n-th shard from the i-th, for job arrays.
    max_bad: share of the examples, 0..1, that may be unreadable, and of the
      messages of GRIB files.
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
  out = pathlib.Path(out)
  report.check_weather(source, max_bad)
  all_jobs = jobs(source, out)
  known = progress.Progress(all_jobs, max_bad)
  if todo := known.resume(all_jobs[share[0] :: share[1]]):
    run = beam.run if beam else _own_processes(num_workers)
    scratch = out / layout.SCRATCH / f'{share[0]}-of-{share[1]}'
    _write_all(
      source, todo, (schema or source.schema, compression), run, known, scratch
    )
  known.check()
  if unfinished := known.unfinished(all_jobs):
    logging.info(
      '%d of %d shards are not written yet; the process that writes the last '
      'one finishes %s.',
      len(unfinished),
      len(all_jobs),
      out,
    )
    return False
  _finish(source, out, schema or source.schema, known, all_jobs, command)
  return True


def _own_processes(num_workers: int) -> ahead.Run:
  """Runs functions on items in processes of this machine."""
  return functools.partial(workers.run, num_workers=num_workers)


def _write_all(
  source: readers.Reader,
  todo: Sequence[Job],
  arguments: tuple[Any, ...],
  run: ahead.Run,
  known: progress.Progress,
  scratch: pathlib.Path,
) -> None:
  """Writes shards, and stops if too many examples are bad."""
  reader, written = source, todo
  if isinstance(source, _JOINED):
    logging.info('Reading the weather of %d shards.', len(todo))
    joined = cast(readers.JoinedReader, source)
    reader, written = ahead.read_weather(joined, todo, run, scratch)
  on_terminal = sys.stderr.isatty()
  with contextlib.closing(  # Stops the workers if too many are bad.
    run(write, written, (reader, *arguments))
  ) as done:
    for job in tqdm.tqdm(done, 'shards', len(todo), disable=not on_terminal):
      known.read([job])
      known.check()
      if not on_terminal:
        logging.info('Wrote %s.', job.path)
  shutil.rmtree(scratch, ignore_errors=True)
  with contextlib.suppress(OSError):  # Other jobs of an array may have theirs.
    scratch.parent.rmdir()


def _finish(
  source: readers.Reader,
  out: pathlib.Path,
  schema: readers.Schema,
  known: progress.Progress,
  all_jobs: Sequence[Job],
  command: str,
) -> None:
  """Writes the report, and the metadata from the notes of all shards."""
  known.read(all_jobs)
  known.check()
  notes = [(job, known.notes[job.path]) for job in all_jobs]
  report.write(
    out, [(job.split, note) for job, note in notes], report.of_weather(source)
  )
  sizes = {}
  for job, note in notes:
    sizes.setdefault(job.split, []).append(
      (note['num_examples'], note['num_bytes'])
    )
  metadata.finish(
    out,
    schema,
    sizes,
    (
      note | {'statistics': json.loads(job.statistics_path.read_text())}
      for job, note in notes
    ),
    command,
  )
  # These are left by killed processes. Other temporary files may be in use: if
  # the last shards are finished at once, several processes finish the folder.
  for leftover in out.glob(f'{layout.RECORDS}.tmp-*'):
    leftover.unlink(missing_ok=True)
