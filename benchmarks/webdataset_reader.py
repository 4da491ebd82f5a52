"""A plain WebDataset reader of the same examples; only benchmarks need it.

Tar files of one `.npy` a field are read in the order of the shards, shuffled
in a buffer, decoded, and go through the same transforms to the same batches.
Needs `pip install webdataset torch`.
"""

import grain
import jax
import numpy as np
import webdataset

SHARD = 128  # Examples of a tar file.


def write(source, folder):
  """Writes the examples of a source as tar files; returns their paths."""
  paths = []
  for start in range(0, len(source), SHARD):
    paths.append(f'{folder}/train-{start // SHARD:05d}.tar')
    with webdataset.TarWriter(paths[-1]) as writer:
      for i in range(start, min(start + SHARD, len(source))):
        fields = {
          f'{name}.npy': np.asarray(value)
          for name, value in source[i].items()
          if name != 'key'
        }
        writer.write({'__key__': f'{i:06d}', **fields})
  return paths


def batches(paths, fields, transforms, batch_size, workers):
  """Returns endless batches.

  Args:
    paths: tar files of `write`.
    fields: names of the fields of an example; WebDataset lowers their case.
    transforms: Grain maps and random maps, in order.
    batch_size: number of examples of a batch.
    workers: number of processes that read; 0 reads in the caller's.
  """
  names = {f'{name}.npy'.lower(): name for name in fields}
  rng = np.random.default_rng(0)

  def transform(sample):
    example = {names[k]: v for k, v in sample.items() if k in names}
    for step in transforms:
      if isinstance(step, grain.transforms.RandomMap):
        example = step.random_map(example, rng)
      else:
        example = step.map(example)
    return example

  examples = (
    webdataset.WebDataset(paths, shardshuffle=len(paths))
    .repeat()
    .shuffle(64)
    .decode()
    .map(transform)
    .batched(batch_size, collation_fn=_stack)
  )
  return iter(
    webdataset.WebLoader(examples, batch_size=None, num_workers=workers)
  )


def _stack(examples):
  return jax.tree.map(lambda *arrays: np.stack(arrays), *examples)
