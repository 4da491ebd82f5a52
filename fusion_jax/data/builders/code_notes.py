"""Notes that shards have codes, and the report of the step that made them."""

import collections
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from array_record.python import array_record_data_source
from tensorflow_datasets.proto import tf_example_pb2

from fusion_jax.data.builders import layout


class Counts:
  """Counts the examples of a shard that get codes."""

  def __init__(self):
    self._examples = 0
    self._coded = collections.Counter()

  def add(self, codes: Mapping[str, np.ndarray]) -> None:
    """Counts an example by its fields `codes/<modality>`, some without rows."""
    self._examples += 1
    for field, values in codes.items():
      self._coded[field] += bool(values.size)

  def note(self) -> dict[str, Any]:
    """The counts, as JSON."""
    return {'examples': self._examples, 'coded': dict(self._coded)}


class Notes:
  """What is known of the codes of shards; each note is read once.

  Attributes:
    made_with: the tokenizers and squares that the codes are to be of.
    counts: counts of the shards that have these codes.
  """

  def __init__(self, made_with: Mapping[str, Any]):
    self.made_with = made_with
    self.counts: dict[pathlib.Path, Mapping[str, Any]] = {}

  def has(self, shard: pathlib.Path) -> bool:
    """Whether a shard has these codes.

    A note may belong to an older shard of that name, so the first record
    decides.
    """
    if shard in self.counts:
      return True
    path = path_of(shard)
    if not path.exists():
      return False
    note = json.loads(path.read_text())
    note = note if 'made_with' in note else {'made_with': note}  # Until 0.1.
    if note['made_with'] != self.made_with:
      return False
    source = array_record_data_source.ArrayRecordDataSource([str(shard)])
    if len(source):
      features = parse(source[0]).features.feature
      if any(
        f'codes/{n}' not in features for n in self.made_with['tokenizers']
      ):
        return False
    self.counts[shard] = note.get('counts', {})
    return True


def path_of(shard: pathlib.Path) -> pathlib.Path:
  """The note about the codes of a shard."""
  return shard.parent / layout.NOTES / f'{shard.name}.codes.json'


def parse(record: bytes) -> Any:
  """Parses a record as a `tf.train.Example`."""
  return tf_example_pb2.Example.FromString(record)  # pyright: ignore[reportAttributeAccessIssue]  # Generated code.


def report(
  path: pathlib.Path, shards: Sequence[pathlib.Path], notes: Notes
) -> None:
  """Writes how many examples have codes, and says the same in a few lines.

  Args:
    path: folder of the data set; it gets `codes_report.json` with the
      tokenizers and, by split, the numbers of 'shards' and 'examples', and of
      those 'coded' and 'without' (an image, or a value) by field.
    shards: all shards of the data set.
    notes: has the counts of each.
  """
  splits: dict[str, Any] = {}
  for shard in shards:
    split = shard.name.rsplit('-', 3)[0]
    total = splits.setdefault(
      split, {'shards': 0, 'examples': 0, 'coded': collections.Counter()}
    )
    counts = notes.counts[shard]
    total['shards'] += 1
    total['examples'] += counts.get('examples', 0)
    total['coded'].update(counts.get('coded', {}))
  for split, total in splits.items():
    total['coded'] = dict(sorted(total['coded'].items()))
    total['without'] = {
      field: total['examples'] - number
      for field, number in total['coded'].items()
      if number < total['examples']
    }
    logging.info(
      'Codes of %d examples of %s in %d shards; without an image: %s.',
      total['examples'],
      split,
      total['shards'],
      ', '.join(f'{k} {n}' for k, n in total['without'].items()) or 'none',
    )
  content = {'made_with': notes.made_with, 'splits': splits}
  layout.write_whole(path / layout.CODES_REPORT, json.dumps(content, indent=1))
