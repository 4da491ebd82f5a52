"""Reads examples from a TFDS folder of ArrayRecord files, by their number.

Needs neither TensorFlow nor TFDS. A record is one `tf.train.Example` protocol
buffer with one bytes feature for each field (`data/builders/examples.py`). The
arrays of an example are views of its record; nothing is copied. This is several
times as fast as TFDS's own decoding.
"""

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fusion_jax.data import remote, shard_files
from fusion_jax.untrusted import nested
from fusion_jax.untrusted.reading import reading

# From the features of a record, {name: list of values}, to one field.
_ANEW = 'copy it again, or prepare the data set anew'
_Decode = Callable[[Mapping[str, Any]], Any]


class Decoder:
  """Turns a record into its example, a flat dict of arrays.

  Attributes:
    fields: names of the fields that every example has.
  """

  fields: tuple[str, ...]

  def __init__(self, path: str | os.PathLike[str]) -> None:
    """Reads `features.json`.

    Args:
      path: folder of the data set.

    Raises:
      FileNotFoundError: if the folder holds no finished data set.
      ValueError: if a field is stored in a way that this reader does not know.
    """
    features = _read_json(pathlib.Path(path) / 'features.json')
    with reading(pathlib.Path(path) / 'features.json', 'description', _ANEW):
      self._layout = dict(_layout(features))
    self.fields = tuple(self._layout)

  def __call__(self, record: bytes) -> dict[str, Any]:
    """Decodes the bytes of one record."""
    stored = dict(_features(memoryview(record)))
    return {name: decode(stored) for name, decode in self._layout.items()}


class Examples:
  """The examples of one split of a data set, read by their number.

  `len(examples)` is their number; `examples[i]` is a flat dict of read-only
  NumPy arrays, and 'key' is a str.

  Attributes:
    path: folder of the data set.
    split: name of the split.
    fields: names of the fields that every example has.
  """

  path: pathlib.Path
  split: str
  fields: tuple[str, ...]

  def __init__(self, path: str | os.PathLike[str], split: str) -> None:
    """Opens a split.

    Args:
      path: folder with `dataset_info.json`, `features.json` and the shards. In
        a folder of `remote.open_folder` each shard is fetched when it is first
        read.
      split: name of the split, such as 'train' or 'val'.

    Raises:
      FileNotFoundError: if the folder holds no finished data set, or not all
        of its shards.
      ValueError: if the data set has no such split, or if a shard is damaged.
    """
    self.path, self.split = pathlib.Path(path), split
    about = self.path / 'dataset_info.json'
    info = _read_json(about)
    with reading(about, 'description', _ANEW):
      lengths = _shard_lengths(info, split, self.path)
      names = _shard_names(info, split, len(lengths))
    self._decode = Decoder(self.path)
    self.fields = self._decode.fields
    fetch = remote.shard_fetcher(self.path, names)
    missing = [name for name in names if not (self.path / name).exists()]
    if missing and fetch is None:
      raise FileNotFoundError(
        f'{self.path} lacks {len(missing)} of {len(names)} shards of '
        f'{split!r}, among them {missing[0]}; copy them, or prepare the '
        'data set again.'
      )
    try:
      self._records = shard_files.ShardFiles(
        [self.path / name for name in names], lengths, fetch
      )
    except RuntimeError as error:
      raise ValueError(
        f'A shard of {split!r} in {self.path} is damaged; copy it, or '
        f'prepare the data set again. {error}'
      ) from error
    except ValueError as error:
      raise ValueError(
        f'The shards of {split!r} in {self.path} hold {error} of '
        'dataset_info.json; prepare the data set again.'
      ) from error

  @property
  def read_errors(self) -> Mapping[str, int]:
    """Returns {name of a shard: number of its reads that failed so far}."""
    return self._records.errors

  def __len__(self) -> int:
    """Returns the number of examples."""
    return len(self._records)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Returns example number `index`, counted from 0.

    Raises:
      IndexError: if there is no such example.
      shard_files.ReadError: if it cannot be read, after several tries.
      remote.RemoteError: if its shard cannot be fetched.
    """
    record = self._records[index]
    with reading(self.path, 'data set', _ANEW):
      return self._decode(record)

  def __repr__(self) -> str:
    return f'Examples({str(self.path)!r}, {self.split!r})'


def describe(
  path: str | os.PathLike[str],
) -> tuple[dict[str, int], dict[str, str]]:
  """Reads what a data set consists of, without opening its shards.

  Args:
    path: folder of the data set.

  Returns:
    ({split: number of examples}, {field: how it is stored, as JSON text}).

  Raises:
    FileNotFoundError: if the folder holds no finished data set.
  """
  path = pathlib.Path(path)
  info = _read_json(path / 'dataset_info.json')
  features = _read_json(path / 'features.json')
  with reading(path, 'data set', _ANEW):
    sizes = {s['name']: s.get('shardLengths', []) for s in info['splits']}
    return (
      {split: sum(map(int, lengths)) for split, lengths in sizes.items()},
      {
        name: json.dumps(feature, sort_keys=True)
        for name, feature in _flat_features(features)
      },
    )


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  if not path.exists():
    raise FileNotFoundError(
      f'There is no finished data set in {path.parent}: {path.name} is '
      'missing. Make one with `python -m fusion_jax.prepare`.'
    )
  return nested.read_table(path)


def _shard_lengths(
  info: Mapping[str, Any], split: str, path: pathlib.Path
) -> list[int]:
  """Returns the number of examples in every shard of a split."""
  splits = {s['name']: s.get('shardLengths', []) for s in info['splits']}
  if split not in splits:
    raise ValueError(f'{path} has no split {split!r}; it has {sorted(splits)}.')
  return [int(length) for length in splits[split]]


def _shard_names(info: Mapping[str, Any], split: str, total: int) -> list[str]:
  """Returns the names of the files of a split, by TFDS's own template."""
  template = next(
    s['filepathTemplate'] for s in info['splits'] if s['name'] == split
  )
  names = []
  for i in range(total):
    fields = {
      'DATASET': info.get('name', ''),
      'SPLIT': split,
      'FILEFORMAT': 'array_record',
      'SHARD_INDEX': f'{i:05d}',
      'NUM_SHARDS': f'{total:05d}',
      'SHARD_X_OF_Y': f'{i:05d}-of-{total:05d}',
    }
    # Not `format`, in which a template may ask for any width and attribute.
    name = template
    for field, value in fields.items():
      name = name.replace(f'{{{field}}}', value)
    if pathlib.PurePath(name).name != name:
      raise ValueError(f'it names the shard {name!r}, outside of its folder')
    names.append(name)
  return names


def _layout(features: Mapping[str, Any]) -> Iterator[tuple[str, _Decode]]:
  """Yields every field of `features.json` with its decoder."""
  for path, feature in _flat_features(features):
    if 'text' in feature:
      yield path, _text_decoder(path)
    elif feature.get('tensor', {}).get('encoding') == 'bytes':
      yield path, _tensor_decoder(path, feature['tensor'])
    else:
      raise ValueError(
        f'Field {path} is stored as {feature}; this reader knows text and '
        'Tensor(..., encoding="bytes").'
      )


def _flat_features(
  features: Mapping[str, Any], prefix: str = ''
) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """Yields every field of `features.json` with what is stored about it."""
  for name, feature in features['featuresDict']['features'].items():
    if 'featuresDict' in feature:
      yield from _flat_features(feature, f'{prefix}{name}/')
    else:
      yield prefix + name, feature


def _text_decoder(name: str) -> _Decode:
  return lambda stored: bytes(stored[name][0]).decode()


def _tensor_decoder(name: str, tensor: Mapping[str, Any]) -> _Decode:
  dtype = np.dtype(tensor['dtype']).newbyteorder('<')
  shape = [int(n) for n in tensor['shape'].get('dimensions', [])]
  if shape.count(-1) > 1:  # TFDS then stores the shape beside the values.
    return lambda stored: np.frombuffer(
      stored[f'{name}/value'][0], dtype
    ).reshape(stored[f'{name}/shape'])
  known_size = int(np.prod([n for n in shape if n >= 0]))

  def decode(stored: Mapping[str, Any]) -> np.ndarray:
    values = np.frombuffer(stored[name][0], dtype)
    return values.reshape(
      [len(values) // max(known_size, 1) if n < 0 else n for n in shape]
    )

  return decode


def _features(example: memoryview) -> Iterator[tuple[str, list[Any]]]:
  """Yields every feature as its name and values, a list of views or of ints."""
  for _, features in _messages(example):
    for _, entry in _messages(features):
      parts = dict(_messages(entry))
      yield bytes(parts[1]).decode(), _values(parts.get(2, b''))


def _values(feature: memoryview | bytes) -> list[Any]:
  """Returns the values of one feature, a list of views or of ints."""
  for kind, values in _messages(feature):
    if kind == 1:  # BytesList.
      return [value for _, value in _messages(values)]
    if kind == 3:  # Int64List, packed.
      return [n for _, packed in _messages(values) for n in _varints(packed)]
  return [b'']


def _messages(
  buffer: memoryview | bytes,
) -> Iterator[tuple[int, memoryview | bytes]]:
  """Yields (field number, view) of every length-delimited field of a message.

  Source: protobuf.dev/programming-guides/encoding.
  """
  position = 0
  while position < len(buffer):
    tag, position = _varint(buffer, position)
    if tag & 7 != 2:
      raise ValueError(
        f'A record is broken: wire type {tag & 7} at byte '
        f'{position}, where only 2 is expected.'
      )
    length, position = _varint(buffer, position)
    yield tag >> 3, buffer[position : position + length]
    position += length


def _varints(buffer: memoryview | bytes) -> Iterator[int]:
  """Yields the integers that are packed one after the other."""
  position = 0
  while position < len(buffer):
    value, position = _varint(buffer, position)
    yield value


def _varint(buffer: memoryview | bytes, position: int) -> tuple[int, int]:
  """Reads one integer; returns it and the position behind it."""
  value = shift = 0
  while True:
    byte = buffer[position]
    position += 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value, position
    shift += 7
