"""Runs of configs/align_pixels.py at their smallest, for tests.

python tests/tasks/pixels_runner.py --workdir DIR --data DIR --num_steps 6
"""

import argparse
import os
import sys

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..'))

from fusion_jax import runs
from fusion_jax.configs import align_pixels
from tests import pixel_data
from tests.train import harness


def config(data_dir, argument='', **changes):
  """The smoke run with a tiny model on `data_dir`; fields changed."""
  made = align_pixels.get_config(f'smoke,{argument}')
  made.update(
    dict(
      num_steps=6,
      batch_size=16,
      log_every=1,
      data=dict(name='terramesh', dir=str(data_dir)),
      model=dict(
        width=32,
        depth=2,
        num_heads=2,
        hidden=16,
        unroll=1,
        output_width=pixel_data.WIDTH,
      ),
      checkpoint=dict(every=2),
    )
  )
  made.evals.split = 'val'
  if made.task == 'align_pixels':
    made.loss.queue_size = 32
    with made.unlocked():
      made.evals.update(dict(kinds=(), search='', scenicness=''))
      made.evals.prompts = {'land_cover': 'prompts/land_cover.npz'}
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
