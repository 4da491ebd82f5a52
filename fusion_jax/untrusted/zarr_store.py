"""Stores of Zarr of which every document and every chunk is checked.

All readers open Zarr through a store of this module, so that no codec outside
of the lists of `zarr_metadata` runs, and no chunk becomes larger than it is
allowed to.
"""

import os
import pathlib
import struct
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, cast

import numcodecs
from zarr import storage
from zarr.abc.store import Store
from zarr.core.buffer import cpu

from fusion_jax.untrusted import compressed, memory, nested, zarr_metadata

_SHARE = 16  # Chunks that are decoded at a time, or more than that.
_NO_CHUNK = 2**64 - 1  # Place of a chunk that a shard does not have.
_DOCUMENTS = ('.zarray', '.zgroup', '.zattrs', '.zmetadata', 'zarr.json')


def open_store(path: str | os.PathLike[str]) -> Any:
  """Returns the store of a folder, for `zarr.open_group` and `xr.open_zarr`.

  Args:
    path: path of the folder.
  """
  return _Checked(
    storage.LocalStore(str(path), read_only=True), str(path), False
  )


def is_consolidated(path: str | os.PathLike[str]) -> bool:
  """Returns whether one document of a store describes all of its arrays.

  Args:
    path: path of the folder.

  Raises:
    ValueError: if the document is damaged.
  """
  root = pathlib.Path(path) / 'zarr.json'
  if root.exists():
    return bool(nested.read_table(root).get('consolidated_metadata'))
  return root.with_name('.zmetadata').exists()


def of_members(members: Mapping[str, bytes], name: str) -> Any:
  """Returns the store of files that are in memory, and read as a whole.

  Args:
    members: {name of a file: its bytes}.
    name: what they are from, for messages.
  """
  buffers = {
    key: cpu.Buffer.from_bytes(value) for key, value in members.items()
  }
  inner = storage.MemoryStore(cast(Any, buffers), read_only=True)
  return _Checked(inner, name, True)


class _Checked(storage.WrapperStore):
  """A store that checks what it hands out."""

  def __init__(self, store: Any, name: str = '', read_whole: bool = False):
    super().__init__(store)
    self._name, self._read_whole = name, read_whole
    self._arrays: dict[str, list[zarr_metadata.Array]] = {}

  def _with_store(self, store: Any) -> Any:
    other = _Checked(store, self._name, self._read_whole)
    other._arrays = self._arrays
    return other

  async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
    _check_key(key, self._name)
    buffer = await self._store.get(key, prototype, byte_range)
    return self._check(key, buffer, byte_range)

  def get_sync(
    self, key: str, *, prototype: Any = None, byte_range: Any = None
  ) -> Any:
    _check_key(key, self._name)
    buffer = cast(Any, self._store).get_sync(
      key, prototype=prototype, byte_range=byte_range
    )
    return self._check(key, buffer, byte_range)

  async def get_partial_values(
    self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]
  ) -> list[Any]:
    return [await self.get(key, prototype, x) for key, x in key_ranges]

  async def get_ranges(
    self, key: str, byte_ranges: Sequence[Any], *, prototype: Any, **_: Any
  ) -> AsyncIterator[Sequence[tuple[int, Any]]]:
    groups = cast(Any, Store).get_ranges(  # One by one: each is a chunk.
      self, key, byte_ranges, prototype=prototype, max_coalesced_bytes=0
    )
    async for group in groups:
      yield group

  def get_ranges_sync(
    self, key: str, byte_ranges: Sequence[Any], *, prototype: Any, **_: Any
  ) -> Any:
    return cast(Any, Store).get_ranges_sync(
      self, key, byte_ranges, prototype=prototype, max_coalesced_bytes=0
    )

  def _check(self, key, buffer, byte_range):
    """Returns what a store has under a key, after a check of it."""
    if buffer is None:
      return None
    folder, _, file = key.rpartition('/')
    if file in _DOCUMENTS:
      self._read_document(folder, file, buffer.to_bytes())
      return buffer
    for array in self._arrays_of(folder):
      self._check_chunk(key, buffer, byte_range, array)
    return buffer

  def _read_document(self, folder, file, text):
    """Checks a document, and keeps what it says of arrays."""
    name = f'{self._name}/{folder}/{file}' if folder else f'{self._name}/{file}'
    content = nested.loads(text, name)
    if not isinstance(content, dict):
      raise ValueError(f'{name} holds no table; it is damaged.')
    found = {}
    if file == '.zarray' or content.get('node_type') == 'array':
      found[folder] = content
    consolidated = content.get('consolidated_metadata') or content
    inside = consolidated.get('metadata') if file != '.zattrs' else None
    for path, document in (inside if isinstance(inside, dict) else {}).items():
      is_array = isinstance(document, dict) and (
        document.get('node_type') == 'array' or path.endswith('.zarray')
      )
      if is_array:
        path = path.removesuffix('.zarray').strip('/')
        found[f'{folder}/{path}'.strip('/')] = document
    for path, document in found.items():
      array = zarr_metadata.read(
        document, f'{self._name}/{path}', self._read_whole
      )
      known = self._arrays.setdefault(path, [])
      if array not in known:
        known.append(array)

  def _arrays_of(self, folder):
    """Returns what is known of the array of a chunk, by its folder."""
    while folder and folder not in self._arrays:
      folder = folder.rpartition('/')[0]
    return self._arrays.get(folder, ())

  def _check_chunk(self, key, buffer, byte_range, array):
    if not array.compressor and not array.is_text:
      return
    data = buffer.to_bytes()
    most = max(memory.limit() // _SHARE, 2 * array.chunk_bytes)
    parts = [data]
    if array.inner and byte_range is None:
      parts = _inner_chunks(data, array)
    name = f'{self._name}/{key}'
    for part in parts:
      if array.compressor and compressed.exceeds(array.compressor, part, most):
        raise ValueError(
          f'{name}: {len(part)} bytes of {array.compressor} become more than '
          f'{memory.describe(most)}, where a chunk has '
          f'{memory.describe(array.chunk_bytes)}; it is damaged, or made to do '
          'harm.'
        )
    if array.is_text:
      _check_texts(data, array.compressor, name)


def _check_key(key, name):
  """Checks that a key does not lead out of the store."""
  if '..' in key.split('/'):
    raise ValueError(f'{name} refers to {key!r}, outside of its folder.')


def _inner_chunks(data, array):
  """Returns the chunks of a shard, as its index tells."""
  size = 16 * array.inner
  at = len(data) - size - 4 if array.index_at_end else 0
  if at < 0 or len(data) < size + 4:
    return []  # Zarr says what is wrong.
  places = struct.unpack_from(f'<{2 * array.inner}Q', data, at)
  return [
    data[start : start + length]
    for start, length in zip(places[::2], places[1::2])
    if start != _NO_CHUNK
  ]


def _check_texts(data, compressor, name):
  """Checks that texts are as many as their bytes can hold."""
  if compressor:
    codec: Any = numcodecs.get_codec({'id': compressor})
    data = bytes(codec.decode(data))
  count = struct.unpack_from('<I', data)[0] if len(data) >= 4 else 0
  if 4 * count > len(data) - 4:
    raise ValueError(
      f'{name} states {count} texts in {len(data)} bytes; it is damaged.'
    )
