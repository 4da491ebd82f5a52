"""HDF5 files: what they refer to, and what their datasets take in memory."""

import math
import os
from typing import Any

import h5py
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]  # A compiled module.

from fusion_jax.untrusted import compressed, memory

# Filters of HDF5 by number, and the codec that tells what their bytes become.
_FILTERS = {
  1: 'zlib',  # Deflate.
  2: '',  # Shuffle.
  3: '',  # Fletcher32.
  5: '',  # N-bit.
  6: '',  # Scale and offset.
  32000: '',  # LZF, which stands for at most 88 bytes a byte.
  32001: 'blosc',
  32015: 'zstd',
}
_MOST_OBJECTS = 100_000
_MOST_CHUNKS = 1_000_000
_SHARE = 4  # Of the limit, which one chunk may become.


def check_file(path: str | os.PathLike[str]) -> None:
  """Checks all groups and datasets of a file.

  Args:
    path: path of an HDF5 file, such as a NetCDF 4.

  Raises:
    ValueError: if it refers to other files, or a dataset cannot be read in the
      memory that is allowed.
    OSError: if it cannot be opened.
  """
  with h5py.File(path, 'r') as file, memory.bounded():
    groups: list[Any] = [file]
    seen: set[int] = set()
    while groups:
      group = groups.pop()
      address = h5o.get_info(group.id).addr
      if address in seen:
        continue
      seen.add(address)
      if len(seen) > _MOST_OBJECTS:
        raise ValueError(f'{path} has more than {_MOST_OBJECTS} groups.')
      for name in group:
        check_link(group, name, path)
        item: Any = group.get(name)
        if item is None:
          raise ValueError(
            f'{path}: {name} is a link to '
            f'{group.get(name, getlink=True).path}, which the file does not '
            'have; copy the file again, or remove the link.'
          )
        for attribute in item.attrs:  # Strings state their lengths.
          item.attrs.get(attribute)
        if isinstance(item, h5py.Group):
          groups.append(item)
        elif isinstance(item, h5py.Dataset):
          check_dataset(item, path)


def check_link(group: Any, name: str, path: str | os.PathLike[str]) -> None:
  """Checks that an entry of a group is in the file itself.

  Raises:
    ValueError: if it is a link to another file.
  """
  link = group.get(name, getlink=True)
  if not isinstance(link, (h5py.HardLink, h5py.SoftLink)):
    raise ValueError(
      f'{path}: {name} is a link to another file, which is not followed; copy '
      'the data into this file.'
    )


def check_dataset(dataset: Any, path: str | os.PathLike[str]) -> None:
  """Checks where the values of a dataset are, and how large they become.

  Args:
    dataset: open dataset.
    path: path of its file, for messages.

  Raises:
    ValueError: if they are in other files, or would take more memory than
      allowed, or more than the file has.
  """
  name = dataset.name
  if dataset.external or dataset.is_virtual:
    raise ValueError(
      f'{path}: {name} keeps its values in another file, which is not read; '
      'copy them into this file.'
    )
  stored = dataset.id.get_storage_size()
  if stored > os.path.getsize(path):
    raise ValueError(
      f'{path}: {name} states {stored} bytes, more than the file has; it is '
      'damaged.'
    )
  shape = tuple(map(int, dataset.shape or ()))
  itemsize = dataset.id.get_type().get_size()
  if len(shape) == 1:  # Coordinates are read as a whole.
    memory.check(memory.num_bytes(shape, itemsize), path, name)
  if not dataset.chunks:
    return
  chunk_bytes = memory.num_bytes(dataset.chunks, itemsize)
  memory.check(chunk_bytes, path, f'a chunk of {name}')
  number = math.ceil(shape[0] / dataset.chunks[0])
  if len(shape) == 1 and number > _MOST_CHUNKS:
    raise ValueError(
      f'{path}: {name} is cut into {number} chunks; store it in larger ones.'
    )
  codec = _codec(dataset, path)
  if codec:
    most = max(memory.limit() // _SHARE, 2 * chunk_bytes)
    _check_chunks(dataset, codec, stored, most, path)


def _codec(dataset, path):
  """Returns the codec that tells what the chunks of a dataset become, or ''."""
  settings = dataset.id.get_create_plist()
  codecs = ['']
  for i in range(settings.get_nfilters()):
    number = settings.get_filter(i)[0]
    if number not in _FILTERS:
      raise ValueError(
        f'{path}: {dataset.name} is stored with the filter {number} of HDF5, '
        'which is not known here; rewrite it (h5repack -f GZIP=4).'
      )
    if _FILTERS[number]:
      codecs.append(_FILTERS[number])
  if len(codecs) > 2:
    raise ValueError(f'{path}: {dataset.name} is compressed more than once.')
  return codecs[-1]


def _check_chunks(dataset, codec, stored, most, path):
  """Checks what compressed chunks become, where they could be too large."""
  if codec == 'zlib' and 1032 * stored <= most:
    return
  places = []
  dataset.id.chunk_iter(
    lambda chunk: places.append((chunk.chunk_offset, chunk.size)) and None
  )
  for place, size in places:
    if codec == 'zlib' and 1032 * size <= most:
      continue
    _, data = dataset.id.read_direct_chunk(place)
    too_large = compressed.exceeds(codec, data, most)
    if too_large:
      raise ValueError(
        f'{path}: {size} bytes of {dataset.name} become more than '
        f'{memory.describe(most)}; it is damaged, or made to do harm.'
      )
