"""`fusion-jax clip-baseline`: a CLIP on pictures of Sentinel-2."""

import dataclasses
import pathlib
from collections.abc import Sequence

from fusion_jax.commands import arguments

COMMAND = 'fusion-jax clip-baseline'


@dataclasses.dataclass(frozen=True)
class Arguments:
  r"""CLIP on pictures of Sentinel-2: the baselines of Tables 2 to 4.

    fusion-jax clip-baseline --clip weights/clip --name CLIP \
        --source Sen4Map/test.h5 --data data/places --out runs/clip \
        --scenicness data/scenicness
        Other names of the paper: GeoRSCLIP, RemoteCLIP, SkyCLIP.

  A place is one picture, the annual composite in red, green and blue, and the
  mean of its ground photos; prompts are the files that fusion-jax prepare
  prompts wrote beside the data; --scenicness is the folder of rated prompts
  and votes that fusion-jax prepare scenicness fetches.

  Attributes:
    clip: converted CLIP, the one that embedded the photos
    source: HDF5 of the acquisitions of the split
    data: what fusion-jax prepare sen4map made of it
    out: folder to write
    name: name of the model in the paper
    split: split of the data set
    size: pixels per side of a picture
    scenicness: folder with prompts.csv and votes.tsv of scenicness (default:
      left out)
  """

  clip: arguments.Folder
  source: arguments.File
  data: arguments.Folder
  out: pathlib.Path
  name: str = 'CLIP'
  split: str = 'test'
  size: int = 64
  scenicness: arguments.Folder | None = None


def main(argv: Sequence[str]) -> None:
  """Evaluates the CLIP."""
  args = arguments.parse(COMMAND, argv, Arguments)
  from fusion_jax.evals import clip_baseline

  clip_baseline.run(
    args.clip,
    args.source,
    args.data,
    args.out,
    name=args.name,
    split=args.split,
    size=args.size,
    rated=args.scenicness or '',
  )
