"""Small valid files of every format that a reader takes, and their readers."""

import gzip
import json
import pathlib
import shutil
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import rasterio
import xarray as xr
from PIL import Image
from safetensors import numpy as safetensors_numpy

from fusion_jax import modalities
from fusion_jax.convert import files, torch_files
from fusion_jax.data import bands, clip_images, normalize, prompt_files, records
from fusion_jax.data.sources import (
  geotiff,
  gridded,
  labelled_pixels,
  lucas,
  photo_vectors,
  region_maps,
  samples,
  scenicness,
  sen4map,
  stations,
  terramesh,
)
from fusion_jax.data.sources.imagery import encoding
from fusion_jax.datasets import description
from fusion_jax.mapping import (
  blocks,
  calibration,
  embeddings,
  index,
  open_cube,
)
from fusion_jax.simulation import pixel_archive, pixels

DATA = pathlib.Path(__file__).resolve().parents[1] / 'testdata'
_PLACE = rasterio.Affine(10, 0, 664_000, 0, -10, 5_612_120)
_CRS = 'EPSG:32631'
_TIME = '2020-04-08T14:37:29'


class Format(NamedTuple):
  """A kind of file.

  Attributes:
    make: function from a folder to a file or folder that it writes there.
    read: function that reads it as commands do.
  """

  make: Callable[[pathlib.Path], pathlib.Path]
  read: Callable[[pathlib.Path], Any]


def _copied(name: str) -> Callable[[pathlib.Path], pathlib.Path]:
  """Returns the maker of a copy of a file of the tests."""

  def make(folder: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copy(DATA / name, folder))

  return make


def _raster(path: pathlib.Path, names: Iterable[str], **options: Any):
  """Writes a raster of 9 x 7 pixels with the names of its bands."""
  names, rng = list(names), np.random.default_rng(0)
  values = rng.integers(500, 4000, (len(names), 9, 7)).astype(np.uint16)
  profile = dict(driver='GTiff', count=len(names), height=9, width=7)
  profile |= dict(dtype='uint16', crs=_CRS, transform=_PLACE) | options
  with rasterio.open(path, 'w', **profile) as file:
    file.write(values.astype(profile['dtype']))
    if profile['driver'] == 'GTiff':
      file.descriptions = names
      file.update_tags(datetime=_TIME)
  return path


def _scene(**options: Any) -> Callable[[pathlib.Path], pathlib.Path]:
  ending = 'jp2' if options.get('driver') == 'JP2OpenJPEG' else 'tif'
  names = modalities.IMAGE_FIELDS['S2L2A'].bands

  def make(folder: pathlib.Path) -> pathlib.Path:
    return _raster(folder / f'scene.{ending}', names, **options)

  return make


def _read_scene(path: pathlib.Path) -> Any:
  return geotiff.read_scene(path, time=_TIME)


def _cube() -> xr.Dataset:
  """Returns a cube of all bands in three months."""
  rng = np.random.default_rng(0)
  data = xr.Dataset(
    {
      band: (
        ('time', 'y', 'x'),
        rng.integers(500, 4000, (3, 9, 7)).astype(np.int16),
        {'_FillValue': np.int16(0)},
      )
      for band in bands.BANDS
    },
    {
      'time': np.array(['2020-01-15', '2020-02-15', '2020-03-15'], 'M8[ns]'),
      'y': _PLACE.f - 10 * (np.arange(9) + 0.5),
      'x': _PLACE.c + 10 * (np.arange(7) + 0.5),
    },
    {'crs': _CRS},
  )
  for variable in data.data_vars.values():
    variable.encoding['_FillValue'] = variable.attrs.pop('_FillValue')
  return data


def _cube_file(name: str, **options: Any):
  def make(folder: pathlib.Path) -> pathlib.Path:
    if name.endswith('.zarr'):
      _cube().to_zarr(folder / name, **options)
    else:
      _cube().to_netcdf(folder / name, **options)
    return folder / name

  return make


def _rasters_of_months(folder: pathlib.Path) -> pathlib.Path:
  out = folder / 'rasters'
  out.mkdir()
  for month in (1, 2):
    _raster(out / f'S2_20200{month}15.tif', bands.BANDS, tiled=True)
  return out


def _item(folder: pathlib.Path) -> pathlib.Path:
  out = folder / 'items'
  out.mkdir()
  assets = {}
  for band in bands.BANDS:
    _raster(out / f'{band}.tif', [band])
    assets[band] = {
      'href': f'{band}.tif',
      'eo:bands': [{'name': band}],
      'raster:bands': [{'nodata': 0, 'scale': 1e-4, 'offset': 0}],
    }
  properties = {'datetime': f'{_TIME}Z', 's2:processing_baseline': '02.08'}
  item = {'type': 'Feature', 'id': 'a', 'assets': assets}
  (out / 'item.json').write_text(json.dumps(item | {'properties': properties}))
  return out


def _read_cube(path: pathlib.Path) -> None:
  declared = encoding.Declared()
  cube = open_cube.open_cube([path], declared=declared)
  rows, columns = cube.shape
  cube.source.read('B4', slice(0, min(rows, 8)), slice(0, min(columns, 8)))


def _weather_file(name: str, **options: Any):
  def make(folder: pathlib.Path) -> pathlib.Path:
    data = xr.Dataset(
      {'t2m': (('time', 'latitude', 'longitude'), np.full((5, 3, 4), 280.0))},
      {
        'time': np.arange(5).astype('M8[h]').astype('M8[ns]'),
        'latitude': np.array([51.0, 50.0, 49.0]),
        'longitude': np.array([3.0, 4.0, 5.0, 6.0]),
      },
    )
    data.t2m.attrs['units'] = 'K'
    if name.endswith('.zarr'):
      data.to_zarr(folder / name, **options)
    else:
      data.to_netcdf(folder / name, **options)
    return folder / name

  return make


def _read_weather(path: pathlib.Path) -> None:
  weather = gridded.Weather((str(path),), outside='missing')
  for record in weather.records[:3]:
    weather.field(record)
    record.file.grid(record)
  if not weather.records:
    raise ValueError(f'{path} has no field: {weather.report()["damaged"]}')


def _stations(ending: str):
  rows = ['origin,time_hour,precip']
  rows += [
    f'EWR,2013-02-0{d} {h:02d}:00:00,0.1' for d in '12' for h in range(9)
  ]

  def make(folder: pathlib.Path) -> pathlib.Path:
    path, text = folder / f'hourly{ending}', '\n'.join(rows).encode()
    path.write_bytes(gzip.compress(text) if ending.endswith('gz') else text)
    return path

  return make


def _read_stations(path: pathlib.Path) -> None:
  declared = stations.Stations(
    paths=(str(path),),
    places={'EWR': (40.69, -74.17)},
    station='origin',
    time='time_hour',
    time_zone='UTC',
    precipitation=('precip', 'inch'),
  )
  hour = np.array([np.datetime64('2013-02-01T05', 's').astype(np.int64)])
  declared.series(np.array([40.69]), np.array([-74.17]), hour)


def _terramesh(folder: pathlib.Path) -> pathlib.Path:
  from tests.data import terramesh_archive

  root = folder / 'TerraMesh'
  for name in ('S2L2A', 'DEM'):
    content = terramesh_archive.member(name, 0)
    path = root / 'train' / name / 'majortom_shard_000001.tar'
    terramesh_archive.write_tar(path, {'a': content, 'b': content})
  return root


def _read_terramesh(root: pathlib.Path) -> None:
  source = terramesh.TerraMesh(str(root))
  for split, parts in source.parts().items():
    for part in parts:
      source.places(split, part)
      for _ in source.read(split, part):
        pass


def _sen4map(folder: pathlib.Path) -> pathlib.Path:
  earth = pixels.SimulatedPixels(seed=3, size=1, splits={'train': 2, 'test': 1})
  pixel_archive.write_composites(earth, folder / 'train.h5', 'train')
  return folder / 'train.h5'


def _read_sen4map(path: pathlib.Path) -> None:
  with sen4map.opened(path) as file:
    for key in sen4map.keys(file):
      sen4map.read_year(file, key, 1)
      sen4map.read_attributes(file, key, sen4map.SURVEY)


def _npz(name: str, **arrays: Any):
  def make(folder: pathlib.Path) -> pathlib.Path:
    np.savez(folder / name, **arrays)
    return folder / name

  return make


def _tensors(name: str, arrays: dict[str, Any], **metadata: Any):
  def make(folder: pathlib.Path) -> pathlib.Path:
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    safetensors_numpy.save_file(arrays, folder / name, texts)
    return folder / name

  return make


def _text(name: str, text: str):
  def make(folder: pathlib.Path) -> pathlib.Path:
    (folder / name).write_text(text)
    return folder / name

  return make


def _photo(name: str):
  def make(folder: pathlib.Path) -> pathlib.Path:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (40, 30, 3)).astype(np.uint8))
    image.save(folder / name)
    return folder / name

  return make


def _presto(folder: pathlib.Path) -> pathlib.Path:
  out = folder / 'presto'
  out.mkdir()
  arrays = {
    's1_s2_era5_srtm': np.zeros((4, 12, 18), np.float32),
    'latlon': np.zeros((4, 2), np.float32),
    'month': np.zeros(4, np.int64),
    'target': np.zeros(4, np.float32),
  }
  for name, array in arrays.items():
    np.save(out / f'{name}.npy', array)
  return out


def _samples(folder: pathlib.Path) -> pathlib.Path:
  out = folder / 'samples'
  for name in ('DEM', 'LULC'):
    (out / name).mkdir(parents=True)
    for path in sorted((DATA / 'terramesh' / name).glob('*.tif'))[:2]:
      shutil.copy(path, out / name)
  lines = (DATA / 'terramesh' / 'samples.csv').read_text().splitlines()
  (out / 'samples.csv').write_text('\n'.join(lines[:3]))
  return out


def _read_samples(path: pathlib.Path) -> None:
  source = samples.SampleFolder(str(path))
  for split, parts in source.parts().items():
    for part in parts:
      for _ in source.read(split, part):
        pass


def _prepared(folder: pathlib.Path) -> pathlib.Path:
  """A data set that was prepared before."""
  with zipfile.ZipFile(DATA / 'earlier' / 'data' / 'simulated.zip') as archive:
    archive.extractall(folder / 'prepared')
  return folder / 'prepared'


def _read_prepared(path: pathlib.Path) -> None:
  found = next(path.rglob('dataset_info.json')).parent
  splits, _ = records.describe(found)
  description.read(found)
  normalize.load_statistics(found)
  for split in splits:
    source = records.Examples(found, split)
    for i in range(min(len(source), 2)):
      source[i]


def _vectors(name: str):
  """The embeddings of a map, in one block."""

  def make(folder: pathlib.Path) -> pathlib.Path:
    rng = np.random.default_rng(0)
    block = blocks.split((9, 7), (9, 7))[0]
    arrays = {
      'embedding': rng.integers(-127, 127, (9, 7, 6)).astype(np.int8),
      'scale': np.full((9, 7), 0.01, np.float32),
    }
    embeddings.write(
      folder / name,
      [(block, arrays)],
      shape=(9, 7),
      block=(9, 7),
      width=6,
      crs=rasterio.CRS.from_string(_CRS),
      transform=_PLACE,
      tags={'comparable_with': 'texts'},
    )
    return folder / name

  return make


def _read_vectors(path: pathlib.Path) -> None:
  embeddings.read_tag(path, 'comparable_with')
  for _ in embeddings.read(path):
    pass


def _index(folder: pathlib.Path) -> pathlib.Path:
  vectors = np.eye(8, dtype=np.float32)
  places = np.linspace(0, 1, 8)
  index.build(
    folder / 'index',
    lambda: [(places, places, vectors, None)],
    8,
    about={'source': 'a', 'comparable_with': 'texts'},
  )
  return folder / 'index'


def _read_index(path: pathlib.Path) -> None:
  index.Index(path).search(np.ones(8, np.float32), 3)


def _calibrations(folder: pathlib.Path) -> pathlib.Path:
  out = folder / 'run'
  out.mkdir()
  fitted = calibration.Calibration(('a', 'b'), 1.5, 100, 0.2, 0.1, 'x')
  calibration.write(out, fitted)
  return out


def _read_regions(path: pathlib.Path) -> None:
  region_maps.read(path, 'bioregion')([40683280, 40003100])


_VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)
_PHOTOS = ['NL_40683280W', 'NL_40683280E', 'NL_40683280N']
_PROMPTS = {'wheat': ['a field of wheat', 'wheat'], 'maize': ['maize']}
_ROWS = {
  'classes': np.array(['a', 'a', 'b']),
  'texts': np.array(['x', 'y', 'z']),
  'vectors': _VECTORS,
}
_REGIONS = {
  'type': 'FeatureCollection',
  'features': [
    {
      'type': 'Feature',
      'properties': {'short_name': 'atlantic'},
      'geometry': {
        'type': 'Polygon',
        'coordinates': [[[3, 50], [6, 50], [6, 53], [3, 53], [3, 50]]],
      },
    }
  ],
}


FORMATS = {
  'scene.tif': Format(_scene(), _read_scene),
  'scene.tif, tiled': Format(
    _scene(tiled=True, compress='deflate', blockxsize=16, blockysize=16),
    _read_scene,
  ),
  'scene.jp2': Format(_scene(driver='JP2OpenJPEG'), _read_scene),
  'cube.nc': Format(_cube_file('cube.nc', engine='h5netcdf'), _read_cube),
  'cube.nc, classic': Format(_cube_file('cube.nc', engine='scipy'), _read_cube),
  'cube.zarr, 2': Format(_cube_file('cube.zarr', zarr_format=2), _read_cube),
  'cube.zarr, 3': Format(
    _cube_file('cube.zarr', zarr_format=3, consolidated=False), _read_cube
  ),
  'cube of rasters': Format(_rasters_of_months, _read_cube),
  'STAC items': Format(_item, _read_cube),
  'weather.nc': Format(
    _weather_file('weather.nc', engine='h5netcdf'), _read_weather
  ),
  'weather.nc, classic': Format(
    _weather_file('weather.nc', engine='scipy'), _read_weather
  ),
  'weather.zarr': Format(
    _weather_file('weather.zarr', zarr_format=2), _read_weather
  ),
  'weather.grib2': Format(
    _copied('weather/gfs.20200330.t18z.pgrb2.0p25.f012.Reunion.grib2'),
    _read_weather,
  ),
  'stations.csv': Format(_stations('.csv'), _read_stations),
  'stations.csv.gz': Format(_stations('.csv.gz'), _read_stations),
  'TerraMesh': Format(_terramesh, _read_terramesh),
  'samples': Format(_samples, _read_samples),
  'Sen4Map': Format(_sen4map, _read_sen4map),
  'WorldCereal': Format(
    _copied('worldcereal/flanders_10px_long.parquet'),
    lambda path: labelled_pixels.read_long(
      path, DATA / 'worldcereal' / 'class_mappings.json'
    ),
  ),
  'Presto': Format(_presto, labelled_pixels.read_presto),
  'survey.csv': Format(
    _copied('lucas/microdata_2018_excerpt.csv'), lucas.read_survey
  ),
  'labels.csv': Format(
    _copied('lucas/sen4map_test_labels_sample.csv'), lucas.read_labels
  ),
  'photo vectors.npz': Format(
    _npz('photos.npz', keys=np.array(_PHOTOS), vectors=_VECTORS),
    lambda path: photo_vectors.PhotoVectors(path).views(40683280),
  ),
  'photo vectors.safetensors': Format(
    _tensors('photos.safetensors', {'vectors': _VECTORS}, keys=_PHOTOS),
    lambda path: photo_vectors.PhotoVectors(path).views(40683280),
  ),
  'photo.jpg': Format(_photo('photo.jpg'), clip_images.resize),
  'photo.png': Format(_photo('photo.png'), clip_images.resize),
  'prompts.json': Format(
    _text('prompts.json', json.dumps(_PROMPTS)), prompt_files.read
  ),
  'prompts.csv': Format(
    _text('prompts.csv', 'class,text\na,x\na,y\nb,"z, z"\n'),
    prompt_files.read,
  ),
  'prompts.npz': Format(_npz('prompts.npz', **_ROWS), prompt_files.read),
  'prompts.safetensors': Format(
    _tensors(
      'prompts.safetensors',
      {'vectors': _VECTORS},
      classes=['a', 'a', 'b'],
      texts=['x', 'y', 'z'],
    ),
    prompt_files.read,
  ),
  'rated prompts.npz': Format(
    _npz(
      'rated.npz',
      texts=np.array(['x', 'y', 'z']),
      values=np.array([1.0, 5.0, 9.0]),
      raters=np.array([0, 0, 1]),
      vectors=_VECTORS,
    ),
    scenicness.read_prompts,
  ),
  'regions.geojson': Format(
    _text('regions.geojson', json.dumps(_REGIONS)), _read_regions
  ),
  'regions.tif': Format(
    lambda folder: _raster(folder / 'regions.tif', ['class'], dtype='uint8'),
    _read_regions,
  ),
  'weights.pt': Format(_copied('torch/zip.pt'), torch_files.load_state),
  'weights.pt, training': Format(
    _copied('torch/training.pt'), torch_files.load_state
  ),
  'weights.pt, script': Format(
    _copied('torch/script.pt'), torch_files.load_state
  ),
  'weights.pt, legacy': Format(
    _copied('torch/legacy.pt'), torch_files.load_state
  ),
  'weights.safetensors': Format(
    _tensors('weights.safetensors', {'a': _VECTORS, 'b': _VECTORS[:1]}),
    files.read_state,
  ),
  'embeddings.zarr': Format(_vectors('v.zarr'), _read_vectors),
  'embeddings.parquet': Format(_vectors('v.parquet'), _read_vectors),
  'index': Format(_index, _read_index),
  'prepared data': Format(_prepared, _read_prepared),
  'calibrations': Format(
    _calibrations, lambda path: calibration.read(path, ['a', 'b'])
  ),
}
