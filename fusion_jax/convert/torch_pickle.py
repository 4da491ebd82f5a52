"""Unpickles tensors of torch files as NumPy arrays, and runs no code.

Pickles can call anything, so this reader knows a short list of names and
refuses all others. Source: pytorch/pytorch, `torch/_utils.py`.
"""

import collections
import pickle
from collections.abc import Callable
from typing import IO, Any, ClassVar, NamedTuple, cast

import ml_dtypes
import numpy as np

from fusion_jax.untrusted import memory

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
_MOST_LINE = 2**16  # Bytes of a name or number in a pickle.
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


class TorchFileError(ValueError):
  """A file that cannot or must not be read; the message says why."""


class Script:
  """An object of a TorchScript archive: its attributes, none of its code."""

  def __setstate__(self, state: Any) -> None:
    self.__dict__.update(state)


class _Storage(NamedTuple):
  """The storage of tensors; `values` is None if storages are not read."""

  values: np.ndarray | None


# The unpickler in Python; its types leave out `stack` and `load_build`.
_PythonUnpickler = cast(Any, pickle._Unpickler)


# Opcodes that no tensor needs: they take the memory that a number asks for, or
# memory for every byte.
_UNUSED = {
  getattr(pickle, name)[0]
  for name in (
    'BYTEARRAY8',
    'NEXT_BUFFER',
    'READONLY_BUFFER',
    'EMPTY_SET',
    'FROZENSET',
    'ADDITEMS',
    'EXT1',
    'EXT2',
    'EXT4',
  )
}
_OBJECT_BYTES = 128  # Of memory that a byte of a pickle can become.


class _Bounded:
  """A file of which no more is unpickled than memory may hold."""

  def __init__(self, file: IO[bytes]):
    self._file, self._read = file, 0
    self._most = memory.limit() // _OBJECT_BYTES

  def read(self, count: int) -> bytes:
    """Returns bytes, as many as asked for unless the file ends."""
    if count < 0:
      raise TorchFileError('its pickle states a negative size.')
    most = self._most - self._read + 1
    return self._count(self._file.read(min(count, most)))

  def readline(self) -> bytes:
    """Returns a line of at most a few thousand bytes."""
    return self._count(self._file.readline(_MOST_LINE))

  def _count(self, content):
    self._read += len(content)
    if self._read > self._most:
      raise TorchFileError(
        f'its pickle is larger than {memory.describe(self._read)}, whose '
        f'objects need more than the allowed {memory.describe(memory.limit())} '
        'of memory (--max-memory).'
      )
    return content


class Unpickler(_PythonUnpickler):
  """Unpickles containers and tensors, nothing else.

  It is the unpickler in Python, because that in C does not let a subclass
  override the opcode BUILD.

  Attributes:
    dtypes: {key of a storage: its data type}, gathered while reading.
  """

  dtypes: dict[str, Any]

  def __init__(
    self,
    file: IO[bytes],
    storage: Callable[[str], np.ndarray] | None,
  ) -> None:
    """Prepares reading.

    Args:
      file: file that stands at the beginning of a pickle.
      storage: function from a key to the bytes of its storage, uint8 [N];
        None reads no storage, and tensors become None.
    """
    super().__init__(_Bounded(file), encoding='utf-8')
    self._storage = storage
    self._read = {}
    self.dtypes = {}

  def persistent_load(self, pid: Any) -> _Storage:
    """Returns the storage that a pickle refers to."""
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

  def find_class(self, module: str, name: str) -> Any:
    """Returns what a global name of a pickle stands for.

    Raises:
      TorchFileError: if it is neither a tensor nor a container.
    """
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
    if kind is collections.OrderedDict:  # The metadata of a state dict.
      self.stack.pop()
    elif issubclass(kind, Script):
      self.load_build()
    else:
      raise TorchFileError(
        f'its pickle sets attributes of a {kind.__name__}. It was refused.'
      )

  dispatch: ClassVar[dict[int, Any]] = {
    **{
      opcode: load
      for opcode, load in _PythonUnpickler.dispatch.items()
      if opcode not in _UNUSED
    },
    pickle.BUILD[0]: _build,
  }


def _tensor(storage, offset, size, stride, *_):
  """Returns a tensor as a view of its storage."""
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
  _check_count(size, storage)
  return np.lib.stride_tricks.as_strided(
    storage[offset:],
    size,
    [step * storage.itemsize for step in stride],
    writeable=False,
  )


def _check_count(sizes, storage):
  """Checks that a tensor is not many times its storage, by steps of 0."""
  size = memory.num_bytes(sizes, storage.itemsize)
  if size > max(memory.limit(), storage.nbytes):
    raise TorchFileError(
      f'a tensor of sizes {sizes} repeats the {len(storage)} values of its '
      f'storage and would take {memory.describe(size)} (--max-memory).'
    )


def _tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, *_):
  del requires_grad, hooks
  values = _values(storage)
  if values is None:
    return None
  return _tensor(_Storage(values.view(dtype)), offset, size, stride)


def _values(storage):
  """Returns the values of a storage; those of a tensor are refused."""
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
