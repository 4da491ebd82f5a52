"""A process of a run, the second of which cannot open its data."""

import argparse
import pathlib

import ml_collections

from tests.train import harness


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--workdir', type=pathlib.Path, required=True)
  parser.add_argument('--kind', choices=('parts', 'url'), required=True)
  harness.add_arguments(parser)
  args = parser.parse_args()
  harness.initialize(args)
  from fusion_jax.assembly import data_folder

  local = str(args.workdir / 'local')
  url = 'https://127.0.0.1:9/data' if args.process_id else local
  data = ml_collections.ConfigDict(
    {
      'dir': '',
      'parts': {'one': {'dir': url, 'weight': 1.0}},
      'remote': {'cache': '', 'cache_gb': 1.0, 'timeout_s': 1.0},
    }
  )
  try:
    if args.kind == 'parts':
      data_folder.open_parts(data, args.workdir)
    else:
      data_folder.open_url(data, url)
  except ValueError as error:
    print(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
  main()
