"""Reads weight files, local ones or from a hub, as flat states."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from fusion_jax import extras
from fusion_jax.convert import torch_files
from fusion_jax.untrusted import nested

_TORCH = ('.pt', '.pth', '.bin', '.ckpt')
_SAFETENSORS = '.safetensors'
_DTYPES = {  # Data types of safetensors files.
  'F64': np.float64,
  'F32': np.float32,
  'F16': np.float16,
  'BF16': ml_dtypes.bfloat16,
  'I64': np.int64,
  'I32': np.int32,
  'I16': np.int16,
  'I8': np.int8,
  'U8': np.uint8,
  'BOOL': np.bool_,
}


def fetch(
  source: str,
  published: Mapping[str, str],
  *,
  file: str = '',
  revision: str = '',
) -> pathlib.Path:
  """Returns the path of a weight file, which is fetched if it is on a hub.

  Args:
    source: path of a file, or a hub id such as 'owner/name'.
    published: {hub id: file} of the published weights that are known.
    file: name of the file in the hub's repository, for ids that are not in
      `published`.
    revision: branch, tag or commit on the hub; '' is the main branch.

  Returns:
    The path of the file, in the cache of the hub's client if it was fetched.

  Raises:
    FileNotFoundError: if the source is no file and cannot be fetched.
    ValueError: if the file of a hub id is not known.
    MissingExtraError: if the hub's client is not installed.
  """
  path = pathlib.Path(source).expanduser()
  if path.is_file():
    return path
  if path.is_dir():
    raise FileNotFoundError(
      f'--source={source} is a folder; give the path of the file in it.'
    )
  parts = source.split('/')
  if path.suffix in (*_TORCH, _SAFETENSORS, '.json') or (
    len(parts) != 2 or not all(parts)
  ):
    raise FileNotFoundError(
      f'--source={source} is neither a file nor a hub id of the form '
      'owner/name.'
    )
  file = file or published.get(source, '')
  if not file:
    raise ValueError(
      f'--source={source}: name the file in that repository with --file. '
      f'Known are {sorted(published)}.'
    )
  otherwise = 'download the file and give its path'
  with extras.needed('hub', f'Fetching {source}', otherwise):
    import huggingface_hub
  try:
    return pathlib.Path(
      huggingface_hub.hf_hub_download(source, file, revision=revision or None)
    )
  except Exception as error:  # The hub client and the network raise many kinds.
    raise FileNotFoundError(
      f'Cannot fetch {file} of {source} ({type(error).__name__}: {error}). '
      'Check id, revision and connection, or give the path of a file.'
    ) from error


def read_state(path: str | os.PathLike[str]) -> Mapping[str, Any]:
  """Reads the flat state of a weight file, {key: array}, memory-mapped.

  Raises:
    ValueError: if the ending is not known, or the file is damaged.
  """
  path = pathlib.Path(path)
  if path.suffix == _SAFETENSORS:
    return _map_safetensors(path)
  if path.suffix in _TORCH:
    return torch_files.load_state(path)
  raise ValueError(
    f'{path}: weights end in {", ".join(_TORCH)} or {_SAFETENSORS}.'
  )


def digest(path: str | os.PathLike[str]) -> str:
  """Returns the SHA-256 of a file, in hexadecimal digits."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _map_safetensors(path):
  """Reads a safetensors file as {key: read-only array}, memory-mapped."""
  try:
    with safetensors.safe_open(path, 'numpy'):  # Checks sizes and offsets.
      pass
  except safetensors.SafetensorError as error:
    raise ValueError(
      f'{path} is truncated, damaged or no safetensors file '
      f'({error}); fetch it again.'
    ) from error
  whole = np.memmap(path, np.uint8, 'r')
  start = 8 + int(whole[:8].view('<u8')[0])
  header = nested.loads(whole[8:start].tobytes(), path)
  header.pop('__metadata__', None)
  unknown = {entry['dtype'] for entry in header.values()} - set(_DTYPES)
  if unknown:
    raise ValueError(
      f'{path} has arrays of {sorted(unknown)}; save it as float32.'
    )
  return {key: _view(whole[start:], **entry) for key, entry in header.items()}


def _view(data, dtype, shape, data_offsets):
  first, last = data_offsets
  return data[first:last].view(_DTYPES[dtype]).reshape(shape)


def origin(source: str, path: pathlib.Path, revision: str) -> dict[str, str]:
  """Describes the file of weights that a folder is converted from.

  Args:
    source: path of a file, or id on the Hugging Face hub.
    path: the file.
    revision: revision on the hub; '' for its main branch.
  """
  return {
    'source': source,
    'file': path.name,
    'revision': revision,
    'sha256': digest(path),
  }
