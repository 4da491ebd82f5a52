"""What a data set is made from, and the reader that this opens.

The description is plain (it is kept beside the data as JSON), and all that a
reader needs: equal descriptions are equal data sets.
"""

import contextlib
import json
import os
import pathlib

import fusion_jax
from fusion_jax.data.builders import places, shards, weather
from fusion_jax.data.builders import series as series_lib

DATASETS = (
  'simulated',
  'samples',
  'terramesh',
  'series',
  'simulated_pixels',
  'sen4map',
  'worldcereal',
)
SPLITS = {'train': 6_000, 'val': 256, 'test': 512}


def describe(
  dataset,
  *,
  source,
  images,
  val,
  weather_paths,
  alignment,
  outside,
  temperature,
  precipitation,
  reset_hours,
  seed,
  image_size,
  splits,
  series,
  blocks,
  stations,
  size,
  composite,
  missing_bands,
  joined,
  examples_per_shard,
  compression,
):
  """The description of a data set: what its bytes depend on.

  Arguments are those of `prepare.prepare`.
  """
  common = {
    'dataset': dataset,
    'layout': shards.VERSION,
    'images': sorted(images),
    'compression': compression,
  }
  by_number = {
    'version': fusion_jax.__version__,
    'seed': seed,
    'splits': dict(splits or SPLITS),
    'examples_per_shard': examples_per_shard,
  }
  if dataset == 'simulated':
    return common | by_number | {'image_size': image_size}
  if dataset == 'simulated_pixels':
    return common | by_number | {'size': size, 'composite': composite}
  if dataset == 'sen4map':
    return common | {
      'source': _absolute(source),
      'size': size,
      'composite': composite,
      'missing_bands': sorted(missing_bands),
      'joined': {
        name: _absolute(path) for name, path in (joined or {}).items()
      },
      'examples_per_shard': examples_per_shard,
    }
  if dataset == 'worldcereal':
    return common | {'source': _absolute(source)}
  description = common | {
    'source': _absolute(source),
    'val': sorted(val),
    'weather': [_absolute(path) for path in weather_paths],
    'alignment': alignment,
    'outside': outside,
    'temperature': temperature,
    'precipitation': precipitation,
    'reset_hours': reset_hours,
  }
  if dataset == 'series':
    description |= {
      'series': list(series),
      'blocks': _plain(blocks or {}),
      'stations': _plain(stations or {}),
    }
  return description


def open_reader(description):
  """A builder's source (`data.builders`) of what `describe` gave.

  Raises:
    ValueError: if there is no such data set, or its arguments do not fit.
    ImportError: if packages are missing; it names the extra.
  """
  dataset = description['dataset']
  if dataset not in _READERS:
    raise ValueError(
      f'There is no data set {dataset!r}; there are {", ".join(DATASETS)}.'
    )
  return _READERS[dataset](description)


def _simulated(of):
  """The simulated Earth in parts."""
  from fusion_jax import simulation

  chosen = {'fields': tuple(of['images'])} if of['images'] else {}
  earth = simulation.SimulatedEarth(
    seed=of['seed'], image_size=of['image_size'], splits=of['splits'], **chosen
  )
  return shards.Indexed(earth, of['examples_per_shard'])


def _simulated_pixels(of):
  """Simulated LUCAS points in parts."""
  from fusion_jax.simulation import pixels

  earth = pixels.SimulatedPixels(
    of['seed'], of['size'], of['splits'], of['composite']
  )
  return places.IndexedPlaces(earth, of['examples_per_shard'])


def _sen4map(of):
  """Sen4Map and what is joined to it."""
  with _extra('pixels'):
    from fusion_jax.data.builders import sen4map
  return sen4map.Sen4Map(
    sen4map.find_files(of['source']),
    of['size'],
    of['composite'],
    tuple(of['missing_bands']),
    **of['joined'],
    examples_per_shard=of['examples_per_shard'],
  )


def _worldcereal(of):
  """Labelled pixels of a Parquet."""
  with _extra('eval'):
    from fusion_jax.data.builders import labelled
  if not os.path.isfile(of['source']):
    raise ValueError(
      f'--source={of["source"]!r} is no file; worldcereal needs '
      'one Parquet of samples.'
    )
  return labelled.WorldCereal(of['source'])


def _series(of):
  """Windows of gridded fields, or of stations."""
  fields, stations = _weather(of), of['stations']
  if bool(fields) == bool(stations):
    raise ValueError(
      'series needs either --weather, gridded files, or '
      '--stations, what the columns of CSV files mean.'
    )
  if not of['blocks']:
    raise ValueError(
      'series needs --blocks: where and when the windows of each split lie.'
    )
  if stations:
    from fusion_jax.data.sources import stations as stations_lib

    fields = stations_lib.Stations(**stations)
  return series_lib.Windows(
    fields,
    {split: series_lib.Block(**block) for split, block in of['blocks'].items()},
    tuple(of['series']),
  )


def _archive(of):
  """A folder of images, with weather where it is given."""
  dataset, source, images = (
    of[name] for name in ('dataset', 'source', 'images')
  )
  if not source or not pathlib.Path(source).is_dir():
    raise ValueError(
      f'--source={source!r} is no folder; {dataset} needs the '
      'folder of its files.'
    )
  with _extra('terramesh'):
    if dataset == 'terramesh':
      from fusion_jax.data.sources import terramesh

      reader = terramesh.TerraMesh(source, tuple(images))
    else:
      from fusion_jax.data.sources import geotiff

      reader = geotiff.SampleFolder(source, tuple(of['val']), tuple(images))
  fields = _weather(of)
  return weather.WithWeather(reader, fields) if fields else reader


def _weather(of):
  """Gridded weather, None if there is none."""
  if not of['weather']:
    return None
  with _extra('weather'):
    from fusion_jax.data.sources import gridded
  return gridded.Weather(
    tuple(of['weather']),
    of['alignment'],
    of['outside'],
    of['temperature'],
    of['precipitation'],
    of['reset_hours'],
  )


_READERS = {
  'simulated': _simulated,
  'simulated_pixels': _simulated_pixels,
  'sen4map': _sen4map,
  'worldcereal': _worldcereal,
  'series': _series,
  'samples': _archive,
  'terramesh': _archive,
}
assert tuple(sorted(_READERS)) == tuple(sorted(DATASETS))


@contextlib.contextmanager
def _extra(name):
  """Says how to install the readers of an extra where an import fails."""
  try:
    yield
  except ImportError as error:
    raise ImportError(
      f'{error}: reading this needs more packages; install '
      f"them with pip install 'fusion_jax[{name}]'."
    ) from error


def _absolute(path):
  return os.path.abspath(os.path.expanduser(path)) if path else ''


def _plain(tree):
  """A nested mapping as JSON gives it back."""
  return json.loads(json.dumps(tree, default=dict))
