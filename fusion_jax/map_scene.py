r"""Maps a Sentinel-2 time series of an area, from texts or a classifier.

  python -m fusion_jax.map_scene --checkpoint DIR --scene CUBE \
      --prompts prompts.json --clip CLIP_DIR --out map.tif
  python -m fusion_jax.map_scene --checkpoint DIR --scene cube.nc \
      --missing-band B8A --nodata 65535 --out map.tif
      A classifier (configs/align_pixels.py:supervised=...) has its classes.

Writes a Cloud-Optimised GeoTIFF on the grid of the cube: band 1 the class (255
= no data, with colours and names), band 2 the confidence in percent; and a
picture of it. Months are placed by calendar and absent ones masked; a month
with several acquisitions takes the median of the clear ones. Stopped, it goes
on where it was.
"""

import argparse
import pathlib

from absl import flags, logging

import fusion_jax
from fusion_jax.mapping import class_prompts, classify, cube, scene
from fusion_jax.train import log


def map_scene(
  checkpoint,
  paths,
  out,
  *,
  which='last',
  prompts='',
  part='',
  clip='',
  declared=None,
  missing=(),
  embeddings='',
  setting='',
  temperature=0.0,
  block=0,
  batch_size=0,
  overwrite=False,
):
  """Maps a cube; see `scene.write_map`.

  Args:
    checkpoint: folder for `fusion_jax.load`.
    paths: of the cube, see `open_cube.open_cube`.
    out: GeoTIFF to write.
    which: 'last', 'best' or a step.
    prompts: see `class_prompts.find`, as part, clip and temperature.
    part: likewise.
    clip: likewise.
    declared: `cube.Declared`: what the files do not say, or say wrong.
    missing: names of bands that the cube lacks.
    embeddings: .zarr or .parquet to write, too.
    setting: see `classify.Classifier`.
    temperature: see `class_prompts.find`.
    block: pixels a side of a block; 0: what suits the cube.
    batch_size: pixels of a device at a time; 0: what suits it.
    overwrite: replace what is there.

  Returns:
    The path of the map.
  """
  from fusion_jax.mapping import open_cube, pictures

  model = fusion_jax.load(checkpoint, which)
  classes, calibration = class_prompts.find(
    model,
    checkpoint,
    prompts=prompts,
    part=part,
    clip=clip,
    temperature=temperature,
  )
  opened = open_cube.open_cube(
    paths,
    declared=declared,
    missing=missing,
    unread=tuple(model.config.missing_bands),
  )
  classifier = classify.Classifier(
    model, classes, setting=setting, batch_size=batch_size
  )
  logging.info(
    '%d classes. Confidence: %s',
    len(classes.names),
    scene.describe(calibration),
  )
  out = scene.write_map(
    opened,
    classifier,
    out,
    embeddings=embeddings,
    block=block,
    calibration=calibration,
    overwrite=overwrite,
  )
  pictures.draw_map(out, out.with_suffix('.png'))
  return out


def _parser():
  """The command line."""
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.map_scene',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add(
    '--checkpoint',
    required=True,
    metavar='DIR',
    help='work directory of a run of configs/align_pixels.py, or a converted '
    'encoder',
  )
  add(
    '--which',
    default='last',
    metavar='STEP',
    help="'last', 'best' or a step (default: %(default)s)",
  )
  add(
    '--scene',
    required=True,
    nargs='+',
    metavar='PATH',
    help='the cube: a Zarr store, a NetCDF file, GeoTIFFs (bands named in '
    'their descriptions or in the names of files, dates there or in tags), '
    'STAC items as JSON, or a folder of these',
  )
  add(
    '--prompts',
    default='',
    metavar='FILE',
    help='classes as texts (.json, .csv) or as prompt vectors (.npz, '
    '.safetensors); not for classifiers',
  )
  add('--part', default='', metavar='KEY', help='table of a JSON file')
  add(
    '--clip',
    default='',
    metavar='DIR',
    help='converted CLIP that reads the texts',
  )
  add(
    '--out',
    required=True,
    metavar='TIF',
    type=pathlib.Path,
    help='map to write',
  )
  add(
    '--embeddings',
    default='',
    metavar='PATH',
    help='write the vectors of all pixels, too: int8 with scales, as .zarr '
    'or .parquet (GeoParquet)',
  )
  add(
    '--missing-band',
    action='append',
    default=[],
    metavar='BAND[=OTHER]',
    help='band that the cube lacks; may be repeated. B8 stands in for B8A '
    'and B8A for B8, any other is 0; OTHER names another one, or 0',
  )
  add(
    '--nodata',
    type=float,
    metavar='VALUE',
    help='value that means missing, whatever the file declares (default: '
    'as declared, else 0 of integers)',
  )
  add(
    '--scale',
    type=float,
    metavar='S',
    help='reflectance = value x S + offset (default: as declared, else 0.0001)',
  )
  add(
    '--offset',
    type=float,
    metavar='O',
    help='-0.1 for products since January 2022 that still carry it '
    '(default: as declared, else 0)',
  )
  add(
    '--months',
    type=int,
    nargs='+',
    default=(),
    metavar='M',
    help='month 1 .. 12 of each step, of cubes without dates',
  )
  add(
    '--start',
    default='',
    metavar='YYYY-MM',
    help='first of the twelve months, of longer series',
  )
  add('--crs', default='', metavar='EPSG:N', help='of cubes that name none')
  add(
    '--setting',
    default='',
    choices=('monthly', 'quarterly', 'single'),
    help='steps of the year that the model sees (default: as trained)',
  )
  add(
    '--temperature',
    type=float,
    default=0.0,
    metavar='T',
    help='of the softmax (default: as python -m fusion_jax.calibrate fitted '
    'it, else 1)',
  )
  add(
    '--block',
    type=int,
    default=0,
    metavar='N',
    help='pixels a side of a block (default: what suits the cube)',
  )
  add(
    '--batch_size',
    type=int,
    default=0,
    metavar='N',
    help='pixels of a device at a time (default: 128 on CPU, else 4096)',
  )
  add('--overwrite', action='store_true', help='replace a map, start anew')
  return parser


def main(argv=None):
  flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  log.show_progress()
  args = _parser().parse_args(argv)
  declared = cube.Declared(
    args.scale,
    args.offset,
    args.nodata,
    tuple(args.months),
    args.start,
    args.crs,
  )
  try:
    out = map_scene(
      args.checkpoint,
      args.scene,
      args.out,
      which=args.which,
      prompts=args.prompts,
      part=args.part,
      clip=args.clip,
      declared=declared,
      missing=args.missing_band,
      embeddings=args.embeddings,
      setting=args.setting,
      temperature=args.temperature,
      block=args.block,
      batch_size=args.batch_size,
      overwrite=args.overwrite,
    )
  except ImportError as error:
    raise SystemExit(
      f'{error}: maps need more packages; install them with '
      "pip install 'fusion_jax[map]'."
    ) from error
  logging.info('Wrote %s, and a picture of it.', out)


if __name__ == '__main__':
  main()
