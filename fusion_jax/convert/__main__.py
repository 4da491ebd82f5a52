r"""Converts public weights to a folder that `fusion_jax.load` reads.

  python -m fusion_jax.convert terramind \
      --source ibm-esa-geospatial/TerraMind-1.0-base --out weights/base
  python -m fusion_jax.convert terramind --source TerraMind_v1_tiny.pt \
      --out weights/tiny
  python -m fusion_jax.convert terramind \
      --source ibm-esa-geospatial/TerraMind-1.0-Tokenizer-Coords \
      --out weights/base
  python -m fusion_jax.convert clip --source openai/clip-vit-base-patch32 \
      --out weights/clip
  python -m fusion_jax.convert timesenclip --source encoder.pt \
      --out weights/timesenclip

The source is a file here (.pt, .safetensors) or an id on the Hugging Face hub,
which needs the extra 'hub'. What it holds is read off its keys. The
coordinates' file goes into the folder of the backbone that reads it. Files of
torch are read without torch, and code in them is refused. `terramind --help`
and `clip --help` list the known ids.
"""

import argparse
import sys

from absl import flags, logging

from fusion_jax.convert import write_clip, write_terramind, write_timesenclip
from fusion_jax.train import log

# Each has `DESCRIPTION`, `add_arguments(parser)` and
# `convert(source, out, **arguments)`.
CONVERTERS = {
  'clip': write_clip,
  'terramind': write_terramind,
  'timesenclip': write_timesenclip,
}


def _parser():
  """The command line."""
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.convert',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  whose = parser.add_subparsers(dest='what', required=True, metavar='WHAT')
  for name, converter in CONVERTERS.items():
    own = whose.add_parser(
      name, help=converter.DESCRIPTION, description=converter.DESCRIPTION
    )
    add = own.add_argument
    add(
      '--source',
      required=True,
      metavar='FILE_OR_ID',
      help='file, or id on the Hugging Face hub',
    )
    add('--out', required=True, metavar='DIR', help='folder to write')
    add(
      '--file',
      default='',
      metavar='NAME',
      help='file in the repository of a hub id that is not known',
    )
    add(
      '--revision',
      default='',
      metavar='NAME',
      help='branch, tag or commit on the hub (default: its main branch)',
    )
    converter.add_arguments(own)
  return parser


def main(argv=None):
  arguments = vars(_parser().parse_args(argv))
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  log.show_progress()
  try:
    CONVERTERS[arguments.pop('what')].convert(**arguments)
  except (ValueError, OSError, ImportError) as error:
    raise SystemExit(f'Not converted: {error}') from error


if __name__ == '__main__':
  sys.exit(main())
