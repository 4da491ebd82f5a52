"""What the metadata of a Zarr array may say: sizes, and codecs of a list.

Zarr looks codecs up by the names in the metadata, some of which run code
(`pickle`) or make objects of Python. Only names of the lists here are read,
whatever the installed numcodecs and zarr would do. Versions 2 and 3.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax.untrusted import compressed, memory

_TEXTS = ('vlen-utf8', 'vlen-bytes')
# Codecs that neither run code nor change the number of bytes much.
_FILTERS = {
  'adler32',
  'astype',
  'bitround',
  'crc32',
  'crc32c',
  'delta',
  'fixedscaleoffset',
  'fletcher32',
  'jenkins_lookup3',
  'packbits',
  'quantize',
  'shuffle',
}
_OF_VERSION_3 = {'bytes', 'transpose', 'scale_offset', 'cast_value'}
_SHARDS = 'sharding_indexed'
_TYPE_KEYS = ('dtype', 'astype', 'encode_dtype', 'decode_dtype')
_VERSION_3_TEXTS = ('string', 'bytes', 'variable_length_bytes')
_LARGEST_NUMBER = 16  # Bytes of a complex128.
_POINTER = 64  # Bytes that a text takes, at least.
_MOST_CHUNKS = 100_000  # Of an array that is read as a whole.
_MOST_STEPS = 1_000_000  # Of one axis, such as a time that grows by the hour.


@dataclasses.dataclass(frozen=True)
class Array:
  """What is checked of the chunks of an array.

  Attributes:
    chunk_bytes: bytes of a decoded chunk, inside of a shard if there are
      shards.
    compressor: name of its compressor in `compressed.CODECS`, or ''.
    is_text: whether it holds texts of any length.
    inner: number of chunks in a shard; 0 without shards.
    index_at_end: whether the index of a shard is at its end.
  """

  chunk_bytes: int
  compressor: str = ''
  is_text: bool = False
  inner: int = 0
  index_at_end: bool = True


def read(metadata: Any, name: str, read_whole: bool) -> Array:
  """Returns what is to be checked of an array, after a check of its metadata.

  Args:
    metadata: content of `.zarray` (version 2) or of `zarr.json` (version 3).
    name: store and array, for messages.
    read_whole: whether the array is read as a whole, not in windows.

  Raises:
    ValueError: if a codec is not allowed, if it holds objects of Python, or if
      a chunk would take more memory than allowed.
  """
  try:
    array, shape, chunks, itemsize = (
      _version_3(metadata, name)
      if metadata.get('zarr_format') == 3
      else _version_2(metadata, name)
    )
  except (KeyError, TypeError, AttributeError, IndexError) as error:
    raise ValueError(
      f'{name} has damaged metadata ({type(error).__name__}: {error}); copy '
      'the store again.'
    ) from error
  if len(shape) != len(chunks) or min((*shape, *chunks), default=0) < 0:
    raise ValueError(
      f'{name} states the shape {shape} in chunks of {chunks}; it is damaged.'
    )
  if len(shape) > 1 and not read_whole:
    return array
  memory.check(memory.num_bytes(shape, itemsize), name, 'the array')
  number = math.prod(math.ceil(n / max(c, 1)) for n, c in zip(shape, chunks))
  most = _MOST_STEPS if len(shape) == 1 else _MOST_CHUNKS
  if number > most:
    raise ValueError(
      f'{name} is cut into {number} chunks of {chunks}, more than the '
      f'{most} that are read; store it in larger chunks.'
    )
  return array


def _version_2(metadata, name):
  shape, chunks = _sizes(metadata['shape']), _sizes(metadata['chunks'])
  compressor = metadata.get('compressor') or None
  codecs = [*(metadata.get('filters') or ())]
  codecs += [compressor] if compressor else []
  names = [codec['id'] for codec in codecs]
  _check_codecs(codecs, names, name, set())
  dtype = metadata['dtype']
  if not isinstance(dtype, str):
    raise ValueError(f'{name} holds records of several fields, {dtype!r}.')
  dtype = np.dtype(dtype)
  is_text = bool(names) and names[0] in _TEXTS
  if dtype.hasobject and not is_text:
    raise ValueError(
      f'{name} holds objects of Python (dtype {dtype}, codecs '
      f'{", ".join(names) or "none"}), which could run code; store numbers, or '
      f'texts with the filter {_TEXTS[0]}.'
    )
  itemsize = _POINTER if is_text else dtype.itemsize
  array = _array(chunks, itemsize, names, is_text, name)
  return array, shape, chunks, itemsize


def _version_3(metadata, name):
  shape = _sizes(metadata['shape'])
  grid = metadata['chunk_grid']
  if grid['name'] != 'regular':
    raise ValueError(f'{name} has chunks of the kind {grid["name"]!r}.')
  chunks = _sizes(grid['configuration']['chunk_shape'])
  codecs = [_named(codec) for codec in metadata['codecs']]
  names = [codec['id'] for codec in codecs]
  itemsize, is_text = _item(metadata['data_type'], name)
  if _SHARDS not in names:
    _check_codecs(codecs, names, name, _OF_VERSION_3)
    array = _array(chunks, itemsize, names, is_text, name)
    return array, shape, chunks, itemsize
  if is_text or names != [_SHARDS]:
    raise ValueError(
      f'{name} has shards of texts, or shards that are encoded once more '
      f'({", ".join(names)}); store it without shards.'
    )
  shard = codecs[0]
  inner_codecs = [_named(codec) for codec in shard['codecs']]
  inner_names = [codec['id'] for codec in inner_codecs]
  _check_codecs(inner_codecs, inner_names, name, _OF_VERSION_3)
  index = [_named(codec)['id'] for codec in shard.get('index_codecs', ())]
  if index != ['bytes', 'crc32c']:
    raise ValueError(f'{name} has shards with an index of {", ".join(index)}.')
  inner = _sizes(shard['chunk_shape'])
  array = dataclasses.replace(
    _array(inner, itemsize, inner_names, False, name),
    inner=math.prod(-(-n // max(c, 1)) for n, c in zip(chunks, inner)),
    index_at_end=shard.get('index_location', 'end') == 'end',
  )
  memory.check(
    memory.num_bytes(chunks, itemsize) + 16 * array.inner, name, 'a shard'
  )
  return array, shape, chunks, itemsize


def _array(chunks, itemsize, names, is_text, name):
  """Returns the array of these chunks after a check of their size."""
  chunk_bytes = memory.num_bytes(chunks, itemsize)
  memory.check(chunk_bytes, name, f'a chunk of {chunks}')
  compressors = [codec for codec in names if codec in compressed.CODECS]
  if len(compressors) > 1:
    raise ValueError(
      f'{name} is compressed more than once ({", ".join(names)}); store it '
      'with one compressor.'
    )
  if is_text and [x for x in names if x not in (*_TEXTS, *compressors)]:
    raise ValueError(
      f'{name} holds texts with the codecs {", ".join(names)}; store them with '
      f'{_TEXTS[0]} and one compressor.'
    )
  return Array(chunk_bytes, (compressors or [''])[0], is_text)


def _check_codecs(
  codecs: Sequence[Mapping[str, Any]],
  names: Sequence[str],
  name: str,
  more: set[str],
) -> None:
  """Checks codecs by the lists, and the types that they decode to."""
  allowed = {*compressed.CODECS, *_FILTERS, *_TEXTS, *more}
  for codec, codec_name in zip(codecs, names):
    if codec_name not in allowed:
      raise ValueError(
        f'{name} is stored with the codec {codec_name!r}, which is refused '
        'because it may run code or is not known. Nothing was decoded. Store '
        f'it with one of {", ".join(sorted(compressed.CODECS))}.'
      )
    for key in _TYPE_KEYS:
      if key in codec and codec[key] is not None:
        dtype = np.dtype(codec[key])
        if dtype.kind not in 'biufcmM' or dtype.itemsize > _LARGEST_NUMBER:
          raise ValueError(
            f'{name}: its codec {codec_name} decodes to {dtype}, which is no '
            'number.'
          )


def _named(codec: Any) -> dict[str, Any]:
  """Returns a codec of version 3 as one of version 2, {'id': ..., ...}."""
  if isinstance(codec, str):
    codec = {'name': codec}
  configuration = dict(codec.get('configuration') or {})
  configuration['id'] = codec['name'].removeprefix('numcodecs.')
  return configuration


def _sizes(values):
  """Returns the sizes of axes, of which there are at most 32."""
  sizes = tuple(int(value) for value in values)
  if len(sizes) > 32:
    raise ValueError(f'An array of {len(sizes)} axes is damaged.')
  return sizes


def _item(data_type, name):
  """Returns bytes of an item of version 3, and whether it is a text."""
  if data_type in _VERSION_3_TEXTS:
    return _POINTER, True
  if isinstance(data_type, str):
    if data_type.startswith('r') and data_type[1:].isdigit():
      return int(data_type[1:]) // 8, False
    dtype = np.dtype(data_type)
    if dtype.hasobject:
      raise ValueError(f'{name} holds objects of Python ({data_type}).')
    return dtype.itemsize, False
  known = ('numpy.datetime64', 'numpy.timedelta64')
  if data_type['name'] in known:
    return 8, False
  if 'length_bytes' in data_type.get('configuration', {}):
    return int(data_type['configuration']['length_bytes']), False
  raise ValueError(f'{name} holds values of the kind {data_type["name"]!r}.')
