"""A process of a run, which compares its settings and locks its folder."""

import argparse
import contextlib
import json

from tests.train import harness


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--configs', type=json.loads, default=[{}, {}])
  parser.add_argument('--hold', default='')
  harness.add_arguments(parser)
  args = parser.parse_args()
  harness.initialize(args)
  from fusion_jax.train import agreement, workdir

  try:
    agreement.check(args.configs[args.process_id])
    with workdir.hold(args.hold) if args.hold else contextlib.nullcontext():
      print('All agree.')
  except (agreement.DisagreementError, workdir.InUseError) as error:
    print(error)


if __name__ == '__main__':
  main()
