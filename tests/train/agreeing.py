"""A process of a run whose settings are given by its number."""

import argparse
import json

from tests.train import harness


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--configs', type=json.loads, required=True)
  harness.add_arguments(parser)
  args = parser.parse_args()
  harness.initialize(args)
  from fusion_jax.train import agreement

  try:
    agreement.check(args.configs[args.process_id])
  except agreement.DisagreementError as error:
    print(error)
  else:
    print('All agree.')


if __name__ == '__main__':
  main()
