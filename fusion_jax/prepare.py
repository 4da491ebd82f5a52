r"""Prepares a data set: raw archive or simulated Earth -> ArrayRecord.

  python -m fusion_jax.prepare simulated --out data/simulated
  python -m fusion_jax.prepare simulated_pixels --out data/pixels --size 5
  python -m fusion_jax.prepare samples --source examples --weather gfs --out d
  python -m fusion_jax.prepare series --weather era5 --blocks blocks.json \
      --series t2m_hourly --out DIR
  python -m fusion_jax.prepare terramesh --source TerraMesh --weather era5 \
      --out DIR --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT
  python -m fusion_jax.prepare photos --source PHOTOS --clip DIR --out DIR
      CLIP's vectors of ground photos, for the next; see its --help.
  python -m fusion_jax.prepare sen4map --source DIR --survey EU_2018.csv \
      --photos DIR --size 9 --out DIR
  python -m fusion_jax.prepare prompts --clip DIR --out DIR/prompts
      CLIP's vectors of the names of classes, beside those; see its --help.
  python -m fusion_jax.prepare tokenize --data DIR --tokenizers RUN...
      The last step: codes of image tokenizers beside the images; see its
      --help.

Killed, it continues; done, it is reused; any process that finds the last
shard written finishes the folder.
"""

import argparse
import json
import os
import pathlib
import shlex
import sys

from absl import flags, logging

from fusion_jax import prepare_readers as readers
from fusion_jax.data import composites
from fusion_jax.data.builders import examples, places, shards

_JOINED = {  # Of 'sen4map': fields of its builder that are files.
  'survey': 'CSV of the LUCAS micro-data (default: attributes of the HDF5)',
  'labels': 'CSV of the published labels of the test split',
  'photos': 'vectors of the photos, see `prepare photos`',
  'bioregions': 'map of the biogeographical regions',
  'eunis': 'map of the habitats',
  'eunis_table': 'CSV, value and name, of the values of that map',
}
_ARGUMENTS = 'prepare.json'  # Beside the data: what it was made from.


def prepare(
  dataset,
  out,
  *,
  source='',
  images=(),
  val=(),
  weather_paths=(),
  alignment='nearest',
  outside='error',
  temperature='',
  precipitation='',
  reset_hours=0,
  seed=0,
  image_size=264,
  splits=None,
  series=(),
  blocks=None,
  stations=None,
  size=1,
  composite='published',
  missing_bands=(),
  joined=None,
  examples_per_shard=256,
  num_workers=0,
  share=(0, 1),
  max_bad=0.01,
  compression='uncompressed',
  overwrite=False,
  beam_runner='',
  beam_options=(),
):
  """Writes a data set, or finds it written.

  Args:
    dataset: one of `prepare_readers.DATASETS`.
    out: folder to write.
    source: folder of the archive, for 'samples', 'terramesh' and 'sen4map';
      the Parquet of 'worldcereal'.
    images: image modalities; by default all that the source has.
    val: sample_ids of the validation split of 'samples'; by default the last.
    weather_paths: files or folders of gridded weather, for all but
      'simulated'; without any, the series of images are missing.
    alignment: 'nearest' or 'bilinear'.
    outside: 'error' or 'missing', for places off a regional grid.
    temperature: see `data.sources.gridded.Weather`.
    precipitation: the same.
    reset_hours: the same.
    seed: of the simulated Earth.
    image_size: pixels a side of simulated images.
    splits: {name: number of examples} to simulate.
    series: names of the series of 'series'.
    blocks: {split: fields of `builders.series.Block`} of 'series'.
    stations: fields of `sources.stations.Stations`, for 'series' in place of
      `weather_paths`.
    size: k, pixels a side, of 'simulated_pixels' and 'sen4map'.
    composite: of their months, see `data.composites.monthly`.
    missing_bands: names of bands that 'sen4map' lacks.
    joined: other files of 'sen4map', see `data.builders.sen4map.Sen4Map`.
    examples_per_shard: of what has no shards of its own.
    num_workers: processes; 0 is one for each processor.
    share: (i, n) of a job array: write every n-th shard from the i-th.
    max_bad: share of the examples, 0..1, that may be unreadable.
    compression: of the records: 'uncompressed', or 'zstd:1', which takes about
      half the space and reads a third slower.
    overwrite: replace a data set made with other arguments.
    beam_runner: name of an Apache Beam runner; then TFDS writes the shards
      through Beam, and `num_workers` and `share` do nothing.
    beam_options: flags of that runner, without their leading dashes.

  Returns:
    Path of the folder.

  Raises:
    ValueError: for arguments that do not fit, or a folder with another data
      set.
    shards.TooManyBadExamples: if too much cannot be read.
  """
  made_from = readers.describe(
    dataset,
    source=source,
    images=images,
    val=val,
    weather_paths=weather_paths,
    alignment=alignment,
    outside=outside,
    temperature=temperature,
    precipitation=precipitation,
    reset_hours=reset_hours,
    seed=seed,
    image_size=image_size,
    splits=splits,
    series=series,
    blocks=blocks,
    stations=stations,
    size=size,
    composite=composite,
    missing_bands=missing_bands,
    joined=joined,
    examples_per_shard=examples_per_shard,
    compression=compression,
  )
  out = pathlib.Path(out)
  if _is_done(out, made_from, overwrite, share):
    logging.info('%s is already prepared.', out)
    return out
  reader = readers.open_reader(made_from)
  out.mkdir(parents=True, exist_ok=True)
  shards.write_whole(out / _ARGUMENTS, json.dumps(made_from, indent=1))
  if dataset == 'simulated_pixels':
    places.write_beside(reader.source, out)
  command = shlex.join(sys.argv)
  if beam_runner:
    from fusion_jax.data.builders import tfds_builder

    tfds_builder.build(
      reader,
      out,
      beam_runner=beam_runner,
      max_bad=max_bad,
      command=command,
      beam_options=[f'--{flag}' for flag in beam_options],
    )
  else:
    shards.build(
      reader,
      out,
      num_workers=num_workers or os.cpu_count(),
      share=share,
      max_bad=max_bad,
      compression=compression,
      command=command,
    )
  return out


def _is_done(out, made_from, overwrite, share):
  """Whether the folder holds just this data set; if not, makes it free.

  Raises:
    ValueError: if it holds another one, and `overwrite` is false.
  """
  note = out / _ARGUMENTS
  if note.exists():
    there = json.loads(note.read_text())
    if there == made_from:
      return not overwrite and all(
        (out / name).exists()
        for name in ('dataset_info.json', 'features.json', 'statistics.json')
      )
    changed = sorted(
      key for key in there | made_from if there.get(key) != made_from.get(key)
    )
    if not overwrite:
      raise ValueError(
        f'{out} holds a data set made with other arguments: '
        + ', '.join(
          f'{key}={there.get(key)!r} (now {made_from.get(key)!r})'
          for key in changed
        )
        + '. Choose another folder, or pass '
        '--overwrite to replace it.'
      )
  elif out.exists() and any(out.glob('*.array_record')):
    raise ValueError(
      f'{out} holds records of unknown origin (there is no '
      f'{_ARGUMENTS}); choose another folder.'
    )
  if overwrite and note.exists():
    if share != (0, 1):
      raise ValueError(
        '--overwrite and --shard together would delete what '
        'the other jobs write; remove the folder first.'
      )
    _remove(out)
  return False


def _remove(out):
  """Deletes a data set's files, and nothing else."""
  # First what says that it is whole, last what says that it is one.
  for pattern in (
    'statistics.json',
    'features.json',
    'codes.json',
    '*_info.json',
    '.notes/*',
    '*.array_record*',
    'prompts/*.npz',
    'scenicness/*',
    'scores.json',
    _ARGUMENTS,
  ):
    for path in out.glob(pattern):
      path.unlink()


def _parser():
  """The command line."""
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.prepare',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('dataset', choices=readers.DATASETS)
  add('--out', required=True, metavar='DIR', help='folder to write')
  add(
    '--source',
    default='',
    metavar='DIR',
    help='folder of the archive (samples: GeoTIFFs and samples.csv; '
    'terramesh: train/ and val/; sen4map: train.h5, val.h5, test.h5; '
    'worldcereal: one Parquet)',
  )
  add(
    '--images',
    nargs='+',
    default=[],
    metavar='NAME',
    choices=list(examples.IMAGE_TYPES),
    help='image modalities: %(choices)s (default: all that are there)',
  )
  add(
    '--val',
    nargs='+',
    default=[],
    metavar='ID',
    help='samples: sample_ids of the validation split (default: the last)',
  )
  add(
    '--weather',
    nargs='+',
    default=[],
    metavar='PATH',
    dest='weather_paths',
    help='GRIB, NetCDF or Zarr files, or folders of them '
    '(default: weather is missing)',
  )
  add(
    '--alignment',
    choices=('nearest', 'bilinear'),
    default='nearest',
    help='place on the weather grid (default: %(default)s)',
  )
  add(
    '--outside',
    choices=('error', 'missing'),
    default='error',
    help='what to do with a place off a regional grid (default: %(default)s)',
  )
  add(
    '--temperature',
    default='',
    metavar='NAME',
    help='variable of the air temperature in K (default: 2t, t2m, tas)',
  )
  add(
    '--precipitation',
    default='',
    metavar='NAME',
    help='variable of the precipitation (default: tp, prate, pr, ...)',
  )
  add(
    '--reset_hours',
    type=int,
    default=0,
    metavar='H',
    help='NetCDF and Zarr: precipitation accumulates from multiples of H '
    'UTC; 0: since the last time (default: %(default)s)',
  )
  add(
    '--seed',
    type=int,
    default=0,
    help='simulated, simulated_pixels: which Earth (default: %(default)s)',
  )
  add(
    '--image_size',
    type=int,
    default=264,
    help='simulated: pixels a side (default: %(default)s)',
  )
  for split, number in readers.SPLITS.items():
    add(
      f'--num_{split}',
      type=int,
      default=number,
      metavar='N',
      help='simulated: examples (default: %(default)s)',
    )
  add(
    '--examples_per_shard',
    type=int,
    default=256,
    metavar='N',
    help='simulated: in one file (default: %(default)s)',
  )
  add(
    '--series',
    nargs='+',
    default=[],
    metavar='NAME',
    choices=list(examples.SERIES),
    help='series: which ones, of %(choices)s',
  )
  add(
    '--blocks',
    type=_json,
    metavar='FILE',
    help='series: JSON, {split: {"start", "end", "lat", "lon", "every_h"}}',
  )
  add(
    '--stations',
    type=_json,
    metavar='FILE',
    help='series: JSON, what the columns of CSV files mean: {"paths", '
    '"places", "station", "time", "time_zone", "temperature", '
    '"precipitation"}',
  )
  add(
    '--size',
    type=int,
    default=1,
    metavar='K',
    help='simulated_pixels, sen4map: pixels a side, 1, 5 or 9 '
    '(default: %(default)s)',
  )
  add(
    '--composite',
    choices=composites.KINDS,
    default='published',
    help='the same: monthly medians with clouds as zeros, as published, or '
    'of clear pixels only (default: %(default)s)',
  )
  add(
    '--missing_bands',
    nargs='+',
    default=[],
    metavar='NAME',
    choices=composites.BANDS,
    help='sen4map: bands that the files lack',
  )
  for name, meaning in _JOINED.items():
    add(f'--{name}', default='', metavar='FILE', help=f'sen4map: {meaning}')
  add(
    '--num_workers',
    type=int,
    default=0,
    metavar='N',
    help='processes (default: one for each processor)',
  )
  add(
    '--shard',
    dest='share',
    type=_share,
    default=(0, 1),
    metavar='I/N',
    help='write every N-th shard from the I-th, I = 0 .. N-1, for a job '
    'array (default: all)',
  )
  add(
    '--max_bad',
    type=float,
    default=0.01,
    metavar='SHARE',
    help='stop if more of the archive is unreadable (default: %(default)s)',
  )
  add(
    '--compression',
    default='uncompressed',
    metavar='NAME',
    help='of the records; zstd:1 takes half the space and reads a third '
    'slower (default: %(default)s)',
  )
  add(
    '--overwrite',
    action='store_true',
    help='replace a data set made with other arguments',
  )
  add(
    '--beam_runner',
    default='',
    metavar='NAME',
    help='write through TFDS and Apache Beam with this runner: '
    'DirectRunner, FlinkRunner, ... (default: own processes)',
  )
  add(
    '--beam_options',
    nargs='+',
    default=[],
    metavar='FLAG',
    help='flags of the runner, written without their leading dashes: '
    'flink_master=host:8081 (default: none)',
  )
  return parser


def _json(path):
  try:
    return json.loads(pathlib.Path(path).read_text())
  except (OSError, json.JSONDecodeError) as error:
    raise argparse.ArgumentTypeError(f'{path}: {error}') from error


def _share(text):
  """'3/16' as (3, 16)."""
  try:
    i, n = (int(number) for number in text.split('/'))
  except ValueError:
    i, n = 0, 0
  if not 0 <= i < n:
    raise argparse.ArgumentTypeError(f'{text!r} is not I/N with 0 <= I < N')
  return i, n


def main(argv=None):
  argv = sys.argv[1:] if argv is None else argv
  if argv[:1] == ['tokenize']:
    from fusion_jax import tokenize  # Needs the models; the others do not.

    return tokenize.main(argv[1:], _share)
  if argv[:1] == ['photos']:
    from fusion_jax import embed_photos

    return embed_photos.main(argv[1:], _share)
  if argv[:1] == ['prompts']:
    from fusion_jax import embed_prompts

    return embed_prompts.main(argv[1:])
  arguments = vars(_parser().parse_args(argv))
  flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  arguments['joined'] = {
    name: path for name in _JOINED if (path := arguments.pop(name))
  }
  numbers = {split: arguments.pop(f'num_{split}') for split in readers.SPLITS}
  splits = {split: number for split, number in numbers.items() if number}
  out = prepare(**arguments, splits=splits)
  logging.info('The data set is in %s.', out)


if __name__ == '__main__':
  sys.exit(main())
