"""Reads what torch.save wrote into NumPy, without torch and without code.

A torch file is a pickle of the structure and raw storages beside it. Storages
are memory-mapped: a large file takes no memory until its arrays are used. Two
formats are read: zip files (torch 1.6 and later, including TorchScript) and the
older format without a zip. Source: pytorch/pytorch, `torch/serialization.py`.
"""

import io
import os
import struct
import zipfile
from typing import Any

import numpy as np

from fusion_jax.convert import torch_pickle
from fusion_jax.convert.torch_pickle import Script, TorchFileError
from fusion_jax.untrusted import archives

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DEEPEST = 100  # Levels of modules in a TorchScript archive.
_MOST_ENTRIES = 1_000_000


def load(path: str | os.PathLike[str]) -> Any:
  """Reads what `torch.save` or `torch.jit.save` wrote, tensors as arrays.

  Args:
    path: path of the file.

  Returns:
    The nested dicts, lists and tuples of the file. Tensors and parameters are
    read-only arrays that share the file's storages, as the tensors did.
    Modules of a TorchScript archive are `Script` objects.

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
  except Exception as error:  # Damaged bytes cause many kinds of errors.
    raise TorchFileError(
      f'{path} is truncated, damaged or no file of torch.save ({error!r}); '
      'fetch it again.'
    ) from error


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads the flat state of a file, {key: array}.

  A checkpoint of a training run often holds more: the first entry of 'model',
  'state_dict' and 'module' that exists is taken. The modules of a TorchScript
  archive are flattened as their `state_dict` is.

  Raises:
    TorchFileError: if the file cannot be read, see `load`, or holds no arrays
      by name.
  """
  content = load(path)
  if isinstance(content, Script):
    return _script_state(content, path)
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


def _script_state(module, path):
  """Returns the arrays of a module and of those in it, {name: array}."""
  state, modules = {}, [(module, '', 0)]
  while modules:
    module, prefix, depth = modules.pop()
    if depth > _DEEPEST:
      raise TorchFileError(
        f'{path} nests modules more than {_DEEPEST} levels deep, or in a '
        'circle; it is damaged, or made to do harm.'
      )
    inner = []
    for name, value in vars(module).items():
      if isinstance(value, Script):
        inner.append((value, f'{prefix}{name}.', depth + 1))
      elif isinstance(value, np.ndarray):
        state[f'{prefix}{name}'] = value
    modules += reversed(inner)
    if len(state) + len(modules) > _MOST_ENTRIES:
      raise TorchFileError(f'{path} has more than {_MOST_ENTRIES} entries.')
  return state


def _load_zip(path):
  with zipfile.ZipFile(path) as archive:
    compressed = [x for x in archive.infolist() if x.compress_type]
    archives.check_members(compressed, path)
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
      if start + info.file_size > len(whole):
        raise TorchFileError(f'it ends within storage {key}.')
      return whole[start : start + info.file_size]

    with archive.open(names['data.pkl']) as file:
      return torch_pickle.Unpickler(file, storage).load()


def _load_legacy(path):
  """Reads the older format: five pickles, then the storages.

  The pickles are magic number, protocol, machine, structure and keys.

  The storages' places are known only at the end, so the structure is read
  twice.
  """
  with open(path, 'rb') as file:
    header = [torch_pickle.Unpickler(file, None).load() for _ in range(3)]
    if header[:2] != [_LEGACY_MAGIC, _LEGACY_PROTOCOL]:
      raise TorchFileError('it is no file of torch.save.')
    if not header[2]['little_endian']:
      raise TorchFileError(
        'it was written on a big-endian machine; save it '
        'again on a little-endian one.'
      )
    structure = file.tell()
    survey = torch_pickle.Unpickler(file, None)
    survey.load()
    keys = torch_pickle.Unpickler(file, None).load()
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
    return torch_pickle.Unpickler(file, storage).load()
