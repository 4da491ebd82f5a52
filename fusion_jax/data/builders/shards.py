"""Writes whole shards, in any number of processes, and finishes the folder.

A shard is written under a temporary name and renamed, then a note beside it
(`.notes/*.json`: its length and what was skipped; `*.statistics`) says that it
is whole. So a killed run goes on with the first shard that has no note, and any
process that finds the last note writes the metadata of the folder.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import sys
import uuid
from typing import Any

import tensorflow_datasets as tfds
import tqdm
from absl import logging
from array_record.python import array_record_module

from fusion_jax.data.builders import examples, statistics, workers

TEMPLATE = '{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}'
VERSION = '1.0.0'  # Of the layout of examples and statistics.
_MIN_SHARDS = 8


class TooManyBadExamples(ValueError):
  """More of an archive is unreadable than the caller accepts."""


@dataclasses.dataclass(frozen=True)
class Indexed:
  """The parts of a source of random access: ranges of its examples.

  Attributes:
    source: has `splits`, {name: number of examples}, and `example(split, i)`.
    examples_per_shard: at most so many examples in one file; also, a split
      has at least `_MIN_SHARDS` files, for as many processes.
  """

  source: Any
  examples_per_shard: int = 256

  @property
  def schema(self):
    split = next(iter(self.source.splits))
    return examples.schema_of(self.source.example(split, 0))

  def parts(self):
    parts = {}
    for split, total in self.source.splits.items():
      size = max(min(self.examples_per_shard, -(-total // _MIN_SHARDS)), 1)
      parts[split] = [
        (start, min(start + size, total)) for start in range(0, total, size)
      ]
    return parts

  def read(self, split, part):
    for i in range(*part):
      yield self.source.example(split, i)


@dataclasses.dataclass(frozen=True)
class Job:
  """One shard to write.

  Attributes:
    out: the data set's folder.
    split: 'train' or 'val'.
    index: number of the shard, from 0.
    total: shards of the split.
    part: what the source calls it.
  """

  out: str
  split: str
  index: int
  total: int
  part: Any

  @property
  def path(self):
    name = f'{self.split}-{self.index:05d}-of-{self.total:05d}.array_record'
    return pathlib.Path(self.out) / name

  def __str__(self):
    return str(self.path)

  @property
  def note_path(self):
    return self.path.parent / '.notes' / f'{self.path.name}.json'

  @property
  def statistics_path(self):
    return self.note_path.with_suffix('.statistics')

  def note(self):
    """What was noted when the shard was whole; None before."""
    if self.path.exists() and self.note_path.exists():
      return json.loads(self.note_path.read_text())
    return None


def jobs(source, out):
  """All shards of a data set, in the order of their names."""
  return [
    Job(str(out), split, index, len(parts), part)
    for split, parts in source.parts().items()
    for index, part in enumerate(parts)
  ]


def read(source, split, part, schema, note):
  """The complete examples of a part; counts them into a note on the way.

  Args:
    source: see the package's docstring.
    split: its name.
    part: one of `source.parts()[split]`.
    schema: of the data set; the same for every part.
    note: dict, filled: 'num_examples', 'skipped', [[key, reason], ...], and,
      when the last example is through, 'statistics' (of 'train' only).
  """
  codec = examples.Codec(schema)
  counted = statistics.Statistics(schema)
  note |= {'num_examples': 0, 'skipped': []}
  for example in source.read(split, part):
    if isinstance(example, examples.Skipped):
      note['skipped'].append(list(example))
      continue
    example = codec.complete(example)
    note['num_examples'] += 1
    if split == 'train':
      counted.add(example)
    yield example
  note['statistics'] = counted.state()


def write(job, source, schema, compression='uncompressed'):
  """Writes one shard, then its note.

  Args:
    job: which shard.
    source: see the package's docstring.
    schema: of the data set; the same for every shard.
    compression: of ArrayRecord: 'zstd:1', 'uncompressed', ...
  """
  codec = examples.Codec(schema)
  note = {'num_bytes': 0}
  job.path.parent.mkdir(parents=True, exist_ok=True)
  temporary = _temporary(job.path)
  # One record a group: what is asked for is all that is decompressed.
  writer = array_record_module.ArrayRecordWriter(
    temporary, f'group_size:1,{compression}'
  )
  try:
    for example in read(source, job.split, job.part, schema, note):
      record = codec.encode(example)
      writer.write(record)
      note['num_bytes'] += len(record)
    writer.close()
    os.replace(temporary, job.path)
  finally:
    pathlib.Path(temporary).unlink(missing_ok=True)
  write_whole(job.statistics_path, json.dumps(note.pop('statistics')))
  write_whole(job.note_path, json.dumps(note))


def build(
  source,
  out,
  *,
  schema=None,
  num_workers=1,
  share=(0, 1),
  max_bad=0.01,
  compression='uncompressed',
  command='',
):
  """Writes this process's share of the shards, and the metadata when all are.

  Args:
    source: see the package's docstring.
    out: folder of the data set; shards already there are kept.
    schema: fields of the examples, by default the source's.
    num_workers: processes on this machine.
    share: (i, n): every n-th shard from the i-th, for job arrays.
    max_bad: share of the examples, 0..1, that may be unreadable.
    compression: see `write`.
    command: kept in `statistics.json`.

  Returns:
    Whether the data set is complete: False while other processes' shards are
    missing.

  Raises:
    TooManyBadExamples: as soon as more than `max_bad` of the archive is bad.
    RuntimeError: if a worker fails. The same call continues after either.
  """
  schema = schema or source.schema
  every = jobs(source, out)
  mine = [job for job in every[share[0] :: share[1]] if job.note() is None]
  done = workers.run(
    write, mine, (source, schema, compression), min(num_workers, len(mine))
  )
  notes = _notes(every)
  on_terminal = sys.stderr.isatty()
  with contextlib.closing(done):  # Stops the workers if too much is bad.
    for job in tqdm.tqdm(done, 'shards', len(mine), disable=not on_terminal):
      notes[job] = job.note()
      check_bad(notes.values(), len(every), max_bad)
      if not on_terminal:
        logging.info('Wrote %s.', job.path)
  notes = _notes(every)
  check_bad(notes.values(), len(every), max_bad)
  if len(notes) < len(every):
    logging.info(
      '%d of %d shards are written; the process that writes the '
      'last one finishes %s.',
      len(notes),
      len(every),
      out,
    )
    return False
  sizes = {}
  for job, note in notes.items():
    sizes.setdefault(job.split, []).append(
      (note['num_examples'], note['num_bytes'])
    )
  finish(
    out,
    schema,
    sizes,
    (
      note | {'statistics': json.loads(job.statistics_path.read_text())}
      for job, note in notes.items()
    ),
    command,
  )
  # Of killed processes. Other files may still be on their way: where the last
  # shards are done at once, several processes finish the folder.
  for leftover in pathlib.Path(out).glob('*.array_record.tmp-*'):
    leftover.unlink(missing_ok=True)
  return True


def _notes(every):
  """{job: its note} of the shards that are whole."""
  notes = {job: job.note() for job in every}
  return {job: note for job, note in notes.items() if note}


def check_bad(notes, total, max_bad):
  """Stops a build that leaves out too much.

  Args:
    notes: of the parts so far.
    total: parts in all; the archive's size is estimated from those so far.
    max_bad: share of the archive, 0..1, that may be unreadable.

  Raises:
    TooManyBadExamples: if more of it is bad even should all that is still to
      come be good.
  """
  notes = list(notes)
  skipped = [bad for note in notes for bad in note['skipped']]
  seen = sum(note['num_examples'] for note in notes) + len(skipped)
  if len(skipped) > max_bad * seen * total / max(len(notes), 1):
    raise TooManyBadExamples(
      f'{len(skipped)} of {seen} examples could not be read, more than '
      f'{max_bad:.1%} of the archive: '
      + _name_some(skipped)
      + '. Repair the files, or accept more with --max_bad.'
    )


def _name_some(skipped, limit=10):
  named = '; '.join(f'{key} ({reason})' for key, reason in skipped[:limit])
  more = len(skipped) - limit
  return named + (f'; and {more} more' if more > 0 else '')


def finish(out, schema, sizes, notes, command=''):
  """Writes `dataset_info.json`, `features.json` and `statistics.json`.

  Args:
    out: the data set's folder.
    schema: its fields.
    sizes: {split: [(examples, bytes) of each shard]}.
    notes: iterator over those of all parts, see `read`.
    command: kept in `statistics.json`.
  """
  template = tfds.core.ShardedFileTemplate(
    data_dir=out, template=TEMPLATE, filetype_suffix='array_record'
  )
  tfds.folder_dataset.write_metadata(
    data_dir=out,
    features=schema.features(),
    version=VERSION,
    filename_template=template,
    check_data=False,
    split_infos=[
      tfds.core.SplitInfo(
        name=split,
        filename_template=template,
        shard_lengths=[length for length, _ in shards],
        num_bytes=sum(size for _, size in shards),
      )
      for split, shards in sizes.items()
    ],
  )
  total = statistics.Statistics(schema)
  skipped = []
  for note in notes:
    total.merge(statistics.Statistics.from_state(schema, note['statistics']))
    skipped += note['skipped']
  if skipped:
    logging.warning(
      'Left out %d unreadable examples: %s.', len(skipped), _name_some(skipped)
    )
  write_whole(
    pathlib.Path(out) / 'statistics.json',
    json.dumps(
      {
        'version': VERSION,
        'command': command,
        'created': datetime.datetime.now(datetime.UTC).isoformat(
          'T', 'seconds'
        ),
        'num_examples': {
          split: sum(length for length, _ in shards)
          for split, shards in sizes.items()
        },
        'skipped': [{'key': key, 'reason': reason} for key, reason in skipped],
      }
      | getattr(schema, 'extra', {})
      | total.summary(),
      allow_nan=False,
    ),
  )


def write_whole(path, text):
  """Writes a file that is never seen half-written."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(_temporary(path))
  temporary.write_text(text)
  os.replace(temporary, path)


def _temporary(path):
  """A name of this call alone: hosts and containers share process ids."""
  return f'{path}.tmp-{uuid.uuid4().hex}'
