"""`fusion-jax generate`: weather series from Sentinel-2 scenes."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Literal

from fusion_jax.commands import arguments, door

COMMAND = 'fusion-jax generate'


@dataclasses.dataclass(frozen=True)
class Arguments:
  r"""Generates a weather series from a Sentinel-2 scene of your own.

    fusion-jax generate --checkpoint runs/pretrain \
        --inputs scene.tif --target t2m_hourly --out weather

  Writes SCENE_TARGET.csv (mean and quantiles by lead), .nc (these and all
  samples) and .png. The scene has 10 m pixels and the model's own size; of a
  larger one the centre is taken, or with --tiles all whole tiles.

  Attributes:
    checkpoint: work directory of a run of configs/pretrain.py
    inputs: Sentinel-2 scenes: GeoTIFF, product *.SAFE, patch of BigEarthNet,
      STAC item, NetCDF or Zarr, bands by name in any order; of a GeoTIFF
      without any name, exactly the 12 of L2A in order
    out: folder to write
    which: checkpoint: 'last', 'best' or a step
    product: product of the scenes
    time: acquisition, such as 2020-04-08T14:37:29 (default: the tag of the
      file, or the name of its product)
    offset: number subtracted from the pixels: 1000 for products since January
      2022 that still carry it (default: as declared, else 0)
    scale: reflectance = value x scale (default: as declared, else 0.0001)
    nodata: value that means missing, whatever the file declares
    hosts: hosts that assets of STAC items may be fetched from (default: none)
    target: series to generate
    num_samples: number of series drawn
    temperature: temperature of the random draws; 0 is greedy
    top_k: draw from the k most probable values; 0 draws from all
    top_p: draw from the values that hold this mass of probability; 0 draws
      from all
    seed: seed of the random draws
    tiles: use all whole tiles of a larger scene, not only its centre
    with_place: show the model latitude and longitude, too
  """

  checkpoint: arguments.Folder
  inputs: tuple[str, ...]
  out: pathlib.Path
  which: arguments.Which = 'last'
  product: Literal['S2L2A', 'S2L1C'] = 'S2L2A'
  time: str | None = None
  offset: int | None = None
  scale: float | None = None
  nodata: float | None = None
  hosts: tuple[str, ...] = ()
  target: str = 't2m_hourly'
  num_samples: int = 64
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 0.0
  seed: int = 0
  tiles: bool = False
  with_place: bool = False


def main(argv: Sequence[str]) -> None:
  """Generates a series of every scene, and writes it."""
  args = arguments.parse(COMMAND, argv, Arguments)
  stems = [pathlib.Path(path).stem for path in args.inputs]
  if len(set(stems)) < len(stems):
    raise door.UsageError(
      f'of {len(stems)} scenes some have the same name, and one would '
      'overwrite the other; use several --out'
    )
  import jax
  from absl import logging

  from fusion_jax import extras, inference

  with extras.needed('geo', 'Reading scenes'):
    from fusion_jax.data.sources import geotiff
  from fusion_jax.mapping import scene_series

  model = inference.load_as(
    inference.BackboneModel, args.checkpoint, args.which, use='generate'
  )
  logging.info('The model runs on %s.', jax.devices()[0].device_kind)
  for path in args.inputs:
    result = scene_series.generate_series(
      model,
      geotiff.read_scene(
        path,
        args.product,
        args.time,
        args.offset,
        scale=args.scale,
        nodata=args.nodata,
        size=scene_series.image_size(model),
        tiles=args.tiles,
        hosts=args.hosts,
      ),
      args.target,
      num_samples=args.num_samples,
      temperature=args.temperature,
      top_k=args.top_k,
      top_p=args.top_p,
      seed=args.seed,
      tiles=args.tiles,
      with_place=args.with_place,
    )
    written = scene_series.write_series(result, args.out)
    logging.info('Wrote %s', ', '.join(map(str, written)))
