"""The pretraining run at its smallest, for tests and in a process of its own.

python tests/tasks/runner.py --workdir DIR --data DIR --num_steps 6
"""

import argparse
import os
import sys

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..'))

from fusion_jax import datasets, runs
from fusion_jax.configs import pretrain as pretrain_config
from tests.train import harness


def prepare_data(path):
  """Sixty-four simulated examples of 40 x 40 pixels, with all the weather."""
  recipe = datasets.Simulated(
    image_size=40, images=('S2L2A',), splits=dict(train=64, val=10)
  )
  return datasets.prepare(recipe, path, datasets.BuildSettings(num_workers=1))


def config(data_dir, **changes):
  """The demo with a tiny model on `data_dir`, six steps; fields changed."""
  made = pretrain_config.get_config('smoke')
  made.update(
    dict(
      num_steps=6,
      batch_size=16,
      image_size=32,
      log_every=1,
      slots=dict(encoder=12, decoder=32),
      data=dict(name='terramesh', dir=str(data_dir)),
      model=dict(width=64, encoder_depth=1, decoder_depth=1, num_heads=2),
      optimizer=dict(warmup_steps=2),
      checkpoint=dict(every=2),
      evals=dict(every=2, generate=()),
    )
  )
  made.update(changes)
  return made


def main():
  flags.FLAGS.mark_as_parsed()  # Grain reads them.
  parser = argparse.ArgumentParser()
  parser.add_argument('--workdir', required=True)
  parser.add_argument('--data', required=True)
  parser.add_argument('--num_steps', type=int, default=6)
  parser.add_argument('--fsdp', type=int, default=1)
  harness.add_arguments(parser)
  args = parser.parse_args()
  harness.initialize(args)
  runs.run(
    config(args.data, num_steps=args.num_steps, mesh=dict(fsdp=args.fsdp)),
    args.workdir,
  )


if __name__ == '__main__':
  main()
