"""HDF5 files refer to no other file, and take no more memory than allowed."""

import resource
import zlib

import h5py
import numpy as np
import pytest

from fusion_jax.data.sources import netcdf, sen4map
from fusion_jax.untrusted import hdf5, memory


@pytest.fixture(name='path')
def _path(tmp_path):
  with h5py.File(tmp_path / 'other.h5', 'w') as file:
    file['x'] = np.arange(5)
  return tmp_path / 'a.h5'


def test_usual_files_pass(path):
  with h5py.File(path, 'w') as file:
    file.create_dataset('a/b', data=np.eye(9), compression='gzip', shuffle=True)
    file.create_dataset('c', data=np.eye(9), compression='lzf', fletcher32=True)
    file.create_dataset('d', data=['x', 'yy'])
    file['e'] = h5py.SoftLink('/a/b')
    file['a/again'] = file['a']  # In a circle.
  hdf5.check_file(path)


def test_a_link_to_another_file_is_refused(path):
  with h5py.File(path, 'w') as file:
    file['x'] = h5py.ExternalLink('other.h5', '/x')
  with pytest.raises(ValueError, match='a.h5: x is a link to another file'):
    hdf5.check_file(path)
  with pytest.raises(ValueError, match='a.h5: x is a link to another file'):
    netcdf.opened(path)
  with h5py.File(path, 'w') as file:
    file[f'{sen4map.PREFIX}40683280'] = h5py.ExternalLink('other.h5', '/')
  with sen4map.opened(path) as file:
    with pytest.raises(ValueError, match='is a link to another file'):
      sen4map.read_year(file, f'{sen4map.PREFIX}40683280', 1)


def test_a_link_to_nothing_is_named(path):
  with h5py.File(path, 'w') as file:
    file['x'] = h5py.SoftLink('/gone')
  with pytest.raises(ValueError, match='a.h5: x is a link to /gone, which the'):
    hdf5.check_file(path)


def test_values_in_other_files_are_refused(path):
  with h5py.File(path, 'w') as file:
    layout = h5py.VirtualLayout((5,), 'i8')
    layout[:] = h5py.VirtualSource('other.h5', 'x', (5,))
    file.create_virtual_dataset('x', layout)
  with pytest.raises(ValueError, match='/x keeps its values in another file'):
    hdf5.check_file(path)
  with h5py.File(path, 'w') as file:
    file.create_dataset('x', (5,), 'i8', external=[('/etc/hosts', 0, 40)])
  with pytest.raises(ValueError, match='/x keeps its values in another file'):
    hdf5.check_file(path)


def test_coordinates_and_chunks_beyond_the_limit_are_refused(path):
  with h5py.File(path, 'w') as file:
    file.create_dataset('x', (2**45,), 'f8', chunks=(1024,))
  with pytest.raises(ValueError, match='a.h5: /x would take'):
    hdf5.check_file(path)
  with h5py.File(path, 'w') as file:
    file.create_dataset('x', (2**22,), 'i1', chunks=(1,))
  with pytest.raises(ValueError, match='/x is cut into 4194304 chunks'):
    hdf5.check_file(path)


@pytest.mark.parametrize('chunks', [(1, 100), (500, 500)])
def test_chunks_that_become_too_large_are_refused(chunks, path, monkeypatch):
  with h5py.File(path, 'w') as file:
    options = {'chunks': chunks, 'compression': 'gzip'}
    file.create_dataset('x', data=np.zeros((500, 500), 'i1'), **options)
    small = h5py.h5d.open(file.id, b'x')
    small.write_direct_chunk((0, 0), zlib.compress(bytes(40_000_000)))
  hdf5.check_file(path)
  monkeypatch.setenv(memory.VARIABLE, '64M')
  with pytest.raises(ValueError, match='bytes of /x become more than 16 MiB'):
    hdf5.check_file(path)


def test_an_unknown_filter_is_named(path):
  with h5py.File(path, 'w') as file:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((4, 4))
    settings.set_filter(300, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((8, 8))
    h5py.h5d.create(file.id, b'x', h5py.h5t.NATIVE_INT8, space, settings)
  with pytest.raises(ValueError, match='the filter 300 of HDF5'):
    hdf5.check_file(path)


def test_the_bound_of_memory_is_lifted_afterwards():
  before = resource.getrlimit(resource.RLIMIT_AS)
  with memory.bounded():
    with memory.bounded():
      pass
    assert resource.getrlimit(resource.RLIMIT_AS) != before
  assert resource.getrlimit(resource.RLIMIT_AS) == before
