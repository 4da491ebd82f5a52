"""Writes the metadata of a data set when all its shards are finished."""

import datetime
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from fusion_jax.data import readers
from fusion_jax.data.builders import layout, skipped, statistics


def finish(
  out: str | os.PathLike[str],
  schema: readers.Schema,
  sizes: Mapping[str, Sequence[tuple[int, int]]],
  notes: Iterable[Mapping[str, Any]],
  command: str = '',
) -> None:
  """Writes `dataset_info.json`, `features.json` and `statistics.json`.

  Args:
    out: folder of the data set.
    schema: fields of the examples.
    sizes: number of examples and bytes of each shard, by the name of the
      split.
    notes: iterator over the notes of all parts, see `shards.read`.
    command: command line that `statistics.json` keeps.
  """
  out = pathlib.Path(out)
  folder: Any = out  # TFDS declares paths of its own.
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder, template=layout.TEMPLATE, filetype_suffix='array_record'
  )
  tfds.folder_dataset.write_metadata(
    data_dir=folder,
    features=schema.features(),
    version=layout.VERSION,
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
  total, left_out = _merge(schema, notes)
  if left_out:
    logging.warning(
      'Left out %d unreadable examples: %s.',
      len(left_out),
      skipped.describe(left_out, len(left_out)),
    )
  provenance = {
    'version': layout.VERSION,
    'command': command,
    'created': datetime.datetime.now(datetime.UTC).isoformat('T', 'seconds'),
    'num_examples': {
      split: sum(length for length, _ in shards)
      for split, shards in sizes.items()
    },
    'skipped': [{'key': key, 'reason': reason} for key, reason in left_out],
  }
  content = provenance | getattr(schema, 'extra', {}) | total.summary()
  layout.write_whole(
    out / layout.STATISTICS, json.dumps(content, allow_nan=False)
  )


def _merge(
  schema: readers.Schema, notes: Iterable[Mapping[str, Any]]
) -> tuple[statistics.Statistics, list[Sequence[str]]]:
  """Merges statistics of all parts, and [key, reason] of skipped examples."""
  total = statistics.Statistics(schema)
  left_out = []
  for note in notes:
    total.merge(statistics.Statistics.from_state(schema, note['statistics']))
    left_out += note['skipped']
  return total, left_out
