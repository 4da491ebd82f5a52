"""A small regression task with everything the loop can meet, and its runner.

  python tests/train/regression.py --workdir DIR --num_steps 6

runs it in a process of its own, to be killed, or as one of several.
"""

import argparse
import os
import sys

import grain
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..'))

from fusion_jax.train import loop, optim, retention, sharding
from tests.train import harness

FEATURES = 16
WIDTH = 512  # Its square is just big enough to be split over 'fsdp'.
OPTIMIZER = ml_collections.ConfigDict(
  dict(
    peak_lr=1e-3,
    min_lr=0.0,
    warmup_steps=2,
    warmup_tokens=0,
    b1=0.9,
    b2=0.95,
    eps=1e-8,
    weight_decay=0.05,
    clip_norm=1.0,
    skip_norm=0.0,
  )
)


class AddNoise(grain.transforms.RandomMap):
  """Draws per example and epoch, as augmentation does."""

  def random_map(self, example, rng):
    noise = rng.normal(size=FEATURES).astype(np.float32)
    return example | {'x': example['x'] + 0.01 * noise}


class Regression:
  """Predicts two 'modalities', one of which is often missing, by an MLP."""

  def __init__(self, batch_size=16, seed=0, noise=0.1, bad_step=None):
    self._batch_size = batch_size
    self._seed = seed
    self._noise = noise
    self._bad_step = bad_step  # Its loss of modality 'rain' is not finite.

  @property
  def tokens_per_step(self):
    return 0  # Reports no tokens/s.

  def flops(self, batch):
    del batch
    return 0  # Reports no utilisation.

  def keep(self, workdir):
    pass

  def init(self, key, batch):
    del batch
    keys = jax.random.split(key, 3)
    shapes = {
      'in': (FEATURES, WIDTH),
      'hidden': (WIDTH, WIDTH),
      'out': (WIDTH, 2),
    }
    params = {
      name: {
        'kernel': jax.random.normal(k, s) / np.sqrt(s[0]),
        'bias': jnp.zeros(s[1]),
      }
      for k, (name, s) in zip(keys, shapes.items())
    }
    return params, {'seen': jnp.zeros((), jnp.int32)}

  def weigh(self, batch):
    present = jnp.isfinite(batch['y'])
    counts = jnp.maximum(present.sum(0, keepdims=True), 1)
    return batch | {'weight': present / counts / 2}

  def loss(self, params, extra, batch, key):
    x = batch['x']
    x = x + self._noise * jax.random.normal(key, x.shape)
    for name in ('in', 'hidden', 'out'):
      x = x @ params[name]['kernel'] + params[name]['bias'][None]
      x = jnp.tanh(x) if name != 'out' else x
    present = jnp.isfinite(batch['y'])
    errors = jnp.where(present, (x - jnp.nan_to_num(batch['y'])) ** 2, 0)
    sums = errors.sum(0)
    if self._bad_step is not None:
      bad = jnp.where(extra['seen'] == self._bad_step, jnp.inf, 1.0)
      sums = sums * jnp.stack([jnp.float32(1), bad])
    counts = present.sum(0)
    order = jnp.arange(1, 1 + len(batch['id']))  # Any other order shows.
    metrics = {
      'loss/heat': (sums[0], counts[0]),
      'loss/rain': (sums[1], counts[1]),
      'data/ids': ((batch['id'] * order).sum(), 1),
    }
    loss = (batch['weight'] * errors).sum()
    return loss, (metrics, {'seen': extra['seen'] + 1})

  def batches(self, split):
    del split
    examples = grain.MapDataset.source(_examples()).seed(self._seed)
    examples = examples.shuffle().repeat().random_map(AddNoise())
    examples = examples[jax.process_index() :: jax.process_count()]
    examples = examples.batch(self._batch_size // jax.process_count())
    return iter(
      examples.to_iter_dataset(
        grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
      )
    )


def _examples(count=100):
  """Fixed examples; `rain` is missing in every third."""
  rng = np.random.default_rng(7)
  x = rng.normal(size=(count, FEATURES)).astype(np.float32)
  y = np.tanh(x @ rng.normal(size=(FEATURES, 2))).astype(np.float32)
  y[::3, 1] = np.nan
  return [{'x': x[i], 'y': y[i], 'id': np.int32(i)} for i in range(count)]


def optimizer(num_steps, **changes):
  """Makes the optimizer of `OPTIMIZER` with some fields changed."""
  section = OPTIMIZER.copy_and_resolve_references()
  section.update(changes)
  return optim.make(section, num_steps)


def run(
  workdir,
  *,
  num_steps=6,
  batch_size=16,
  fsdp=1,
  devices=None,
  seed=0,
  noise=0.1,
  bad_step=None,
  evals=None,
  initial_params=None,
  stop_after=None,
  **settings,
):
  """Trains the task in this process; fields of `loop.Settings` pass on.

  With `stop_after`, this process sends itself a SIGTERM so that the run saves
  and stops once that many steps, at least 2, are done.
  """
  settings = {
    'log_every': 1,
    'checkpoint_every': 2,
    'keep': retention.Keep(last=3),
  } | settings
  if stop_after is not None:
    # The evaluation after a step runs when the next step is not yet asked for.
    evals = (evals or {}) | {'stop': (1, harness.terminate_at(stop_after - 1))}
  return loop.train(
    Regression(batch_size, seed, noise, bad_step),
    optimizer(num_steps, warmup_steps=min(2, num_steps)),
    loop.Settings(num_steps, batch_size, seed, **settings),
    workdir=str(workdir),
    mesh=sharding.make_mesh(fsdp, devices),
    evals=evals,
    initial_params=initial_params,
  )


def main():
  flags.FLAGS.mark_as_parsed()  # Grain reads them.
  parser = argparse.ArgumentParser()
  parser.add_argument('--workdir', required=True)
  parser.add_argument('--num_steps', type=int, default=6)
  parser.add_argument('--fsdp', type=int, default=1)
  parser.add_argument('--noise', type=float, default=0.1)
  harness.add_arguments(parser)
  args = parser.parse_args()
  harness.initialize(args)
  run(args.workdir, num_steps=args.num_steps, fsdp=args.fsdp, noise=args.noise)


if __name__ == '__main__':
  main()
