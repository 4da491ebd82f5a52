"""From a data set on disk to batches, in an order that the seed decides.

Examples are read by threads. The iterators return their position in
`get_state` and take it back in `set_state`. A position counts batches, so it is
valid for any number of processes.
"""

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import grain
import jax
import numpy as np
from absl import logging

from fusion_jax import modalities
from fusion_jax.data import mixtures, records
from fusion_jax.types import Example, Source

Transform = grain.transforms.Map | grain.transforms.RandomMap
Opened = records.Examples | mixtures.Mixture


def open_source(
  path: str | os.PathLike[str],
  split: str,
  selected: Sequence[modalities.Modality] = (),
) -> Opened:
  """Opens the examples of one split of a data set.

  Args:
    path: folder of a data set that `prepare` wrote, of a mixture that
      `mixture_folders.write` wrote, or of `remote.open_folder`.
    split: name of the split, 'train' or 'val'.
    selected: modalities that the examples must have. Tokenised images may be
      missing, with a warning.

  Returns:
    The examples: `len(source)` of them, `source[i]` is a dict of NumPy arrays.

  Raises:
    FileNotFoundError: if there is no such data set.
    ValueError: if there is no such split, or if the data set does not have
      what `selected` needs; the message lists what it has.
  """
  if (pathlib.Path(path) / mixtures.FILE).exists():
    source = mixtures.open_split(path, split)
  else:
    source = records.Examples(path, split)
  missing = [
    m.name
    for m in selected
    if m.kind != 'tokens' and m.field not in source.fields
  ]
  if missing:
    raise ValueError(
      f'The data set in {path} has nothing for {missing}; its fields are '
      f'{sorted(source.fields)}. Leave these modalities out of the config, '
      'or prepare the data with them.'
    )
  untokenised = [
    m.name
    for m in selected
    if m.kind == 'tokens' and f'codes/{m.name}' not in source.fields
  ]
  if untokenised:
    logging.warning(
      'The data set in %s holds no codes of %s: these modalities are neither '
      'inputs nor targets.',
      path,
      untokenised,
    )
  return source


def train_batches(
  source: Source,
  transforms: Iterable[Transform],
  *,
  batch_size: int,
  seed: int,
  process_index: int | None = None,
  process_count: int | None = None,
  num_threads: int = 2,
  prefetch: int = 2,
) -> grain.DatasetIterator:
  """Returns endless shuffled batches of this process's share of the examples.

  The iterator can be resumed at any batch.

  Args:
    source: examples of the training split. The parts of a mixture come in the
      shares of their weights.
    transforms: Grain maps and random maps, in the order in which they are
      applied.
    batch_size: number of examples in a batch, over all processes.
    seed: seed of the order and of the random draws. A draw belongs to an
      example and an epoch.
    process_index: number of this process; JAX's by default.
    process_count: number of processes; JAX's by default.
    num_threads: number of threads that read; 0 reads in the caller's thread,
      otherwise about the number of cores is best.
    prefetch: number of batches that are read ahead.

  Returns:
    Iterator over dicts of arrays [batch_size / process_count, ...].

  Raises:
    ValueError: if the batch does not divide over the processes, or if there
      are no examples.
  """
  share = _share(batch_size, process_index, process_count)
  if not len(source):
    raise ValueError(f'{source} has no examples; prepare the data set again.')
  if isinstance(source, mixtures.Mixture):
    examples = source.ordered(seed)
  else:
    examples = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
  examples = apply(examples, transforms)
  return _batches(examples, share, num_threads, prefetch)


def eval_batches(
  source: Source,
  transforms: Iterable[Transform],
  *,
  batch_size: int,
  seed: int,
  process_index: int | None = None,
  process_count: int | None = None,
  num_threads: int = 2,
  prefetch: int = 2,
  num_examples: int | None = None,
) -> grain.DatasetIterator:
  """Returns batches of every example once, in order, with fixed random draws.

  Args:
    source: examples of a split.
    transforms: Grain maps and random maps, in the order in which they are
      applied.
    batch_size: number of examples in a batch, over all processes.
    seed: seed of the random draws, which are the same in every evaluation.
    process_index: number of this process; JAX's by default.
    process_count: number of processes; JAX's by default.
    num_threads: number of threads that read; 0 reads in the caller's thread,
      otherwise about the number of cores is best.
    prefetch: number of batches that are read ahead.
    num_examples: number of examples to take from the start of the source; all
      of them by default.

  Returns:
    Iterator over dicts of arrays [batch_size / process_count, ...], and 'valid'
    [batch_size / process_count] bool, False where the last batch was filled up.
    A row that was filled up has -1 (padding) in every 'modality', and 0 in all
    other arrays.

  Raises:
    ValueError: if the batch does not divide over the processes.
  """
  share = _share(batch_size, process_index, process_count)
  total = min(len(source), num_examples or len(source))
  padded = -(-total // batch_size) * batch_size
  examples = grain.MapDataset.range(padded).seed(seed)
  examples = examples.map(lambda i: source[i % total])
  examples = apply(examples, transforms).map_with_index(
    lambda i, example: _mark(example, i < total)
  )
  return _batches(examples, share, num_threads, prefetch)


def apply(
  examples: grain.MapDataset, transforms: Iterable[Transform]
) -> grain.MapDataset:
  """Applies transforms, random or not, in order to a Grain dataset."""
  for transform in transforms:
    if isinstance(transform, grain.transforms.RandomMap):
      examples = examples.random_map(transform)
    else:
      examples = examples.map(transform)
  return examples


def _share(
  batch_size: int, index: int | None, count: int | None
) -> tuple[slice, int]:
  """Returns which of the small batches are this process's, and their size."""
  index = jax.process_index() if index is None else index
  count = jax.process_count() if count is None else count
  if batch_size % count or not batch_size:
    raise ValueError(
      f'batch_size={batch_size} does not divide over {count} processes; try '
      f'{max(1, round(batch_size / count)) * count}.'
    )
  return slice(index, None, count), batch_size // count


def _batches(
  examples: grain.MapDataset,
  share: tuple[slice, int],
  num_threads: int,
  prefetch: int,
) -> grain.DatasetIterator:
  """Returns the batches of one process's share of the examples."""
  rows, size = share
  # Batched before the threads, so that each thread makes whole batches, and
  # before the share is taken: the rows of all processes, one after the other,
  # are those of one process, so that draws by row (dropout) are the same.
  options = grain.ReadOptions(
    num_threads=num_threads, prefetch_buffer_size=prefetch
  )
  return iter(
    examples.batch(size, drop_remainder=True)[rows].to_iter_dataset(options)
  )


def _mark(example: Example, valid: bool) -> dict[str, Any]:
  """Adds 'valid', and blanks the example if it is not."""
  if not valid:
    example = jax.tree.map_with_path(_blank, example)
  return {**example, 'valid': np.bool_(valid)}


def _blank(path: tuple[Any, ...], array: Any) -> np.ndarray:
  """Returns -1 (padding) for 'modality' arrays, and 0 for all others."""
  padding = getattr(path[-1], 'key', None) == 'modality'
  return np.full_like(array, -1 if padding else 0)
