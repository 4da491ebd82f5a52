"""`fusion-jax map`: a map of a Sentinel-2 time series."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Literal

from fusion_jax.commands import arguments

COMMAND = 'fusion-jax map'


@dataclasses.dataclass(frozen=True)
class Arguments:
  r"""Maps a Sentinel-2 time series of an area, from texts or a classifier.

    fusion-jax map --checkpoint DIR --scene CUBE \
        --prompts prompts.json --clip CLIP_DIR --out map.tif
    fusion-jax map --checkpoint DIR --scene cube.nc \
        --missing-bands B8A --nodata 65535 --out map.tif
        A classifier (configs/align_pixels.py:supervised=...) has its classes.

  Writes a Cloud-Optimised GeoTIFF on the grid of the cube: band 1 the class
  (255 = no data, with colours and names), band 2 the confidence in percent; a
  picture of it; and a report (.md): from what model, how well it is known to
  do, what months there are, whether the pixels are like its training data.
  Months are placed by calendar and absent ones masked. Stopped, it goes on
  where it was.

  Attributes:
    checkpoint: run of configs/align_pixels.py, or a converted encoder
    scene: the cube: a Zarr store, a NetCDF file, GeoTIFFs (bands named in
      their descriptions or file names, dates there or in tags), STAC items as
      JSON, or a folder of these
    out: map to write
    which: checkpoint: 'last', 'best' or a step
    prompts: classes as texts (.json, .csv) or as prompt vectors (.npz,
      .safetensors); not for classifiers
    part: table of a JSON file of prompts
    clip: converted CLIP that reads the texts
    embeddings: write the vectors of all pixels, too: int8 with scales, as
      .zarr or .parquet (GeoParquet)
    missing_bands: bands that the cube lacks, each BAND or BAND=OTHER. B8
      stands in for B8A and B8A for B8, any other is 0; OTHER names another
      one, or 0
    nodata: value that means missing, whatever the file declares (default: as
      declared, else 0 of integers)
    scale: reflectance = value x scale + offset (default: as declared, else
      0.0001)
    offset: -0.1 for products since January 2022 that still carry it (default:
      as declared, else 0)
    months: month 1 .. 12 of each step, of cubes without dates
    start: first of the twelve months, YYYY-MM, of longer series
    crs: coordinate system EPSG:N, of cubes that name none
    hosts: hosts that assets of STAC items may be fetched from (default: none)
    setting: steps of the year that the model sees (default: as trained)
    temperature: temperature of the softmax (default: as fusion-jax calibrate
      fitted it, else 1)
    block: pixels per side of a block (default: what suits the cube)
    batch_size: pixels of a device at a time (default: 128 on CPU, else 4096)
    overwrite: replace a map, start anew
  """

  checkpoint: arguments.Folder
  scene: tuple[str, ...]
  out: pathlib.Path
  which: arguments.Which = 'last'
  prompts: arguments.File | None = None
  part: str = ''
  clip: arguments.Folder | None = None
  embeddings: str = ''
  missing_bands: tuple[str, ...] = ()
  nodata: float | None = None
  scale: float | None = None
  offset: float | None = None
  months: tuple[int, ...] = ()
  start: str = ''
  crs: str = ''
  hosts: tuple[str, ...] = ()
  setting: Literal['monthly', 'quarterly', 'single'] | None = None
  temperature: float = 0.0
  block: int = 0
  batch_size: int = 0
  overwrite: bool = False


def main(argv: Sequence[str]) -> None:
  """Loads the model with its classes, and maps the cube."""
  args = arguments.parse(COMMAND, argv, Arguments)
  from absl import logging

  from fusion_jax.data.sources.imagery import encoding
  from fusion_jax.mapping import class_prompts, maps

  classifier = class_prompts.load_classifier(
    args.checkpoint,
    which=args.which,
    prompts=args.prompts or '',
    part=args.part,
    clip=args.clip or '',
    setting=args.setting or '',
    temperature=args.temperature,
    batch_size=args.batch_size,
  )
  out = maps.map_scene(
    classifier,
    args.scene,
    args.out,
    declared=encoding.Declared(
      args.scale,
      args.offset,
      args.nodata,
      args.months,
      args.start,
      args.crs,
      args.hosts,
    ),
    missing_bands=args.missing_bands,
    embeddings=args.embeddings,
    block=args.block,
    overwrite=args.overwrite,
  )
  logging.info('Wrote %s, a picture and a report of it.', out)
