"""Files of torch come as NumPy arrays; code in them never runs."""

import pathlib
import zipfile

import numpy as np
import pytest

from fusion_jax.convert import torch_files, torch_pickle

FOLDER = pathlib.Path(__file__).parents[1] / 'testdata' / 'torch'


@pytest.fixture(scope='module')
def expected():
  with np.load(FOLDER / 'expected.npz') as arrays:
    return dict(arrays)


def write_zip(path, pickled, storages=(), byteorder=b'little'):
  """A file as torch lays it out, with any pickle."""
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('a/data.pkl', pickled)
    archive.writestr('a/byteorder', byteorder)
    for key, data in enumerate(storages):
      archive.writestr(f'a/data/{key}', data)
  return path


def tensor(size, stride, offset=0, count=4):
  """A pickle of a float32 tensor in storage 0."""

  def numbers(values):
    return '(' + ''.join(f'I{value}\n' for value in values) + 't'

  return (
    'ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage'
    f'\nV0\nVcpu\nI{count}\ntQI{offset}\n{numbers(size)}'
    f'{numbers(stride)}tR.'
  ).encode()


@pytest.mark.parametrize('name', ['zip.pt', 'legacy.pt'])
def test_every_dtype_and_view_is_read(name, expected):
  result = torch_files.load_state(FOLDER / name)
  assert result.keys() == expected.keys()
  for key, value in expected.items():
    if key == 'bfloat16':
      assert result[key].dtype.name == 'bfloat16'
      result[key] = result[key].astype(np.float32)
    assert result[key].dtype == value.dtype, key
    np.testing.assert_array_equal(result[key], value, err_msg=key)


@pytest.mark.parametrize('name', ['zip.pt', 'legacy.pt'])
def test_tensors_share_storages_as_they_did(name):
  result = torch_files.load(FOLDER / name)
  for view in ('transposed', 'steps', 'row'):
    assert np.shares_memory(result['plain'], result[view])
  assert not np.shares_memory(result['plain'], result['permuted'])
  assert not result['plain'].flags.writeable


def test_dtypes_without_a_storage_class_are_read():
  result = torch_files.load_state(FOLDER / 'untyped.pt')
  np.testing.assert_array_equal(result['wide'], np.arange(3, dtype=np.uint16))
  assert result['narrow'].astype(np.float32).tolist() == [1, -2]


def test_a_checkpoint_of_a_training_run_gives_its_model():
  whole = torch_files.load(FOLDER / 'training.pt')
  assert whole['epoch'] == 3 and whole['note'] == ('a', None, True)
  assert whole['size'] == (2, 3) and whole['dtype'] == np.float16
  state = torch_files.load_state(FOLDER / 'training.pt')
  assert {key: x.shape for key, x in state.items()} == {
    'weight': (2, 3),
    'bias': (2,),
  }
  assert whole['optimizer']['state'][0]['exp_avg'].shape == (2, 3)


def test_a_script_is_flattened_without_its_code():
  state = torch_files.load_state(FOLDER / 'script.pt')
  assert {key: (x.shape, x.dtype.name) for key, x in state.items()} == {
    'size': ((), 'int64'),
    'inner.weight': ((2, 3), 'float16'),
    'layers.0.weight': ((2, 3), 'float16'),
    'layers.1.weight': ((1, 2), 'float32'),
    'layers.1.bias': ((1,), 'float32'),
  }
  assert state['size'] == 224
  np.testing.assert_array_equal(
    state['inner.weight'], np.arange(6).reshape(2, 3)
  )


@pytest.mark.parametrize(
  'name, message',
  [
    ('code.pt', 'posix.system'),
    ('code_legacy.pt', 'posix.system'),
    ('namespace.pt', 'argparse.Namespace'),
    ('module.pt', r'torch\.nn\.modules\.linear\.Linear'),
  ],
)
def test_anything_but_tensors_is_refused_by_name_and_not_executed(
  name, message, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(torch_pickle.TorchFileError, match=message) as error:
    torch_files.load_state(FOLDER / name)
  assert name in str(error.value) and 'nothing was executed' in str(error.value)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'pickled',
  [
    b'cbuiltins\neval\n(V1\ntR.',
    b'c__builtin__\ngetattr\n(V1\nVreal\ntR.',
    b'(Vtouch x\nios\nsystem\n.',
    b'ctorch\nload\n(Vx\ntR.',
    b'ctorch._utils\n_rebuild_sparse_tensor\n.',
  ],
)
def test_no_other_name_is_known(pickled, tmp_path):
  path = write_zip(tmp_path / 'evil.pt', pickled)
  with pytest.raises(torch_pickle.TorchFileError, match='refused'):
    torch_files.load(path)


@pytest.mark.parametrize(
  'size, stride, offset',
  [
    ((5,), (1,), 0),
    ((2,), (1,), 3),
    ((2, 2), (3, 1), 0),
    ((2,), (-1,), 1),
    ((2,), (1,), -1),
    ((2, 2), (1,), 0),
    ((2**62,), (2**62,), 0),
  ],
)
def test_a_tensor_outside_its_storage_is_refused(
  size, stride, offset, tmp_path
):
  data = [np.arange(4, dtype=np.float32).tobytes()]
  path = write_zip(tmp_path / 'good.pt', tensor((2, 2), (2, 1)), data)
  assert torch_files.load(path).tolist() == [[0, 1], [2, 3]]
  path = write_zip(tmp_path / 'bad.pt', tensor(size, stride, offset), data)
  with pytest.raises(torch_pickle.TorchFileError, match='sizes'):
    torch_files.load(path)


def test_a_tensor_made_of_a_tensor_is_refused(tmp_path):
  # Repeated 2^20 times by a stride of 0, four values look like many.
  pickled = tensor((2**13,), (1,))
  start = pickled.index(b'(Vstorage')
  end = pickled.index(b'Q') + 1
  pickled = pickled[:start] + tensor((2**20,), (0,))[:-1] + pickled[end:]
  path = write_zip(tmp_path / 'evil.pt', pickled, [bytes(16)])
  with pytest.raises(
    torch_pickle.TorchFileError, match='made of a ndarray, not of a storage'
  ):
    torch_files.load(path)


@pytest.mark.parametrize(
  'what',
  [
    tensor((2, 2), (2, 1))[:-1],
    b'ctorch\nfloat32\n',
    b'ctorch._utils\n_rebuild_tensor_v2\n',
  ],
)
def test_nothing_is_changed_by_a_pickle(what, tmp_path):
  state = b'(N(V__defaults__\n(I1\ntdt'  # Set with `setattr`, by BUILD.
  path = write_zip(tmp_path / 'evil.pt', what + state + b'b.', [bytes(16)])
  with pytest.raises(torch_pickle.TorchFileError, match='sets attributes of'):
    torch_files.load(path)
  assert torch_pickle._tensor.__defaults__ is None


def test_attributes_of_a_state_dict_are_left_out(tmp_path):
  pickled = (
    b'ccollections\nOrderedDict\n(tR(Va\n'
    + tensor((4,), (1,))[:-1]
    + b'u(Vvalues\nI3\ndb.'
  )
  path = write_zip(tmp_path / 'a.pt', pickled, [bytes(16)])
  assert torch_files.load_state(path)['a'].tolist() == [0] * 4


@pytest.mark.parametrize('damage', ['locked', 'packed'])
def test_a_zip_that_cannot_be_unpacked_names_itself(damage, tmp_path):
  path = tmp_path / 'bad.pt'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('a/data.pkl', tensor((4,), (1,)) * 20)
  content = bytearray(path.read_bytes())
  if damage == 'locked':  # The flag of encryption, in both headers.
    content[6] |= 1
    content[content.index(b'PK\x01\x02') + 8] |= 1
  else:
    start = content.index(b'data.pkl') + len(b'data.pkl')
    content[start : start + 20] = b'\xff' * 20
  path.write_bytes(content)
  with pytest.raises(torch_pickle.TorchFileError, match='bad.pt'):
    torch_files.load(path)


def test_a_short_storage_is_refused(tmp_path):
  path = write_zip(tmp_path / 'short.pt', tensor((1,), (1,)), [b'1234'])
  with pytest.raises(torch_pickle.TorchFileError, match='4 of 16 bytes'):
    torch_files.load(path)


def test_a_file_of_another_byte_order_is_refused(tmp_path):
  path = write_zip(
    tmp_path / 'big.pt', tensor((1,), (1,)), [bytes(16)], byteorder=b'big'
  )
  with pytest.raises(torch_pickle.TorchFileError, match='big-endian'):
    torch_files.load(path)


@pytest.mark.parametrize('name', ['zip.pt', 'legacy.pt', 'script.pt'])
def test_a_truncated_file_names_itself(name, tmp_path):
  whole = (FOLDER / name).read_bytes()
  path = tmp_path / 'cut.pt'
  for length in (0, 3, 20, len(whole) // 3, len(whole) // 2, len(whole) - 1):
    path.write_bytes(whole[:length])
    with pytest.raises(torch_pickle.TorchFileError, match='cut.pt'):
      torch_files.load(path)


@pytest.mark.parametrize('content', [b'hello, world', b'PK\x03\x04 no zip'])
def test_a_file_of_another_format_names_itself(content, tmp_path):
  path = tmp_path / 'text.pt'
  path.write_bytes(content)
  with pytest.raises(torch_pickle.TorchFileError, match='text.pt'):
    torch_files.load(path)


def test_a_file_without_a_state_says_what_it_holds(tmp_path):
  path = write_zip(tmp_path / 'list.pt', b'(Vepoch\nI3\nd.')
  with pytest.raises(torch_pickle.TorchFileError, match="'epoch': 'int'"):
    torch_files.load_state(path)
