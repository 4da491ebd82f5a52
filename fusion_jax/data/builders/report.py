"""What a build has read, what it has left out, and why.

`report.json` beside the examples has, the same bytes however many processes
wrote them:

  read         {split: number of shards, examples and bytes}
  skipped      [{split, key, reason}]: examples that could not be read
  dropped      {split: {reason: number}}: left out as the recipe says
  absent       {split: {field: number of examples without a value of it}}
  missing      {split: {series: number of missing values}}
  weather      fields that were found, gaps between them, and damaged messages,
               where weather was read from files; nothing is filled
"""

import collections
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from absl import logging

from fusion_jax.data import readers
from fusion_jax.data.builders import layout, skipped


class Counts:
  """Counts the examples of a part, for its note."""

  def __init__(self, schema: readers.Schema):
    self._schema = schema
    self._examples = 0
    self._skipped: list[list[str]] = []
    self._dropped = collections.Counter()
    self._absent = collections.Counter()
    self._missing = collections.Counter()

  def add(self, example: readers.Example) -> None:
    """Counts a complete example."""
    self._examples += 1
    for name in self._schema.images:
      self._absent[name] += not example[name].size
    for name in self._schema.series:
      missing = np.isnan(example[name])
      self._missing[name] += int(missing.sum())
      self._absent[name] += bool(missing.all())

  def leave_out(self, example: readers.Skipped | readers.Dropped) -> None:
    """Counts an example that is left out."""
    if isinstance(example, readers.Skipped):
      self._skipped.append(list(example))
    else:
      self._dropped[example.reason] += 1

  def note(self) -> dict[str, Any]:
    """The counts, as JSON."""
    return {
      'num_examples': self._examples,
      'skipped': self._skipped,
      'dropped': dict(self._dropped),
      'absent': {k: n for k, n in self._absent.items() if n},
      'missing': {k: n for k, n in self._missing.items() if n},
    }


def of_weather(source: readers.Reader) -> dict[str, Any]:
  """What the files of a reader's weather hold and lack; {} without such."""
  report = getattr(getattr(source, 'weather', None), 'report', None)
  return report() if report else {}


def check_weather(source: readers.Reader, max_bad: float) -> None:
  """Checks the files of a reader's weather, where it has some.

  Args:
    source: the reader.
    max_bad: share of their messages and of the files, 0..1, that may be
      damaged.

  Raises:
    TooManyBadExamples: if more are.
  """
  found = of_weather(source)
  files = found.get('damaged_files', ())
  total = found.get('files', 0) + len(files)
  if len(files) > max_bad * total:
    listed = [(bad['file'], bad['reason']) for bad in files]
    raise skipped.TooManyBadExamples(
      f'{len(files)} of {total} files of weather are damaged, more than '
      f'{max_bad:.1%}: {skipped.describe(listed, len(listed))}. Fetch these '
      f'files again, or leave their hours missing with --max-bad '
      f'{np.ceil(100 * len(files) / total) / 100:g}.'
    )
  damaged = found.get('damaged', ())
  if len(damaged) > max_bad * found.get('messages', 0):
    listed = [
      (f'{bad["file"]}, message {bad["message"]}', bad['reason'])
      for bad in damaged
    ]
    raise skipped.TooManyBadExamples(
      f'{len(damaged)} of {found["messages"]} GRIB messages are damaged, more '
      f'than {max_bad:.1%}: {skipped.describe(listed, len(listed))}. Fetch '
      'these files again, or leave their hours missing with --max-bad.'
    )


def write(
  out: pathlib.Path,
  notes: Iterable[tuple[str, Mapping[str, Any]]],
  weather: Mapping[str, Any],
) -> None:
  """Writes the report of a data set, and says the same in a few lines.

  Args:
    out: folder of the data set.
    notes: split and note of every shard, in the order of their names.
    weather: what `of_weather` returned.
  """
  read: dict[str, Any] = {}
  left_out = []
  tables = {
    key: collections.defaultdict(collections.Counter)
    for key in ('dropped', 'absent', 'missing')
  }
  for split, note in notes:
    total = read.setdefault(split, {'shards': 0, 'examples': 0, 'bytes': 0})
    total['shards'] += 1
    total['examples'] += note['num_examples']
    total['bytes'] += note['num_bytes']
    left_out += [
      {'split': split, 'key': key, 'reason': reason}
      for key, reason in note['skipped']
    ]
    for key, table in tables.items():
      table[split].update(note.get(key, {}))  # Older notes lack some.
  content = {'read': read, 'skipped': left_out} | {
    key: {split: dict(sorted(t.items())) for split, t in table.items() if t}
    for key, table in tables.items()
  }
  if weather:
    content['weather'] = dict(weather)
  layout.write_whole(out / layout.REPORT, json.dumps(content, indent=1))
  _say(content)
  logging.info('What was read and left out stands in %s.', out / layout.REPORT)


def _say(content: Mapping[str, Any]) -> None:
  """Logs the numbers of a report."""
  for split, total in content['read'].items():
    logging.info(
      'Read %d examples of %s: %.1f MB in %d shards.',
      total['examples'],
      split,
      total['bytes'] / 1e6,
      total['shards'],
    )
  for key, what in (
    ('dropped', 'Left out of %s, as the recipe says: %s.'),
    ('absent', 'Examples of %s without a value: %s.'),
    ('missing', 'Missing values of %s: %s.'),
  ):
    for split, table in content[key].items():
      listed = ', '.join(f'{name} {number}' for name, number in table.items())
      logging.info(what, split, listed)
  for variable, gaps in content.get('weather', {}).get('gaps', {}).items():
    named = '; '.join(f'{gap["after"]} .. {gap["before"]}' for gap in gaps[:3])
    logging.warning(
      'The weather has %d gaps in %s, which stay missing: %s%s.',
      len(gaps),
      variable,
      named,
      ', ...' if len(gaps) > 3 else '',
    )
