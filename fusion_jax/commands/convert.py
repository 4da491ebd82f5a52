"""`fusion-jax convert`: public weights to folders for `fusion_jax.load`."""

import dataclasses
import importlib
import pathlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

from fusion_jax.commands import arguments, door
from fusion_jax.convert import published

COMMAND = 'fusion-jax convert'
_INTRODUCTION = """
Converts public weights to a folder that fusion_jax.load reads.

  fusion-jax convert terramind \\
      --source ibm-esa-geospatial/TerraMind-1.0-base --out weights/base
  fusion-jax convert terramind --source TerraMind_v1_tiny.pt \\
      --out weights/tiny
  fusion-jax convert terramind \\
      --source ibm-esa-geospatial/TerraMind-1.0-Tokenizer-Coords \\
      --out weights/base
  fusion-jax convert clip --source openai/clip-vit-base-patch32 \\
      --out weights/clip
  fusion-jax convert timesenclip --source encoder.pt --out weights/timesenclip

The source is a file here (.pt, .safetensors) or an id on the Hugging Face hub,
which needs the extra 'hub'. What it holds is read off its keys. The
coordinates' file goes into the folder of the backbone that reads it. Files of
torch are read without torch, and code in them is refused.
"""


@dataclasses.dataclass(frozen=True)
class Weights:
  """Weights to convert.

  Attributes:
    source: file, or id on the Hugging Face hub
    out: folder to write
    file: file in the repository of a hub id that is not known
    revision: branch, tag or commit on the hub (default: its main branch)
  """

  source: str
  out: pathlib.Path
  file: str = ''
  revision: str = ''


@dataclasses.dataclass(frozen=True)
class Clip:
  """How the weights of a CLIP are read.

  Attributes:
    activation: what the weights were trained with (default: as the
      config.json beside the file says, or as known of a published file)
  """

  activation: Literal['auto', 'quick_gelu', 'gelu'] = 'auto'


@dataclasses.dataclass(frozen=True)
class TerraMind:
  """How the weights of TerraMind are read.

  Attributes:
    variant: what the backbone should be; anything else is an error (default:
      what it is)
    modality: modality of a tokenizer whose file does not tell it by its name
    num_heads: number of heads of a model of no published size (default: heads
      64 wide)
  """

  variant: Literal['tiny', 'small', 'base', 'large'] | None = None
  modality: Literal['S2L2A', 'S1RTC', 'S1GRD', 'DEM', 'LULC', 'NDVI'] | None = (
    None
  )
  num_heads: int = 0


@dataclasses.dataclass(frozen=True)
class TimeSenClip:
  """How the weights of TimeSenCLIP are read.

  Attributes:
    activation: what the weights were trained with (default: relu, as in all
      public code; the paper names the GELU)
    num_heads: number of heads of the attention (default: heads 64 wide)
    single: position of a single time step: the mean of the twelve, or
      January's as in the newest public code
  """

  activation: Literal['relu', 'gelu'] = 'relu'
  num_heads: int = 0
  single: Literal['mean', 'first'] = 'mean'


class Kind(NamedTuple):
  """A kind of weights.

  Attributes:
    description: what the weights are, in one line.
    options: dataclass of the arguments that only this kind has.
    module: module with the function `convert`.
    known: ids on the hub that are known.
  """

  description: str
  options: type
  module: str
  known: tuple[str, ...]


KINDS = {
  'clip': Kind(
    'CLIP with a ViT, of OpenAI, OpenCLIP or Hugging Face',
    Clip,
    'fusion_jax.convert.write_clip',
    tuple(x.hub_id for x in published.CLIP if x.hub_id),
  ),
  'terramind': Kind(
    "TerraMind's backbones, encoders, tokenizers and coordinates",
    TerraMind,
    'fusion_jax.convert.write_terramind',
    tuple(published.TERRAMIND),
  ),
  'timesenclip': Kind(
    "TimeSenCLIP's encoder of pixels, alone or in a training run",
    TimeSenClip,
    'fusion_jax.convert.write_timesenclip',
    (),
  ),
}


def main(argv: Sequence[str]) -> None:
  """Converts the weights."""
  descriptions = {name: kind.description for name, kind in KINDS.items()}
  name = door.choose(COMMAND, argv, descriptions, _INTRODUCTION)
  kind = KINDS[name]
  about = f'Converts {kind.description}.'
  if kind.known:
    about += '\n\nKnown ids on the Hugging Face hub:\n  '
    about += '\n  '.join(kind.known)
  weights, options = arguments.parse_several(
    f'{COMMAND} {name}', argv[1:], (Weights, kind.options), about
  )
  chosen = {
    key: value
    for key, value in dataclasses.asdict(options).items()
    if value is not None
  }
  importlib.import_module(kind.module).convert(
    weights.source,
    weights.out,
    file=weights.file,
    revision=weights.revision,
    **chosen,
  )
