"""A pretraining run on a mixture, whose log tells the examples of each step.

python tests/tasks/mixture_runner.py --workdir DIR --parts DIR DIR --stop_at 0
"""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import sys
import zlib

import grain
import jax
import numpy as np
from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..'))

from fusion_jax import datasets, runs
from fusion_jax.data import pipelines
from fusion_jax.evals import pretraining
from fusion_jax.tasks import pretrain
from tests.tasks import runner
from tests.train import harness

BATCH = 12
_apply = pipelines.apply


def prepare_parts(folder):
  """Two simulated Earths, of 40 and 15 examples."""
  parts = []
  for seed, count in ((0, 40), (1, 15)):
    recipe = datasets.Simulated(
      seed=seed,
      image_size=40,
      images=('S2L2A',),
      splits=dict(train=count, val=4),
    )
    settings = datasets.BuildSettings(num_workers=1)
    parts.append(datasets.prepare(recipe, folder / f'earth{seed}', settings))
  return parts


def example_id(example):
  """A number below 1,000 that tells examples apart, of both Earths."""
  place = f'{example["key"]} {float(example["lat"])} {float(example["lon"])}'
  return np.int32(zlib.crc32(place.encode()) % 1_000)


@dataclasses.dataclass(frozen=True)
class Numbered(grain.transforms.Map):
  """A transform that keeps the number of the example."""

  transform: object

  def map(self, example):
    return {**self.transform.map(dict(example)), 'id': example['id']}


@dataclasses.dataclass(frozen=True)
class RandomNumbered(grain.transforms.RandomMap):
  """A random transform that keeps the number of the example."""

  transform: object

  def random_map(self, example, rng):
    return {
      **self.transform.random_map(dict(example), rng),
      'id': example['id'],
    }


def apply(examples, transforms):
  """As `pipelines.apply`, with the number of each example at the end."""
  examples = examples.map(lambda e: {**e, 'id': example_id(e)})
  return _apply(
    examples,
    [
      RandomNumbered(t)
      if isinstance(t, grain.transforms.RandomMap)
      else Numbered(t)
      for t in transforms
    ],
  )


class Watching:
  """Notes the examples of every batch; asks its process to stop after some."""

  def __init__(self, batches, stop_at, notes):
    self._batches, self._stop_at, self._notes = batches, stop_at, notes
    self.get_state = batches.get_state
    self.set_state = batches.set_state
    self.close = batches.close

  def __iter__(self):
    return self

  def __next__(self):
    if self._stop_at and self.get_state()['next_index'] == self._stop_at:
      os.kill(os.getpid(), signal.SIGTERM)
    batch = next(self._batches)
    with self._notes.open('a') as file:
      line = [self.get_state()['next_index'], batch['id'].tolist()]
      file.write(json.dumps(line) + '\n')
    return batch


def seen(workdir, processes):
  """{step: numbers of the examples of the global batch}, of one run's notes."""
  shares = []
  for index in range(processes):
    lines = notes(workdir, index, processes).read_text().splitlines()
    shares.append(dict(map(json.loads, lines)))
  return {
    step: np.concatenate([share[step] for share in shares]).tolist()
    for step in shares[0]
  }


def notes(workdir, index, processes):
  """The file with the examples that one process has seen."""
  return pathlib.Path(workdir, f'seen-{index}-of-{processes}.jsonl')


class Watched(pretrain.Pretrain):
  """Notes which examples it sees; logs the sum of their numbers."""

  stop_at = 0
  workdir = ''

  def batches(self, split):
    batches = super().batches(split)
    if split != 'train':
      return batches
    own = jax.process_index(), jax.process_count()
    return Watching(batches, self.stop_at, notes(self.workdir, *own))

  def loss(self, params, extra, batch, key):
    loss, (metrics, extra) = super().loss(params, extra, batch, key)
    return loss, (metrics | {'data/ids': (batch['id'].sum(), 1)}, extra)


def config(parts, num_steps):
  """The smallest run of `runner`, on two parts of 0.75 and 0.25."""
  made = runner.config('', num_steps=num_steps, batch_size=BATCH)
  with made.unlocked():
    for path, weight in zip(parts, (0.75, 0.25)):
      name = os.path.basename(path)
      made.data.parts[name] = dict(dir=str(path), weight=weight)
  return made


def main():
  flags.FLAGS.mark_as_parsed()  # Grain reads them.
  parser = argparse.ArgumentParser()
  parser.add_argument('--workdir', required=True)
  parser.add_argument('--parts', nargs='+', required=True)
  parser.add_argument('--num_steps', type=int, default=8)
  parser.add_argument('--stop_at', type=int, default=0)
  harness.add_arguments(parser)
  args = parser.parse_args()
  harness.initialize(args)
  pipelines.apply = apply
  Watched.stop_at, Watched.workdir = args.stop_at, args.workdir
  runs.TASKS['pretrain'] = Watched, pretraining.Pretraining
  runs.run(config(args.parts, args.num_steps), args.workdir)


if __name__ == '__main__':
  main()
