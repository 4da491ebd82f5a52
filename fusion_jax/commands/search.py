"""`fusion-jax search`: places by a text."""

import dataclasses
import pathlib
from collections.abc import Sequence

from fusion_jax.commands import arguments, door

COMMAND = 'fusion-jax search'


@dataclasses.dataclass(frozen=True)
class Arguments:
  r"""Finds places by a text among embeddings of a map or of a data set.

    fusion-jax search --build map.zarr --index DIR
    fusion-jax search --build DATA --checkpoint RUN --index DIR
        Embeddings of a map, or a prepared data set and its encoder.
    fusion-jax search "flooded rice field" --index DIR --clip CLIP_DIR
    fusion-jax search "rice" --index DIR --prompts vectors.npz
        Without a CLIP: a text or a class of a file of prompt vectors.

  Answers are logged as a table and written as answers.csv, .geojson and .png.

  Attributes:
    text: what to look for
    index: folder of the index
    build: make the index, of embeddings of a map (.zarr, .parquet) or of a
      prepared data set
    checkpoint: encoder of the data set
    which: checkpoint: 'last', 'best' or a step
    split: split of the data set
    clip: converted CLIP that reads the text
    prompts: prompt vectors (.npz, .safetensors) among which the text is
    count: number of answers
    apart_m: metres that answers lie apart at least
    out: folder to write
  """

  index: pathlib.Path
  text: arguments.Positional[str] = ''
  build: str = ''
  checkpoint: arguments.Folder | None = None
  which: arguments.Which = 'last'
  split: str = 'test'
  clip: arguments.Folder | None = None
  prompts: arguments.File | None = None
  count: int = 20
  apart_m: float = 0.0
  out: pathlib.Path = pathlib.Path('answers')


def main(argv: Sequence[str]) -> None:
  """Builds the index if asked for, and searches it."""
  args = arguments.parse(COMMAND, argv, Arguments)
  if not args.text and not args.build:
    raise door.UsageError(
      f'give a text to look for, or --build; see {COMMAND} --help'
    )
  from fusion_jax.mapping import text_search

  if args.build:
    text_search.build_index(
      args.build,
      args.index,
      checkpoint=args.checkpoint or '',
      which=args.which,
      split=args.split,
    )
  if args.text:
    text_search.find_places(
      args.text,
      args.index,
      clip=args.clip or '',
      prompts=args.prompts or '',
      count=args.count,
      apart_m=args.apart_m,
      out=args.out,
    )
