"""Arrays and archives state sizes, which are checked before memory is taken."""

import io
import zipfile

import numpy as np
import pytest

from fusion_jax.convert import torch_files, torch_pickle
from fusion_jax.untrusted import archives, memory
from tests.convert import test_torch_pickle as torch_format


def header(shape, dtype='<f8'):
  file = io.BytesIO()
  fields = {'descr': dtype, 'fortran_order': False, 'shape': shape}
  np.lib.format.write_array_header_1_0(file, fields)
  return file.getvalue()


def npz(path, content, kind=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, 'w', kind) as archive:
    archive.writestr('a.npy', content)
  return path


def test_arrays_are_read(tmp_path):
  np.savez_compressed(tmp_path / 'a.npz', a=np.arange(9), b=np.array(['x']))
  with archives.open_npz(tmp_path / 'a.npz') as file:
    assert file['a'].tolist() == list(range(9)) and file['b'][0] == 'x'
  np.save(tmp_path / 'a.npy', np.eye(3))
  for mapped in (False, True):
    array = archives.read_npy(tmp_path / 'a.npy', mapped)
    np.testing.assert_array_equal(array, np.eye(3))


@pytest.mark.parametrize('shape', [(2**40,), (2**62, 2**62), (9,), (-1,)])
def test_a_shape_that_the_file_cannot_hold_is_refused(shape, tmp_path):
  content = header(shape) + bytes(64)
  with pytest.raises(ValueError, match='a.npz: a.npy states an array'):
    with archives.open_npz(npz(tmp_path / 'a.npz', content)):
      raise AssertionError
  (tmp_path / 'a.npy').write_bytes(content)
  with pytest.raises(ValueError, match='a.npy states an array'):
    archives.read_npy(tmp_path / 'a.npy')


def test_an_array_beyond_the_limit_is_refused(tmp_path, monkeypatch):
  content = header((2**20,)) + bytes(2**23)
  path = npz(tmp_path / 'a.npz', content, zipfile.ZIP_DEFLATED)
  assert path.stat().st_size < 2**15
  monkeypatch.setenv(memory.VARIABLE, '4M')
  with pytest.raises(ValueError, match='a.npz: the content of the zip would'):
    with archives.open_npz(path):
      raise AssertionError
  (tmp_path / 'a.npy').write_bytes(content)
  with pytest.raises(ValueError, match='a.npy: the array would take 8 MiB'):
    archives.read_npy(tmp_path / 'a.npy')
  assert len(archives.read_npy(tmp_path / 'a.npy', mapped=True)) == 2**20


def test_objects_of_python_are_refused(tmp_path):
  np.savez(tmp_path / 'a.npz', a=np.array([{}], object))
  with pytest.raises(ValueError, match='a.npz: a.npy holds objects of Python'):
    with archives.open_npz(tmp_path / 'a.npz'):
      raise AssertionError


def test_a_size_that_no_bytes_can_hold_is_refused(tmp_path):
  path = npz(tmp_path / 'a.npz', bytes(1000), zipfile.ZIP_DEFLATED)
  content = bytearray(path.read_bytes())
  entry = content.rfind(b'PK\x01\x02')
  content[entry + 24 : entry + 28] = (10**8).to_bytes(4, 'little')
  path.write_bytes(content)
  with pytest.raises(ValueError, match='a.npy states 100000000 bytes, which'):
    with archives.open_npz(path):
      raise AssertionError


def test_another_compression_is_refused(tmp_path):
  path = npz(tmp_path / 'a.npz', header((1,)) + bytes(8), zipfile.ZIP_LZMA)
  with pytest.raises(ValueError, match='compressed by method 14'):
    with archives.open_npz(path):
      raise AssertionError


def test_the_user_of_an_open_file_is_not_taken_for_damage(tmp_path):
  np.savez(tmp_path / 'a.npz', a=np.arange(9))
  with pytest.raises(ValueError, match=r'a.npz: no a=3\. If the file is dam'):
    with archives.open_npz(tmp_path / 'a.npz'):
      raise ValueError('no a=3')


# Files of torch.


def load(path, pickled, data=b'', kind=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, 'w', kind) as archive:
    archive.writestr('a/data.pkl', pickled)
    archive.writestr('a/data/0', data)
  return torch_files.load_state(path)


def test_a_storage_beyond_the_limit_is_not_inflated(tmp_path, monkeypatch):
  pickled = torch_format.tensor((2,), (1,))
  path, zeros = tmp_path / 'a.pt', bytes(2**23)
  with pytest.raises(ValueError, match='no state dict'):
    load(path, pickled, zeros, zipfile.ZIP_DEFLATED)
  monkeypatch.setenv(memory.VARIABLE, '4M')
  with pytest.raises(torch_pickle.TorchFileError, match='a.pt: the content of'):
    load(path, pickled, zeros, zipfile.ZIP_DEFLATED)
  with pytest.raises(ValueError, match='no state dict'):
    load(path, pickled, zeros)  # Mapped, not read.


def test_a_tensor_that_repeats_its_storage_is_bounded(tmp_path, monkeypatch):
  pickled = torch_format.tensor((2**22,), (0,))
  path = tmp_path / 'a.pt'
  with pytest.raises(ValueError, match='no state dict'):
    load(path, pickled, bytes(16))
  monkeypatch.setenv(memory.VARIABLE, '4M')
  with pytest.raises(ValueError, match='a.pt: a tensor of sizes .* repeats'):
    load(path, pickled, bytes(16))


@pytest.mark.parametrize(
  'pickled',
  [
    b'\x80\x05\x96' + (2**40).to_bytes(8, 'little') + b'.',  # BYTEARRAY8.
    b'\x80\x04\x8e' + (2**40).to_bytes(8, 'little') + b'.',  # BINBYTES8.
    b'\x80\x04\x8d' + (2**40).to_bytes(8, 'little') + b'.',  # BINUNICODE8.
    b'\x80\x04\x95' + (2**40).to_bytes(8, 'little') + b'.',  # FRAME.
    b'\x80\x02\x8b' + (2**31 - 1).to_bytes(4, 'little') + b'.',  # LONG4.
    b'\x80\x04' + b'\x8f' * 100 + b'.',  # EMPTY_SET.
  ],
)
def test_opcodes_that_ask_for_memory_are_refused(pickled, tmp_path):
  with pytest.raises(ValueError, match='a.pt'):
    load(tmp_path / 'a.pt', pickled)


def test_a_pickle_of_too_many_objects_is_refused(tmp_path, monkeypatch):
  pickled = b'\x80\x02' + b']' * 200_000 + b'.'
  monkeypatch.setenv(memory.VARIABLE, '16M')
  with pytest.raises(ValueError, match='a.pt: its pickle is larger than'):
    load(tmp_path / 'a.pt', pickled)


def test_deep_and_circular_objects_are_told_in_one_line(tmp_path):
  deep = b'\x80\x02' + b']' * 50_000 + b'a' * 49_999 + b'.'
  with pytest.raises(ValueError, match='a.pt holds no state dict'):
    load(tmp_path / 'a.pt', deep)
  # A module whose attribute `a` is itself.
  circle = b'\x80\x02c__torch__\nM\n)\x81q\x00}U\x01ah\x00sb.'
  with pytest.raises(ValueError, match='a.pt nests modules .* circle'):
    load(tmp_path / 'a.pt', circle)
