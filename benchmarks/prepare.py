r"""Prints places a second, bytes and memory of preparing simulated places.

  python -m benchmarks.prepare                      # 1 and 2 workers
  python -m benchmarks.prepare --places 500 --images '' --image-size 264

Each row is a run of `fusion-jax prepare simulated` in a process of its own,
into a folder that is deleted; the images are those of the demo. Bytes are those
that the process and its workers asked the system to read and to write (rchar
and wchar of /proc, so also what the cache of files held); memory is the highest
of the process and of one worker. Load: processes that wanted a processor in the
last minute, at the end. Above the number of processors, places/s is too low,
and places by processor time is the figure to trust. The last columns
extrapolate it to --full places: hours on these workers, bytes, and how many
workers are needed for a day. They take the places of an archive to cost what
these cost, but an archive is read, not simulated; what its weather costs stands
in `fusion_jax/data/builders/ahead.py`.
"""

import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time

from absl import app, flags

_PLACES = flags.DEFINE_integer('places', 20_000, 'Places to prepare.')
_WORKERS = flags.DEFINE_list('workers', ['1', '2'], 'Numbers of processes.')
_SIZE = flags.DEFINE_integer('image-size', 72, 'Pixels a side of each image.')
_IMAGES = flags.DEFINE_list('images', ['S2L2A'], 'Images; empty for all.')
_FULL = flags.DEFINE_integer('full', 9_000_000, 'Places to extrapolate to.')
_SHARE = flags.DEFINE_integer('per-shard', 256, 'Places of a shard.')
_DIR = flags.DEFINE_string('dir', '', 'Where to write; default: temporary.')
_ROW = flags.DEFINE_string('row', '', 'Measures one row: WORKERS:FOLDER.')

_HEAD = (
  'workers',
  'places',
  'pixels a side',
  'places/s',
  'places/CPU s',
  's',
  'load',
  'read MB',
  'written MB',
  'on disk MB',
  'peak MB, process',
  'peak MB, worker',
  'hours of all',
  'TB of all',
  'workers for a day',
)


def measure(workers, folder):
  """Prepares the places; returns the figures of the row."""
  from fusion_jax import datasets

  recipe = datasets.Simulated(
    image_size=_SIZE.value,
    images=tuple(filter(None, _IMAGES.value)),
    compression='zstd:1',
    splits={'train': _PLACES.value},
    examples_per_shard=_SHARE.value,
  )
  start = time.monotonic()
  settings = datasets.BuildSettings(num_workers=workers)
  datasets.prepare(recipe, folder, settings)
  seconds = time.monotonic() - start
  own, others = (
    resource.getrusage(who)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  )
  # The counters of a process include those of the children it has waited for.
  counters = dict(
    line.split(': ')
    for line in pathlib.Path('/proc/self/io').read_text().splitlines()
  )
  return {
    'seconds': seconds,
    'cpu': sum(u.ru_utime + u.ru_stime for u in (own, others)),
    'read': int(counters['rchar']),
    'written': int(counters['wchar']),
    'stored': sum(
      path.stat().st_size
      for path in pathlib.Path(folder).rglob('*')
      if path.is_file()
    ),
    'own_peak': own.ru_maxrss * 1024,
    'worker_peak': others.ru_maxrss * 1024,
  }


def row(workers):
  """Measures in a process of its own; returns the cells of the row."""
  with tempfile.TemporaryDirectory(dir=_DIR.value or None) as folder:
    program = [sys.executable, '-m', 'benchmarks.prepare']
    program += [flags.FLAGS[name].serialize() for name in _PASSED]
    done = subprocess.run(
      [*program, f'--row={workers}:{folder}'],
      check=True,
      stdout=subprocess.PIPE,
      text=True,
    )
  figures = json.loads(done.stdout.splitlines()[-1])
  rate = _PLACES.value / figures['cpu']
  hours = _FULL.value / rate / 3600  # On one worker.
  stored = figures['stored'] / _PLACES.value * _FULL.value
  return (
    workers,
    _PLACES.value,
    _SIZE.value,
    f'{_PLACES.value / figures["seconds"]:.1f}',
    f'{rate:.1f}',
    f'{figures["seconds"]:.0f}',
    f'{os.getloadavg()[0]:.1f}',
    f'{figures["read"] / 1e6:.0f}',
    f'{figures["written"] / 1e6:.0f}',
    f'{figures["stored"] / 1e6:.0f}',
    f'{figures["own_peak"] / 1e6:.0f}',
    f'{figures["worker_peak"] / 1e6:.0f}' if workers > 1 else '',
    f'{hours / workers:.0f}',
    f'{stored / 1e12:.2f}',
    f'{hours / 24:.1f}',
  )


_PASSED = ('places', 'image-size', 'images', 'per-shard')


def processor():
  """The name of the processor."""
  text = pathlib.Path('/proc/cpuinfo').read_text()
  names = [x.split(': ')[1] for x in text.splitlines() if 'model name' in x]
  return f'{os.cpu_count()} x {names[0] if names else platform.machine()}'


def main(argv):
  del argv
  if _ROW.value:
    workers, _, folder = _ROW.value.partition(':')
    print(json.dumps(measure(int(workers), folder)))
    return
  from importlib import metadata

  import numpy as np

  print(
    f'{processor()}; Python {platform.python_version()}, numpy '
    f'{np.__version__}, array_record {metadata.version("array_record")}\n\n'
    f'`python -m benchmarks.prepare {" ".join(sys.argv[1:])}`\n'
  )
  print(f'| {" | ".join(_HEAD)} |\n|{" --- |" * len(_HEAD)}', flush=True)
  for workers in map(int, _WORKERS.value):
    print(f'| {" | ".join(map(str, row(workers)))} |', flush=True)


if __name__ == '__main__':
  app.run(main)
