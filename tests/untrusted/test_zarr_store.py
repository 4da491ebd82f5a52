"""Only codecs of the list run, and no chunk becomes larger than allowed."""

import json
import pickle
import shutil
import zlib

import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr

from fusion_jax.data.sources import netcdf
from fusion_jax.mapping import embeddings
from fusion_jax.untrusted import memory, zarr_metadata, zarr_store
from fusion_jax.untrusted.reading import reading

VALUES = np.arange(2 * 6 * 5, dtype=np.int16).reshape(2, 6, 5)


@pytest.fixture(name='store', params=[2, 3])
def _store(request, tmp_path):
  path = tmp_path / 'a.zarr'
  root = zarr.create_group(path, zarr_format=request.param)
  root.create_array('x', data=VALUES, chunks=(1, 4, 4))
  root['x'].attrs['_ARRAY_DIMENSIONS'] = ['t', 'a', 'b']
  return path


def read(path):
  group = zarr.open_group(zarr_store.open_store(path), mode='r')
  return np.asarray(group['x'][...])


def zarray(path):
  return next(iter([*path.glob('x/.zarray'), *path.glob('x/zarr.json')]))


def change(path, **fields):
  file = zarray(path)
  content = json.loads(file.read_text())
  file.write_text(json.dumps({**content, **fields}))


def codecs(path, *names):
  """Puts codecs of these names into the metadata of either version."""
  if zarray(path).name == '.zarray':
    change(path, filters=[{'id': name} for name in names], compressor=None)
  else:
    added = [{'name': f'numcodecs.{name}'} for name in names]
    change(path, codecs=[{'name': 'bytes'}, *added])


def test_a_store_reads_as_before(store):
  np.testing.assert_array_equal(read(store), VALUES)


class Harm:
  """An object whose unpickling makes a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), 'w')


def test_a_pickle_never_runs(tmp_path, monkeypatch):
  monkeypatch.setattr(
    numcodecs.pickles, 'ALLOW_UNSAFE_PICKLE_DECODE', True, raising=False
  )
  path, harm = tmp_path / 'a.zarr', tmp_path / 'harm'
  (path / 'x').mkdir(parents=True)
  (path / '.zgroup').write_text('{"zarr_format": 2}')
  about = {'shape': [1], 'chunks': [1], 'dtype': '|O', 'fill_value': None}
  about |= {'filters': [{'id': 'pickle'}], 'compressor': None, 'order': 'C'}
  (path / 'x' / '.zarray').write_text(json.dumps({**about, 'zarr_format': 2}))
  (path / 'x' / '.zattrs').write_text('{"_ARRAY_DIMENSIONS": ["x"]}')
  (path / 'x' / '0').write_bytes(pickle.dumps(Harm(harm)))
  for open_it in (read, lambda x: netcdf.opened(x, is_zarr=True)):
    with pytest.raises(ValueError, match="a.zarr.*'pickle', which is refused"):
      open_it(path)
    assert not harm.exists()


@pytest.mark.parametrize('name', ['pickle', 'json2', 'categorize', 'unheard'])
def test_codecs_that_are_not_listed_are_refused(name, store):
  codecs(store, name)
  with pytest.raises(
    ValueError, match=f'a.zarr/x .*{name!r}, which is refused'
  ):
    read(store)


def test_consolidated_metadata_are_checked_too(tmp_path):
  path = tmp_path / 'a.zarr'
  xr.Dataset({'x': (('a', 'b', 'c'), VALUES)}).to_zarr(path, zarr_format=2)
  file = path / '.zmetadata'
  content = json.loads(file.read_text())
  content['metadata']['x/.zarray']['filters'] = [{'id': 'pickle'}]
  file.write_text(json.dumps(content))
  with pytest.raises(ValueError, match="'pickle', which is refused"):
    netcdf.opened(path, is_zarr=True)


def test_objects_are_refused_and_texts_are_read(tmp_path):
  path = tmp_path / 'a.zarr'
  names = np.array(['B02', 'B8A', 'a long name'], object)
  data = xr.Dataset({'x': ('band', names)})
  data.to_zarr(path, zarr_format=2)
  np.testing.assert_array_equal(
    netcdf.opened(path, is_zarr=True)['x'].values, names
  )
  shutil.rmtree(path)
  zarr.create_group(path, zarr_format=2).create_array('x', data=VALUES)
  change(path, dtype='|O', filters=None)
  with pytest.raises(ValueError, match='holds objects of Python'):
    read(path)


def test_texts_are_no_more_than_their_bytes_hold(tmp_path):
  path = tmp_path / 'a.zarr'
  (path / 'x').mkdir(parents=True)
  (path / '.zgroup').write_text('{"zarr_format": 2}')
  about = {'shape': [2], 'chunks': [2], 'dtype': '|O', 'fill_value': ''}
  about |= {'filters': [{'id': 'vlen-utf8'}], 'compressor': {'id': 'zlib'}}
  about |= {'order': 'C', 'zarr_format': 2}
  (path / 'x' / '.zarray').write_text(json.dumps(about))
  content = numcodecs.VLenUTF8().encode(np.array(['a', 'b'], object))
  (path / 'x' / '0').write_bytes(zlib.compress(bytes(content)))
  assert read(path).tolist() == ['a', 'b']
  content = (2**32 - 1).to_bytes(4, 'little') + bytes(content)[4:]
  (path / 'x' / '0').write_bytes(zlib.compress(content))
  with pytest.raises(ValueError, match='states 4294967295 texts'):
    read(path)


def test_a_chunk_larger_than_memory_may_hold_is_refused(store):
  grid = {
    'name': 'regular',
    'configuration': {'chunk_shape': [1, 2**30, 2**30]},
  }
  change(store, chunks=[1, 2**30, 2**30], chunk_grid=grid)
  with pytest.raises(ValueError, match=r'a.zarr/x: a chunk of .* would take'):
    read(store)


def test_coordinates_larger_than_memory_may_hold_are_refused(
  tmp_path, monkeypatch
):
  path = tmp_path / 'a.zarr'
  root = zarr.create_group(path, zarr_format=2)
  root.create_array('x', shape=(2**45,), chunks=(2**20,), dtype='f8')
  root['x'].attrs['_ARRAY_DIMENSIONS'] = ['x']
  with pytest.raises(ValueError, match='a.zarr/x: the array would take'):
    netcdf.opened(path, is_zarr=True)
  assert zarr_metadata._MOST_STEPS > 14 * 365 * 24  # Of appended hours.
  monkeypatch.setattr(zarr_metadata, '_MOST_CHUNKS', 100)
  monkeypatch.setattr(zarr_metadata, '_MOST_STEPS', 1_000)
  change(path, shape=[900], chunks=[1])
  netcdf.opened(path, is_zarr=True, decode=False)
  change(path, shape=[1_001], chunks=[1])
  with pytest.raises(ValueError, match='is cut into 1001 chunks'):
    netcdf.opened(path, is_zarr=True)


@pytest.mark.parametrize('shards', [None, (2, 8, 8)])
@pytest.mark.parametrize('part', [slice(None), slice(0, 1)])
def test_chunks_that_become_too_large_are_not_decoded(
  shards, part, tmp_path, monkeypatch
):
  path = tmp_path / 'a.zarr'
  root = zarr.create_group(path, zarr_format=3)
  options = {'chunks': (1, 4, 4), 'compressors': zarr.codecs.GzipCodec()}
  root.create_array('x', data=np.ones((2, 8, 8)), shards=shards, **options)
  group = zarr.open_group(zarr_store.open_store(path), mode='r')
  np.testing.assert_array_equal(group['x'][part], np.ones((2, 8, 8))[part])
  bomb = zlib.compressobj(wbits=31)
  content = bomb.compress(bytes(50_000_000)) + bomb.flush()
  file = min(x for x in (path / 'x' / 'c').rglob('*') if x.is_file())
  if shards:
    old = file.read_bytes()
    places = np.frombuffer(old[-132:-4], '<u8').reshape(-1, 2).copy()
    places[0] = len(old), len(content)
    index = places.tobytes()
    crc = numcodecs.CRC32C(location='end').encode(index)
    content = old + content + bytes(crc)
  file.write_bytes(content)
  monkeypatch.setenv(memory.VARIABLE, '256M')
  with pytest.raises(ValueError, match=r'of gzip become more than'):
    with reading(path, 'Zarr store'):
      zarr.open_group(zarr_store.open_store(path), mode='r')['x'][part]


def test_a_store_does_not_lead_out_of_its_folder(store):
  inner = zarr_store.open_store(store)
  with pytest.raises(ValueError, match="refers to 'x/../../b'"):
    inner.get_sync('x/../../b')


def test_embeddings_are_read_through_the_same_store(tmp_path):
  path = tmp_path / 'v.zarr'
  root = zarr.create_group(path, zarr_format=2)
  for name in ('embedding', 'scale'):
    root.create_array(name, data=VALUES)
  file = path / 'embedding' / '.zarray'
  content = json.loads(file.read_text()) | {'filters': [{'id': 'pickle'}]}
  file.write_text(json.dumps(content))
  with pytest.raises(ValueError, match="v.zarr.*'pickle', which is refused"):
    [*embeddings.read(path)]
