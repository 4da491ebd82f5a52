"""Tars in the form of TerraMesh, by plain zarr, zipfile and tarfile.

They follow the published description of the archive; no shard of the archive
itself was at hand.
"""

import io
import tarfile
import zipfile

import numcodecs
import numpy as np
import zarr

from fusion_jax import modalities

SIZE = 8
TIME = np.datetime64('2020-04-08T14:37:29', 'ns')
TYPES = {
  'S2L2A': np.int16,
  'S2L1C': np.int16,
  'S2RGB': np.uint8,
  'S1GRD': np.float16,
  'S1RTC': np.float16,
  'DEM': np.int16,
  'NDVI': np.float32,
  'LULC': np.uint8,
}
BLOSC, ZSTD = numcodecs.Blosc('lz4', clevel=5), numcodecs.Zstd(level=3)


def image_of(name, seed, cirrus=10):
  """Image [C, Y, X] as a sensor would have it."""
  rng = np.random.default_rng([seed, *name.encode()])
  bands = modalities.IMAGE_FIELDS[name].bands
  image = rng.uniform(0, 200, (len(bands), SIZE, SIZE))
  if name == 'S2L1C':
    image[bands.index('B10')] = cirrus
  return image.astype(TYPES[name])


def zipped_store(
  name, image, time=TIME, compressor=BLOSC, bands=None, north_up=True
):
  """A zipped, consolidated Zarr version 2 store as xarray lays it out."""
  store = {}
  group = zarr.open_group(store, mode='w', zarr_format=2)
  bands = bands or modalities.IMAGE_FIELDS[name].bands
  y = np.arange(SIZE) * (-10.0 if north_up else 10.0)
  arrays = {
    'bands': (image[None], ['time', 'band', 'y', 'x']),
    'band': (np.array(bands), ['band']),
    'time': (
      np.array([0 if name == 'DEM' else time], 'datetime64[ns]').astype(
        np.int64
      ),
      ['time'],
    ),
    'x': (np.arange(SIZE) * 10.0, ['x']),
    'y': (y, ['y']),
    'center_lat': (np.array(-38.83), []),
    'center_lon': (np.array(-72.48), []),
    'spatial_ref': (np.array(32718), []),
    'cloud_mask': (np.zeros((1, SIZE, SIZE), np.uint8), ['time', 'y', 'x']),
  }
  for key, (values, dims) in arrays.items():
    attributes = {'_ARRAY_DIMENSIONS': dims}
    if key == 'time':
      attributes |= {
        'units': 'nanoseconds since 1970-01-01',
        'calendar': 'proleptic_gregorian',
      }
    array = group.create_array(
      key,
      shape=values.shape,
      dtype=values.dtype,
      chunks=values.shape,
      compressors=compressor,
      attributes=attributes,
    )
    array[...] = values
  zarr.consolidate_metadata(store, zarr_format=2)
  assert '.zmetadata' in store and 'bands/.zarray' in store
  content = io.BytesIO()
  with zipfile.ZipFile(content, 'w') as archive:
    for path, buffer in sorted(store.items()):
      archive.writestr(path, buffer.to_bytes())
  return content.getvalue()


def write_tar(path, members):
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, 'w') as tar:
    for key, content in members.items():
      info = tarfile.TarInfo(f'{key}.zarr.zip')
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))


def member(name, seed, cirrus=10, **kwargs):
  return zipped_store(name, image_of(name, seed, cirrus), **kwargs)


def write(root):
  """Writes two train shards of three samples, one val shard of one."""
  content = {
    (name, i): member(
      name,
      i,
      cirrus=1010 if i == 2 else 10,
      compressor=ZSTD if name in ('DEM', 'S2L1C') else BLOSC,
    )
    for name in TYPES
    for i in range(3)
  }
  for split, shard, number in (
    ('train', 'majortom_shard_000001', 3),
    ('val', 'majortom_shard_000001', 1),
    ('train', 'ssl4eos12_shard_000794', 3),
  ):
    absent = 'S1RTC' if shard.startswith('ssl4eos12') else 'S1GRD'
    for name in set(TYPES) - {absent}:
      write_tar(
        root / split / name / f'{shard}.tar',
        {
          f'{shard.split("_")[0]}_{split}_{i}': content[name, i]
          for i in range(number)
        },
      )
