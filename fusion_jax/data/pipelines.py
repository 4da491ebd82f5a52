"""From a data set on disk to batches, in an order that the seed decides.

Examples are read by threads; the iterators hold their place in `get_state`
and take it back in `set_state`. The place counts batches, so it holds for any
number of processes.
"""

import grain
import jax
import numpy as np
from absl import logging

from fusion_jax.data import records


def open_source(path, split, selected=()):
  """The examples of a split: `len`, and `[i]`, a dict of NumPy arrays.

  Args:
    path: folder of a data set that `prepare` wrote.
    split: 'train' or 'val'.
    selected: modalities that the examples should have. Tokenised images may
      be missing, with a warning.

  Raises:
    FileNotFoundError: if there is no such data set.
    ValueError: if there is no such split, or if the data set has not what
      `selected` needs; the message lists what it has.
  """
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
      'The data set in %s holds no codes of %s: they are '
      'neither inputs nor targets.',
      path,
      untokenised,
    )
  return source


def train_batches(
  source,
  transforms,
  *,
  batch_size,
  seed,
  process_index=None,
  process_count=None,
  num_threads=2,
  prefetch=2,
):
  """Endless shuffled batches of this process's share, resumable anywhere.

  Args:
    source: `len` and `[i]`.
    transforms: Grain maps and random maps, in order.
    batch_size: examples over all processes.
    seed: decides order and draws. A draw belongs to (example, epoch).
    process_index: of this process; JAX's by default.
    process_count: number of processes; JAX's by default.
    num_threads: that read; 0 for none, about the number of cores otherwise.
    prefetch: batches held ready.

  Returns:
    Iterator over dicts of arrays [batch_size / process_count, ...].

  Raises:
    ValueError: if the batch does not divide over the processes, or if there
      are no examples.
  """
  share = _share(batch_size, process_index, process_count)
  if not len(source):
    raise ValueError(f'{source} has no examples.')
  examples = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
  examples = apply(examples, transforms)
  return _batches(examples, share, num_threads, prefetch)


def eval_batches(
  source,
  transforms,
  *,
  batch_size,
  seed,
  process_index=None,
  process_count=None,
  num_threads=2,
  prefetch=2,
  num_examples=None,
):
  """Every example once, in the order of the source, always the same draws.

  Arguments are those of `train_batches`, and `num_examples`: the first so
  many; all by default.

  Returns:
    Iterable of dicts as in training, and 'valid' [batch] bool: False where the
    last batch was filled up. There every 'modality' is -1 (padding), any other
    value 0.
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


def apply(examples, transforms):
  """A Grain dataset with the transforms, random or not, applied in order."""
  for transform in transforms:
    random = isinstance(transform, grain.transforms.RandomMap)
    examples = (examples.random_map if random else examples.map)(transform)
  return examples


def _share(batch_size, index, count):
  """Slice over examples of this process, and its examples a batch."""
  index = jax.process_index() if index is None else index
  count = jax.process_count() if count is None else count
  if batch_size % count or not batch_size:
    raise ValueError(
      f'batch_size={batch_size} does not divide over {count} processes; try '
      f'{max(1, round(batch_size / count)) * count}.'
    )
  return slice(index, None, count), batch_size // count


def _batches(examples, share, num_threads, prefetch):
  mine, size = share
  # Batched before the threads, so that each makes whole batches.
  options = grain.ReadOptions(
    num_threads=num_threads, prefetch_buffer_size=prefetch
  )
  return iter(examples[mine].batch(size).to_iter_dataset(options))


def _mark(example, valid):
  if not valid:
    example = jax.tree.map_with_path(_blank, example)
  return {**example, 'valid': np.bool_(valid)}


def _blank(path, array):
  padding = getattr(path[-1], 'key', None) == 'modality'
  return np.full_like(array, -1 if padding else 0)
