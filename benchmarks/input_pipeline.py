r"""Measures examples per second from ArrayRecord files to slots, by step.

  python benchmarks/input_pipeline.py                # 60 s a row
  python benchmarks/input_pipeline.py --seconds 10

Random S2L2A images, 12 x 264 x 264 int16, the worst case for compression, and
eight weather series; cropped to 224, both components of the mixture, 128 slots
on either side, batches of 32. A core's figure divides by the processor time
that was used, of all threads; it does not depend on what else is running. The
cold rows drop the files from the page cache before every 256 examples.

  python benchmarks/input_pipeline.py --webdataset   # 5 x 10 s a row

Beside a plain WebDataset reader of the same examples with the same transforms,
in turns, medians; needs `pip install webdataset torch psutil`.

Much of the time is the kernel giving out pages: an environment with
MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=8589934592 makes glibc
keep them, which is a third faster.
"""

import argparse
import collections
import importlib.metadata
import os
import pathlib
import platform
import sys
import tempfile
import time

import grain
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from fusion_jax import modalities
from fusion_jax.data import budgets, normalize, pipelines
from fusion_jax.data.builders import shards
from fusion_jax.data.transforms import pretrain as pretrain_transforms
from fusion_jax.data.transforms import steps as transform_steps
from fusion_jax.models import coordinate_tokenizer

SERIES = tuple(
  name for name, m in modalities.MODALITIES.items() if m.kind == 'series'
)
PACKAGES = ('numpy', 'grain', 'array_record', 'jax')


class RandomExamples:
  """A source of noise in the form of real examples."""

  def __init__(self, count):
    self.splits = {'train': count}

  def example(self, split, i):
    del split
    rng = np.random.default_rng(i)
    series = {
      name: rng.gamma(1, 5, len(modalities.MODALITIES[name].leads))
      for name in SERIES
    }
    return {
      'key': str(i),
      'lat': rng.uniform(-80, 80),
      'lon': rng.uniform(-180, 180),
      'time': np.int64(i),
      'S2L2A': rng.integers(0, 10_000, (264, 264, 12), np.int16),
      **{name: values.astype(np.float32) for name, values in series.items()},
    }


def steps(folder):
  """Returns the source and the transforms of the pretraining task."""
  selected = modalities.select(['untok_sen2l2a@224', 'coords', *SERIES])
  statistics = normalize.load_statistics(folder)
  transforms = pretrain_transforms.pretraining(
    selected,
    image_size=224,
    mixture=budgets.all_to_all(selected),
    quantizers=normalize.quantizers(selected, statistics),
    tokenizer=coordinate_tokenizer.build(),
    standards=normalize.standards(selected),
    num_slots=(128, 128),
  )
  return pipelines.open_source(folder, 'train', selected), transforms


def forget(folder):
  """Asks the kernel to drop the data set from its page cache."""
  for path in pathlib.Path(folder).glob('*.array_record'):
    with path.open('rb') as file:
      os.fsync(file.fileno())
      os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(batches, batch_size, seconds, cached_folder):
  """Returns examples per second, of the clock and of processor time."""
  for _ in range(8):
    next(batches)  # This opens files and starts threads.
  count, clock, used = 0, time.perf_counter(), time.process_time()
  while (passed := time.perf_counter() - clock) < seconds:
    if cached_folder and count % 256 == 0:
      forget(cached_folder)
    next(batches)
    count += batch_size
  return count / passed, count / (time.process_time() - used)


def used_by_all():
  """Returns the processor time of this process and its children, s."""
  import psutil

  process = psutil.Process()
  times = [p.cpu_times() for p in (process, *process.children(True))]
  return sum(t.user + t.system for t in times)


def beside_webdataset(folder, seconds, rounds=5, batch_size=32):
  """Prints examples per second of both readers, and their ratios."""
  from benchmarks import webdataset_reader

  source, transforms = steps(folder)
  paths = webdataset_reader.write(source, folder)
  print('| examples/s a core | threads, workers | ours | WebDataset | ratio |')
  print('| --- | --- | --- | --- | --- |')
  only_crop = transforms[:1] + (transform_steps.Keep(('S2L2A', 'lat', 'lon')),)
  for name, chosen in (
    ('read, crop, batch', only_crop),
    ('all transforms', transforms),
  ):
    for workers in (0, os.cpu_count()):
      rows = []
      for _ in range(rounds):
        ours = pipelines.train_batches(
          source, chosen, batch_size=batch_size, seed=0, num_threads=workers
        )
        rows.append([rate(ours, batch_size, seconds)])
        ours.close()
        theirs = webdataset_reader.batches(
          paths, source.fields, chosen, batch_size, workers
        )
        rows[-1].append(rate(theirs, batch_size, seconds))
        del theirs  # Ends its processes.
      ours, theirs = np.median(rows, 0)
      ratio = np.median([a / b for a, b in rows])
      print(
        f'| {name} | {workers} | {ours:.0f} | {theirs:.0f} | {ratio:.2f} |',
        flush=True,
      )


def rate(batches, batch_size, seconds):
  """Returns examples a second of processor time, children included."""
  for _ in range(8):
    next(batches)
  count, used, clock = 0, used_by_all(), time.perf_counter()
  while time.perf_counter() - clock < seconds:
    next(batches)
    count += batch_size
  return count / (used_by_all() - used)


def costs(source, transforms, count=300):
  """Returns processor time of reading and of each step, ms per example."""
  spent = collections.Counter()
  rng = np.random.default_rng(0)
  batch = []
  for i in rng.integers(len(source), size=count).tolist():
    start = time.thread_time()
    example = source[i]
    spent['read'] += time.thread_time() - start
    for step in transforms:
      start = time.thread_time()
      if isinstance(step, grain.transforms.RandomMap):
        example = step.random_map(example, rng)
      else:
        example = step.map(example)
      spent[type(step).__name__] += time.thread_time() - start
    batch.append(example)
    if len(batch) == 16:
      start = time.thread_time()
      {
        k: np.stack([e['encoder']['patches'][k] for e in batch])
        for k in example['encoder']['patches']
      }
      spent['batch'] += time.thread_time() - start
      batch = []
  return {name: 1e3 * total / count for name, total in spent.items()}


def machine():
  info = pathlib.Path('/proc/cpuinfo')
  names = (
    [
      line.split(':')[1].strip()
      for line in info.read_text().splitlines()
      if line.startswith('model name')
    ]
    if info.exists()
    else []
  )
  cpu = names[0] if names else platform.processor()
  versions = ', '.join(
    f'{name} {importlib.metadata.version(name)}' for name in PACKAGES
  )
  return (
    f'{os.cpu_count()} x {cpu}; Python {platform.python_version()}, '
    f'{versions}; python {" ".join(sys.argv)}'
  )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--seconds', type=float, default=60.0, help='a row')
  parser.add_argument('--examples', type=int, default=512)
  parser.add_argument('--threads', type=int, default=os.cpu_count())
  parser.add_argument('--webdataset', action='store_true')
  args = parser.parse_args()
  print(machine())
  if args.webdataset:
    with tempfile.TemporaryDirectory() as folder:
      shards.build(shards.Indexed(RandomExamples(args.examples), 128), folder)
      beside_webdataset(folder, args.seconds)
    return
  print('| pipeline | threads | examples/s | examples/s a core |')
  print('| --- | --- | --- | --- |')
  for compression in ('uncompressed', 'zstd:1'):
    with tempfile.TemporaryDirectory() as folder:
      shards.build(
        shards.Indexed(RandomExamples(args.examples), 128),
        folder,
        compression=compression,
      )
      source, transforms = steps(folder)
      for threads, cold in ((1, False), (1, True), (args.threads, False)):
        batches = pipelines.train_batches(
          source, transforms, batch_size=32, seed=0, num_threads=threads
        )
        wall, core = measure(batches, 32, args.seconds, cold and folder)
        batches.close()
        print(
          f'| {compression}, {"cold" if cold else "warm"} cache '
          f'| {threads} | {wall:.0f} | {core:.0f} |',
          flush=True,
        )
      milliseconds = costs(source, transforms)
      print(
        f'ms an example, {compression}: '
        + ', '.join(
          f'{name} {spent:.3f}' for name, spent in milliseconds.items()
        )
        + f'; sum {sum(milliseconds.values()):.2f}'
      )


if __name__ == '__main__':
  main()
