r"""Parameters, multiply-adds, latency and memory beside CLIP (Table 7).

  python -m benchmarks.efficiency [--repeats 20]

One input at a time, in float32, on this machine; the paper's numbers stand in
brackets. Its row of CLIP is one image and four texts; the image tower alone,
which is what a photo costs, is a row of its own. Prints a Markdown table.
"""

import argparse
import platform

import jax

from fusion_jax.evals import efficiency


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--repeats',
    type=int,
    default=20,
    help='timed runs; the median counts (default: %(default)s)',
  )
  repeats = parser.parse_args().repeats
  costs = [
    efficiency.of_clip(repeats=repeats),
    efficiency.of_clip_image(repeats=repeats),
    *efficiency.paper_sizes(repeats),
  ]
  print(efficiency.table(costs))
  print(
    f'\n{jax.devices()[0].device_kind}, {platform.machine()}, Python '
    f'{platform.python_version()}, jax {jax.__version__}, float32'
  )


if __name__ == '__main__':
  main()
