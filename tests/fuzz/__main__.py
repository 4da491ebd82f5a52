"""Damages files of every format, and counts how their readers take it.

  python -m tests.fuzz --rounds 100 --seed 0
  python -m tests.fuzz --formats scene.tif index --seed 3 -v

A round is one damaged copy of every format. What a reader may do is read it, or
raise an error that names the file; the program ends with status 1 if one did
anything else. `-v` prints each such case.
"""

import argparse
import collections
import pathlib
import shutil
import sys
import tempfile
import time
import warnings

import numpy as np

from tests.fuzz import formats, mutations, trial


def main(argv: list[str] | None = None) -> int:
  """Runs the rounds, prints a table, and returns the status of the process."""
  parser = argparse.ArgumentParser(prog='python -m tests.fuzz')
  parser.add_argument('--rounds', type=int, default=10)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--formats', nargs='*', default=[*formats.FORMATS])
  parser.add_argument('--seconds', type=float, default=0)
  parser.add_argument('--keep', default='', help='folder for bad cases')
  parser.add_argument('-v', '--verbose', action='store_true')
  args = parser.parse_args(argv)
  warnings.simplefilter('ignore')
  start = time.monotonic()
  counts = {name: collections.Counter() for name in args.formats}
  grown, bad = 0, []
  with tempfile.TemporaryDirectory() as root:
    samples = _samples(pathlib.Path(root), args.formats)
    for number in range(args.rounds):
      for name, sample in samples.items():
        if args.seconds and time.monotonic() - start > args.seconds:
          break
        seed = [args.seed, number, *name.encode()]
        result, damaged = _try(name, sample, np.random.default_rng(seed))
        counts[name][result.outcome] += 1
        grown = max(grown, result.grown)
        if result.outcome not in trial.GOOD:
          bad.append(f'{name}, round {number}: {result.outcome}')
          if args.verbose:
            print(f'{bad[-1]}: {result.message}', flush=True)
          if args.keep:
            kept = pathlib.Path(args.keep) / f'{name}-{number}'
            kept.mkdir(parents=True, exist_ok=True)
            shutil.move(damaged, kept / damaged.name)
  _print(counts, grown, time.monotonic() - start)
  if not args.verbose:
    print('\n'.join(bad), file=sys.stderr)
  return 1 if bad else 0


def _samples(root, names):
  """Writes a valid file of every format, after a check that it is read."""
  samples = {}
  for name in names:
    folder = root / name.replace(' ', '_')
    folder.mkdir()
    samples[name] = formats.FORMATS[name].make(folder)
    result = trial.run(formats.FORMATS[name].read, samples[name])
    if result.outcome != trial.Outcome.OK:
      raise RuntimeError(f'The valid {name} is not read: {result}')
  return samples


def _try(name, sample, rng):
  """Damages a copy of a file, or one file of a folder, and reads it."""
  damaged = sample.parent / 'damaged' / sample.name
  shutil.rmtree(damaged.parent, ignore_errors=True)
  damaged.parent.mkdir()
  if sample.is_dir():
    shutil.copytree(sample, damaged)
    files = sorted(x for x in damaged.rglob('*') if x.is_file())
    file = files[rng.integers(len(files))]
  else:
    file = pathlib.Path(shutil.copy(sample, damaged))
  file.write_bytes(mutations.mutate(file.read_bytes(), rng))
  return trial.run(formats.FORMATS[name].read, damaged), damaged


def _print(counts, grown, seconds):
  """Prints a row for every format, and the sums."""
  outcomes = [*trial.Outcome]
  print('| format | ' + ' | '.join(outcomes) + ' |')
  print('| --- |' + ' ---: |' * len(outcomes))
  for name, count in counts.items():
    cells = ' | '.join(str(count[x]) for x in outcomes)
    print(f'| {name} | {cells} |')
  total = sum(counts.values(), collections.Counter())
  cells = ' | '.join(str(total[x]) for x in outcomes)
  print(f'| all {sum(total.values())} | {cells} |')
  print(
    f'\n{seconds:.0f} s; no reader took more than {grown / 2**20:.0f} MiB, '
    f'where one file may take {trial.LIMIT / 2**20:.0f} MiB.'
  )


if __name__ == '__main__':
  sys.exit(main())
