"""A run one of whose processes stops giving batches, in a process of its own.

python tests/train/blocking.py --workdir DIR --hang_s 3 --blocks 1
"""

import argparse
import os
import sys
import threading

import jax
from absl import flags, logging

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..'))

from fusion_jax.train import settings
from tests.train import harness, regression


class Batches:
  """Batches of another iterator, which block for ever after some."""

  def __init__(self, batches, last):
    self._batches = batches
    self._last = last
    self.get_state = batches.get_state
    self.set_state = batches.set_state

  def __next__(self):
    if self.get_state()['next_index'] == self._last:
      self.wait_for_a_disk()
    return next(self._batches)

  def wait_for_a_disk(self):
    threading.Event().wait()


def main():
  flags.FLAGS.mark_as_parsed()  # Grain reads them.
  logging.set_verbosity(logging.INFO)
  parser = argparse.ArgumentParser()
  parser.add_argument('--workdir', required=True)
  parser.add_argument('--hang_s', type=float, required=True)
  parser.add_argument('--blocks', type=int, default=0)
  harness.add_arguments(parser)
  args = parser.parse_args()
  harness.initialize(args)
  task = regression.Regression
  if jax.process_index() == args.blocks:

    class Blocking(task):
      def batches(self, split):
        return Batches(super().batches(split), last=4)

    regression.Regression = Blocking
  regression.run(
    args.workdir,
    num_steps=100,
    watching=settings.Watching(hang_s=args.hang_s),
  )


if __name__ == '__main__':
  main()
