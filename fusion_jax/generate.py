"""Generates a weather series from a Sentinel-2 scene of your own.

  python -m fusion_jax.generate --checkpoint runs/pretrain \
      --inputs scene.tif --target t2m_hourly --out weather

Writes SCENE_TARGET.csv (mean and quantiles by lead), .nc (these and all
samples) and .png. The scene has 10 m pixels and the model's own size; of a
larger one the centre is taken, or with --tiles all whole tiles around the
centre, whose samples are put together.
"""

import argparse
import csv
import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
from absl import logging

import fusion_jax
from fusion_jax import modalities
from fusion_jax.data import windows
from fusion_jax.evals import plots

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclasses.dataclass(frozen=True)
class Result:
  """A generated series of one scene.

  Attributes:
    modality: `Modality` of the series.
    samples: [S, T], in the modality's unit.
    time: [T] datetime64[s], UTC: the hour, or the day.
    scene: `geotiff.Scene`.
    picture: [Y, X, 3] in [0, 1], what the model saw.
  """

  modality: Any
  samples: np.ndarray
  time: np.ndarray
  scene: Any
  picture: np.ndarray

  @property
  def table(self):
    """{'mean', 'q05', ...: [T]}."""
    quantiles = np.quantile(self.samples, QUANTILES, axis=0, method='weibull')
    return {'mean': self.samples.mean(axis=0)} | {
      f'q{round(100 * share):02d}': values
      for share, values in zip(QUANTILES, quantiles)
    }


def generate(
  model,
  scene,
  target='t2m_hourly',
  *,
  num_samples=64,
  temperature=1.0,
  top_k=0,
  top_p=0.0,
  seed=0,
  tiles=False,
  with_place=False,
):
  """Generates a series from a scene.

  Args:
    model: of `fusion_jax.load`.
    scene: `geotiff.Scene`.
    target: name of a series.
    num_samples: series drawn, over all tiles together at least.
    temperature: see `Model.generate`.
    top_k: likewise.
    top_p: likewise.
    seed: of the draws.
    tiles: use all whole tiles of a larger scene instead of its centre.
    with_place: show the model latitude and longitude, too.

  Returns:
    `Result`.

  Raises:
    ValueError: for a scene smaller than the model's image, or a target that
      is no series.
  """
  if modalities.get(target, 'target').kind != 'series':
    raise ValueError(
      f'{target} is no weather series; choose among '
      f'{[m.name for m in model.modalities if m.leads]}.'
    )
  images = cut(scene.image, model.image_size, tiles)
  logging.info(
    'Of %d x %d pixels the model sees %d tile(s) of %d x %d%s.',
    *scene.image.shape[:2],
    len(images),
    *images.shape[1:3],
    '' if tiles else ': the centre',
  )
  inputs = {scene.name: images}
  if with_place:
    inputs |= {
      name: np.full(len(images), value)
      for name, value in (('lat', scene.lat), ('lon', scene.lon))
    }
  samples = model.generate(
    inputs,
    target,
    num_samples=-(-num_samples // len(images)),
    temperature=temperature,
    top_k=top_k,
    top_p=top_p,
    seed=seed,
  )
  modality = modalities.MODALITIES[target]
  red_green_blue = [
    modalities.IMAGE_FIELDS[scene.name].bands.index(band)
    for band in ('B04', 'B03', 'B02')
  ]
  picture = _assemble(images, scene.image, model.image_size, tiles)
  return Result(
    modality,
    samples.reshape(-1, samples.shape[-1]),
    valid_time(modality, scene.time),
    scene,
    plots.stretch(picture[..., red_green_blue]),
  )


def cut(image, size, tiles=False):
  """The centre of an image [Y, X, C], or all whole tiles around the centre.

  Returns:
    [n, size, size, C], row by row.

  Raises:
    ValueError: if the image is smaller than one tile.
  """
  top, left, rows, columns = _grid(image, size, tiles)
  return np.stack(
    [
      image[
        top + i * size : top + (i + 1) * size,
        left + j * size : left + (j + 1) * size,
      ]
      for i in range(rows)
      for j in range(columns)
    ]
  )


def valid_time(modality, acquisition):
  """[T] datetime64[s] of the leads of a series.

  Args:
    modality: of the series.
    acquisition: seconds since 1970 UTC; leads count from its full hour, or
      from its UTC day.
  """
  leads = np.asarray(modality.leads)
  if modality.name.endswith('hourly'):
    seconds = (windows.acquisition_hour(acquisition) + leads) * windows.HOUR
  else:
    seconds = (windows.acquisition_day(acquisition) + leads) * windows.DAY
  return seconds.astype('datetime64[s]')


def write(result, out):
  """Writes CSV, NetCDF and a plot; returns their paths."""
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  stem = f'{result.scene.key}_{result.modality.name}'
  paths = [out / f'{stem}{ending}' for ending in ('.csv', '.nc', '.png')]
  _write_csv(result, paths[0])
  _write_netcdf(result, paths[1])
  plots.series(
    paths[2],
    result.modality.leads,
    result.samples,
    result.picture,
    f'{result.modality.name}, {result.scene.key}',
    result.modality.unit,
    'hours' if result.modality.name.endswith('hourly') else 'days',
  )
  return paths


def _write_csv(result, path):
  with path.open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['lead', 'time_utc', *result.table])
    columns = zip(result.modality.leads, result.time, *result.table.values())
    for lead, time, *values in columns:
      writer.writerow([lead, f'{time}Z', *(f'{x:.3f}' for x in values)])


def _write_netcdf(result, path):
  import xarray  # Of the extra 'geo'.

  name, unit = result.modality.name, result.modality.unit
  variables = {
    f'{name}_{key}': ('lead', values.astype(np.float32), {'units': unit})
    for key, values in result.table.items()
  }
  variables[name] = (('sample', 'lead'), result.samples, {'units': unit})
  scene = result.scene
  xarray.Dataset(
    variables,
    {
      'lead': np.asarray(result.modality.leads, np.int32),
      'time': ('lead', result.time.astype('datetime64[ns]')),
    },
    {
      'title': f'{name} generated from {scene.key}',
      'source': f'fusion_jax {fusion_jax.__version__}',
      'latitude': scene.lat,
      'longitude': scene.lon,
      'acquisition': f'{np.datetime64(int(scene.time), "s")}Z',
    },
  ).to_netcdf(path, engine='h5netcdf')


def _grid(image, size, tiles):
  """Top, left, rows and columns of the tiles around the centre."""
  height, width = image.shape[:2]
  if min(height, width) < size:
    raise ValueError(
      f'The scene has {height} x {width} pixels, but the model sees {size} x '
      f'{size}; give a larger one.'
    )
  rows, columns = (height // size, width // size) if tiles else (1, 1)
  return (
    (height - rows * size) // 2,
    (width - columns * size) // 2,
    rows,
    columns,
  )


def _assemble(images, scene, size, tiles):
  """The tiles [n, size, size, C] side by side again."""
  _, _, rows, columns = _grid(scene, size, tiles)
  images = images.reshape(rows, columns, *images.shape[1:])
  return images.swapaxes(1, 2).reshape(
    rows * size, columns * size, images.shape[-1]
  )


def _parser():
  """The command line."""
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.generate',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add(
    '--checkpoint',
    required=True,
    metavar='DIR',
    help='work directory of a run of configs/pretrain.py',
  )
  add(
    '--which',
    default='last',
    metavar='STEP',
    help="'last', 'best' or a step (default: %(default)s)",
  )
  add(
    '--inputs',
    required=True,
    nargs='+',
    metavar='TIF',
    help='Sentinel-2 scenes: GeoTIFF, bands named in their descriptions, or '
    'exactly the 12 of L2A in order; reflectance x 10,000',
  )
  add(
    '--product',
    choices=('S2L2A', 'S2L1C'),
    default='S2L2A',
    help='what the scenes are (default: %(default)s)',
  )
  add(
    '--time',
    default=None,
    metavar='UTC',
    help='acquisition, such as 2020-04-08T14:37:29 (default: the tag of the '
    'file)',
  )
  add(
    '--offset',
    type=int,
    default=0,
    metavar='N',
    help='subtracted from the pixels: 1000 for products since January 2022 '
    'that still carry it (default: %(default)s)',
  )
  add(
    '--target',
    default='t2m_hourly',
    metavar='NAME',
    help='series to generate (default: %(default)s)',
  )
  add('--out', required=True, metavar='DIR', help='folder to write')
  add(
    '--num_samples',
    type=int,
    default=64,
    metavar='N',
    help='series drawn (default: %(default)s)',
  )
  add(
    '--temperature',
    type=float,
    default=1.0,
    help='of the draws; 0 is greedy (default: %(default)s)',
  )
  add(
    '--top_k',
    type=int,
    default=0,
    metavar='K',
    help='draw from the K most probable values; 0: all (default)',
  )
  add(
    '--top_p',
    type=float,
    default=0.0,
    metavar='P',
    help='draw from the values that hold this mass; 0: all (default)',
  )
  add('--seed', type=int, default=0, help='of the draws (default: 0)')
  add(
    '--tiles',
    action='store_true',
    help='use all whole tiles of a larger scene, not only its centre',
  )
  add(
    '--with_place',
    action='store_true',
    help='show the model latitude and longitude, too',
  )
  return parser


def main(argv=None):
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  args = _parser().parse_args(argv)
  try:
    from fusion_jax.data.sources import geotiff
  except ImportError as error:
    raise SystemExit(
      f'{error}: reading scenes needs more packages; install '
      "them with pip install 'fusion_jax[geo]'."
    ) from error
  stems = [pathlib.Path(path).stem for path in args.inputs]
  if len(set(stems)) < len(stems):
    raise SystemExit(
      f'Of {len(stems)} scenes some have the same name, and one '
      'would overwrite the other; use several --out.'
    )
  which = int(args.which) if args.which.isdigit() else args.which
  model = fusion_jax.load(args.checkpoint, which)
  logging.info('The model runs on %s.', jax.devices()[0].device_kind)
  for path in args.inputs:
    scene = geotiff.read_scene(path, args.product, args.time, args.offset)
    result = generate(
      model,
      scene,
      args.target,
      num_samples=args.num_samples,
      temperature=args.temperature,
      top_k=args.top_k,
      top_p=args.top_p,
      seed=args.seed,
      tiles=args.tiles,
      with_place=args.with_place,
    )
    logging.info('Wrote %s', ', '.join(map(str, write(result, args.out))))


if __name__ == '__main__':
  main()
