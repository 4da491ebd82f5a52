"""The data sets whose records are kept, how they are made, and what is kept.

Of every record file its SHA-256 is kept, and of every field what
`describe` gives: whole numbers and texts by their SHA-256, floats by values
spread over them. The bytes may differ in the last digit of a float on another
processor; the values may not.
"""

import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import tensorflow_datasets as tfds

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = pathlib.Path('tests/testdata/earlier')
_MOST_VALUES = 400  # Of a field of floats.

# Arguments of `python -m fusion_jax.prepare`; paths are relative to the root.
COMMANDS = {
  'simulated': (
    'simulated --seed 3 --image_size 32 --splits train=2 val=1 '
    '--compression zstd:1'
  ),
  'simulated_pixels': (
    'simulated_pixels --seed 3 --size 1 --splits train=8 val=4 test=4 '
    '--compression zstd:1'
  ),
  'simulated_pixels_clear': (
    'simulated_pixels --seed 4 --size 5 --splits train=4 val=2 test=2 '
    '--composite clear'
  ),
  'samples': (
    'samples --source tests/testdata/terramesh '
    '--weather tests/testdata/weather/gfs'
  ),
  'samples_bilinear': (
    'samples --source tests/testdata/terramesh --images DEM LULC '
    '--weather tests/testdata/weather/gfs --alignment bilinear'
  ),
  'series_grid': (
    'series --series t2m_hourly '
    '--weather tests/testdata/weather/era5-2mt-2019-03-01-to-06-uk.grib '
    f'--blocks {FOLDER}/archive/grid.json'
  ),
  'series_daily': (
    'series --series t2m_min_daily t2m_mean_daily '
    '--weather tests/testdata/weather/daily_surface_cancities_1990-1993.nc '
    f'--blocks {FOLDER}/archive/cities.json'
  ),
  'series_stations': (
    f'series --series tp_hourly --stations {FOLDER}/archive/stations.json '
    f'--blocks {FOLDER}/archive/places.json'
  ),
  'worldcereal': (
    'worldcereal --source tests/testdata/worldcereal/flanders_10px_long.parquet'
  ),
  'sen4map': (
    f'sen4map --source {FOLDER}/archive --survey {FOLDER}/archive/survey.csv '
    f'--labels {FOLDER}/archive/labels.csv '
    f'--photos {FOLDER}/archive/photos.safetensors --size 5'
  ),
}


def prepare(name, out):
  """Runs the command of a data set."""
  arguments = [*COMMANDS[name].split(), '--num_workers', '1']
  run('fusion_jax.prepare', *arguments, '--out', out)


def run(module, *arguments):
  """Runs a command of the library at the root, on one device.

  Returns:
    What it printed.

  Raises:
    AssertionError: if it fails.
  """
  environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  done = subprocess.run(
    [sys.executable, '-m', module, *map(str, arguments)],
    cwd=ROOT,
    env=environment | {'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=3000,
    check=False,
  )
  assert not done.returncode, done.stderr[-3000:]
  return done.stdout


def hashes(folder):
  """{name of a record file: SHA-256 of its bytes}."""
  return {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(pathlib.Path(folder).glob('*.array_record'))
  }


def values(folder, name):
  """All values of one field of one split, such as 'train/S2L1C'."""
  split, _, field = name.partition('/')
  rows = tfds.builder_from_directory(folder).as_data_source(split)
  return np.stack([np.asarray(row[field]) for row in rows]).astype(np.int64)


def describe(folder):
  """What is kept of the values of a data set, and of the vectors beside it.

  Returns:
    {'split/field/digest' or 'split/field/values' and the like: array}.
  """
  builder = tfds.builder_from_directory(folder)
  result = {}
  for split, info in sorted(builder.info.splits.items()):
    rows = list(builder.as_data_source(split)) if info.num_examples else [{}]
    for field in rows[0]:
      values = np.stack([np.asarray(row[field]) for row in rows])
      result |= _describe(f'{split}/{field}', values, _MOST_VALUES)
  folder = pathlib.Path(folder)
  for path in folder.rglob('*.npz'):
    with np.load(path) as file:
      for name in file.files:
        where = f'{path.relative_to(folder).as_posix()}/{name}'
        result |= _describe(where, file[name], _MOST_VALUES // 20)
  return result


def _describe(name, values, most):
  """What is kept of one array."""
  if values.dtype.kind == 'f':
    flat = values.ravel()
    return {
      f'{name}/values': flat[:: max(-(-flat.size // most), 1)],
      f'{name}/missing': np.isnan(flat).sum(),
      f'{name}/total': np.nansum(flat, dtype=np.float64),
    }
  content = repr((values.shape, values.dtype.kind, values.tolist()))
  digest = hashlib.sha256(content.encode()).hexdigest()
  return {f'{name}/digest': np.array(digest)}
