"""Reads what torch.save wrote into NumPy, without torch and without code.

A torch file is a pickle of the structure and raw storages beside it. Pickles
can call anything, so this reader knows a short list of names and refuses all
others. Storages are memory-mapped: a large file takes no memory until its
arrays are used. Read are zip files (torch 1.6 and later, TorchScript among
them) and the older format without a zip.
Source: pytorch/pytorch, `torch/serialization.py`, `torch/_utils.py`.
"""

import collections
import io
import os
import pickle
import struct
import zipfile
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

_STORAGES = {
  'FloatStorage': np.float32,
  'DoubleStorage': np.float64,
  'HalfStorage': np.float16,
  'BFloat16Storage': ml_dtypes.bfloat16,
  'LongStorage': np.int64,
  'IntStorage': np.int32,
  'ShortStorage': np.int16,
  'CharStorage': np.int8,
  'ByteStorage': np.uint8,
  'BoolStorage': np.bool_,
  'ComplexFloatStorage': np.complex64,
  'ComplexDoubleStorage': np.complex128,
  'UntypedStorage': np.uint8,
}
_DTYPES = {
  name: np.dtype(getattr(np, name, None) or getattr(ml_dtypes, name))
  for name in (
    'float16',
    'float32',
    'float64',
    'bfloat16',
    'uint8',
    'uint16',
    'uint32',
    'uint64',
    'int8',
    'int16',
    'int32',
    'int64',
    'bool',
    'complex64',
    'complex128',
    'float8_e4m3fn',
    'float8_e5m2',
  )
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class TorchFileError(ValueError):
  """A file that cannot or must not be read; the message says why."""


class Script:
  """An object of a TorchScript archive: its attributes, none of its code."""

  def __setstate__(self, state: Any) -> None:
    self.__dict__.update(state)


def load(path: str | os.PathLike[str]) -> Any:
  """Reads what `torch.save` or `torch.jit.save` wrote, tensors as arrays.

  Args:
    path: path of the file.

  Returns:
    The nested dicts, lists and tuples of the file. Tensors and parameters are
    read-only arrays that share the file's storages, as the tensors did.
    Modules of a TorchScript archive come as `Script`.

  Raises:
    FileNotFoundError: if there is no file.
    TorchFileError: if the pickle asks for anything but tensors and containers
      (it is not executed), or the file is damaged or of another format.
  """
  with open(path, 'rb') as file:
    start = file.read(4)
  try:
    if start == b'PK\x03\x04':
      return _load_zip(path)
    return _load_legacy(path)
  except TorchFileError as error:
    raise TorchFileError(f'{path}: {error}') from error
  except Exception as error:  # Broken bytes make readers raise anything.
    raise TorchFileError(
      f'{path} is truncated, damaged or no file of torch.save ({error!r}); '
      'fetch it again.'
    ) from error


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads the flat state of a file, {key: array}.

  A checkpoint of a training run often holds more: of 'model', 'state_dict' or
  'module' the first that is there is taken. The modules of a TorchScript
  archive are flattened as their `state_dict` is.

  Raises:
    TorchFileError: as `load`; or if the file holds no arrays by name.
  """
  content = load(path)
  if isinstance(content, Script):
    return _script_state(content)
  for name in ('state_dict', 'model', 'module'):
    inner = content.get(name) if isinstance(content, dict) else None
    if isinstance(inner, dict):
      content = inner
      break
  if (
    not isinstance(content, dict)
    or not content
    or not all(isinstance(value, np.ndarray) for value in content.values())
  ):
    kinds = (
      {
        key: type(value).__name__
        for key, value in content.items()
        if not isinstance(value, np.ndarray)
      }
      if isinstance(content, dict)
      else type(content).__name__
    )
    raise TorchFileError(
      f'{path} holds no state dict; beside arrays there is {kinds}. Save '
      'model.state_dict() alone, or under "state_dict".'
    )
  return dict(content)


def _script_state(module, prefix=''):
  state = {}
  for name, value in vars(module).items():
    if isinstance(value, Script):
      state |= _script_state(value, f'{prefix}{name}.')
    elif isinstance(value, np.ndarray):
      state[f'{prefix}{name}'] = value
  return state


def _load_zip(path):
  with zipfile.ZipFile(path) as archive:
    names = {name.partition('/')[2]: name for name in archive.namelist()}
    if 'data.pkl' not in names:
      raise TorchFileError(
        f'it is a zip without data.pkl; it holds {sorted(names)[:5]}.'
      )
    order = names.get('byteorder')  # Files before torch 2.1 lack it.
    if order and archive.read(order) == b'big':
      raise TorchFileError(
        'it was written on a big-endian machine; save it '
        'again on a little-endian one.'
      )
    whole = np.memmap(path, np.uint8, 'r')

    def storage(key):
      info = archive.getinfo(names[f'data/{key}'])
      if info.compress_type != zipfile.ZIP_STORED:
        return np.frombuffer(archive.read(info), np.uint8)
      name_size, extra_size = struct.unpack(
        '<HH', whole[info.header_offset + 26 : info.header_offset + 30]
      )
      start = info.header_offset + 30 + name_size + extra_size
      return whole[start : start + info.file_size]

    with archive.open(names['data.pkl']) as file:
      return _Unpickler(file, storage).load()


def _load_legacy(path):
  """Five pickles (magic, protocol, machine, structure, keys), then storages.

  The storages' places are known only at the end, so the structure is read
  twice.
  """
  with open(path, 'rb') as file:
    header = [_Unpickler(file, None).load() for _ in range(3)]
    if header[:2] != [_LEGACY_MAGIC, _LEGACY_PROTOCOL]:
      raise TorchFileError('it is no file of torch.save.')
    if not header[2]['little_endian']:
      raise TorchFileError(
        'it was written on a big-endian machine; save it '
        'again on a little-endian one.'
      )
    structure = file.tell()
    survey = _Unpickler(file, None)
    survey.load()
    keys = _Unpickler(file, None).load()
    places, end = {}, os.path.getsize(path)
    for key in keys:
      (count,) = struct.unpack('<q', file.read(8))
      size = count * np.dtype(survey.dtypes[key]).itemsize
      if not 0 <= size <= end - file.tell():
        raise TorchFileError('it ends within a storage; fetch it again.')
      places[key] = file.tell(), size
      file.seek(size, io.SEEK_CUR)
    whole = np.memmap(path, np.uint8, 'r')

    def storage(key):
      start, size = places[key]
      return whole[start : start + size]

    file.seek(structure)
    return _Unpickler(file, storage).load()


class _Storage(NamedTuple):
  """What tensors are views of; `values` is None where none are read."""

  values: np.ndarray | None


class _Unpickler(pickle._Unpickler):
  """Unpickles containers and tensors, nothing else.

  Python's own, as that in C lets no one see to the opcode BUILD. `dtypes`
  gathers {storage key: dtype}.
  """

  def __init__(self, file, storage):
    """Args: file: to read; storage: key -> bytes, or None to read none."""
    super().__init__(file, encoding='utf-8')
    self._storage = storage
    self._read = {}
    self.dtypes = {}

  def persistent_load(self, pid):
    kind, dtype, key, _, count, *views = pid
    if kind != 'storage' or dtype not in _STORAGES.values():
      raise TorchFileError(f'it refers to {pid!r}, which is no storage.')
    if any(views):  # Part of another storage; not written since torch 0.4.
      raise TorchFileError('it is older than torch 0.4; save it again.')
    self.dtypes[key] = dtype
    if self._storage is None:
      return _Storage(None)
    if key not in self._read:
      data = self._storage(key)
      size = count * np.dtype(dtype).itemsize
      if len(data) < size:
        raise TorchFileError(
          f'storage {key} has {len(data)} of {size} bytes; fetch the file '
          'again.'
        )
      self._read[key] = data[:size]
    return _Storage(self._read[key].view(dtype))

  def find_class(self, module, name):
    if module in ('torch', 'torch.cuda', 'torch.storage') and (
      name in _STORAGES
    ):
      return _STORAGES[name]
    if module == 'torch' and name in _DTYPES:
      return _DTYPES[name]
    if module.split('.')[0] == '__torch__':  # A class of TorchScript.
      return type(name, (Script,), {})
    if (module, name) not in _ALLOWED:
      raise TorchFileError(
        f'its pickle asks for {module}.{name}, which is neither a tensor nor '
        'a container. It was refused and nothing was executed. Save a plain '
        'state dict, and do not load the file elsewhere unless you trust '
        'its origin.'
      )
    return _ALLOWED[module, name]

  def _build(self):
    """Sets attributes, which changes arrays and functions if it can."""
    kind = type(self.stack[-2])
    if kind is collections.OrderedDict:  # Of a state dict: not needed.
      self.stack.pop()
    elif issubclass(kind, Script):
      self.load_build()
    else:
      raise TorchFileError(
        f'its pickle sets attributes of a {kind.__name__}. It was refused.'
      )

  dispatch = pickle._Unpickler.dispatch | {pickle.BUILD[0]: _build}


def _tensor(storage, offset, size, stride, *_):
  """A tensor as a view of its storage."""
  storage = _values(storage)
  if storage is None:
    return None
  if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
    raise TorchFileError(f'a tensor has the sizes {size} and strides {stride}.')
  last = offset + sum((n - 1) * step for n, step in zip(size, stride))
  if 0 in size:
    return np.zeros(size, storage.dtype)
  if last >= len(storage):
    raise TorchFileError(
      f'a tensor of sizes {size}, strides {stride} does not fit into its '
      f'storage of {len(storage)} values.'
    )
  return np.lib.stride_tricks.as_strided(
    storage[offset:],
    size,
    [step * storage.itemsize for step in stride],
    writeable=False,
  )


def _tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, *_):
  del requires_grad, hooks
  values = _values(storage)
  if values is None:
    return None
  return _tensor(_Storage(values.view(dtype)), offset, size, stride)


def _values(storage):
  """The values of a storage; a tensor's would reach beyond their memory."""
  if not isinstance(storage, _Storage):
    raise TorchFileError(
      f'a tensor is made of a {type(storage).__name__}, not of a storage.'
    )
  return storage.values


def _parameter(data, *_):
  return data


def _list(values, *_):
  return values


_ALLOWED = {
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('torch', 'Size'): tuple,
  ('torch', 'device'): str,
  ('torch._utils', '_rebuild_tensor'): _tensor,
  ('torch._utils', '_rebuild_tensor_v2'): _tensor,
  ('torch._utils', '_rebuild_tensor_v3'): _tensor_v3,
  ('torch._utils', '_rebuild_parameter'): _parameter,
  ('torch.jit._pickle', 'build_intlist'): _list,
  ('torch.jit._pickle', 'build_doublelist'): _list,
  ('torch.jit._pickle', 'build_boollist'): _list,
  ('torch.jit._pickle', 'build_tensorlist'): _list,
  ('torch.jit._pickle', 'restore_type_tag'): _list,
}
