"""Reads examples from a TFDS folder of ArrayRecord files, by their number.

Needs neither TensorFlow nor TFDS. A record is one `tf.train.Example`
protocol buffer with one bytes feature a field (`data/builders/examples.py`);
its arrays are views of the record, nothing is copied. This is several times
as fast as TFDS's own decoding.
"""

import json
import pathlib

import numpy as np
from array_record.python import array_record_data_source


class Decoder:
  """From a record to its example, a flat dict.

  Attributes:
    fields: names of the fields that every example has.
  """

  def __init__(self, path):
    """Reads `features.json` in the folder `path`.

    Raises:
      FileNotFoundError: if the folder holds no finished data set.
      ValueError: if a field is stored in a way this reader does not know.
    """
    features = _read_json(pathlib.Path(path) / 'features.json')
    self._layout = dict(_layout(features))
    self.fields = tuple(self._layout)

  def __call__(self, record):
    found = dict(_features(memoryview(record)))
    return {name: decode(found) for name, decode in self._layout.items()}


class Examples:
  """One split of a data set: `len`, and `[i]`, one example as a flat dict.

  Arrays are read-only; 'key' is a str.

  Attributes:
    path: folder of the data set.
    split: name of the split.
    fields: names of the fields that every example has.
  """

  def __init__(self, path, split):
    """Opens the folder.

    Args:
      path: folder with `dataset_info.json`, `features.json` and the shards.
      split: 'train', 'val', ...

    Raises:
      FileNotFoundError: if the folder holds no finished data set, or not all
        of its shards.
      ValueError: if it has no such split, or if a shard is cut short.
    """
    self.path, self.split = pathlib.Path(path), split
    info = _read_json(self.path / 'dataset_info.json')
    lengths = _shard_lengths(info, split, self.path)
    self._decode = Decoder(self.path)
    self.fields = self._decode.fields
    names = _shard_names(info, split, len(lengths))
    missing = [name for name in names if not (self.path / name).exists()]
    if missing:
      raise FileNotFoundError(
        f'{self.path} lacks {len(missing)} of {len(names)} shards of '
        f'{split!r}, among them {missing[0]}; copy them, or prepare the '
        'data set again.'
      )
    try:
      self._records = array_record_data_source.ArrayRecordDataSource(
        [str(self.path / name) for name in names]
      )
    except RuntimeError as error:
      raise ValueError(
        f'A shard of {split!r} in {self.path} is damaged; copy it, or '
        f'prepare the data set again. {error}'
      ) from error
    if len(self._records) != sum(lengths):
      raise ValueError(
        f'The shards of {split!r} in {self.path} hold {len(self._records)} '
        f'examples, not the {sum(lengths)} of dataset_info.json; prepare '
        'the data set again.'
      )

  def __len__(self):
    return len(self._records)

  def __getitem__(self, index):
    return self._decode(self._records[index])

  def __repr__(self):
    return f'Examples({str(self.path)!r}, {self.split!r})'


def _read_json(path):
  if not path.exists():
    raise FileNotFoundError(
      f'There is no finished data set in {path.parent}: {path.name} is '
      'missing. Make one with `python -m fusion_jax.prepare`.'
    )
  return json.loads(path.read_text())


def _shard_lengths(info, split, path):
  splits = {s['name']: s.get('shardLengths', []) for s in info['splits']}
  if split not in splits:
    raise ValueError(f'{path} has no split {split!r}; it has {sorted(splits)}.')
  return [int(length) for length in splits[split]]


def _shard_names(info, split, total):
  """File names by the template of TFDS's metadata."""
  template = next(
    s['filepathTemplate'] for s in info['splits'] if s['name'] == split
  )
  return [
    template.format(
      DATASET=info.get('name', ''),
      SPLIT=split,
      FILEFORMAT='array_record',
      SHARD_INDEX=f'{i:05d}',
      NUM_SHARDS=f'{total:05d}',
      SHARD_X_OF_Y=f'{i:05d}-of-{total:05d}',
    )
    for i in range(total)
  ]


def _layout(features, prefix=''):
  """(field, its decoder) of every leaf of `features.json`."""
  for name, feature in features['featuresDict']['features'].items():
    path = prefix + name
    if 'featuresDict' in feature:
      yield from _layout(feature, f'{path}/')
    elif 'text' in feature:
      yield path, _text_decoder(path)
    elif feature.get('tensor', {}).get('encoding') == 'bytes':
      yield path, _tensor_decoder(path, feature['tensor'])
    else:
      raise ValueError(
        f'Field {path} is stored as {feature}; this reader knows text and '
        'Tensor(..., encoding="bytes").'
      )


def _text_decoder(name):
  return lambda found: bytes(found[name][0]).decode()


def _tensor_decoder(name, tensor):
  dtype = np.dtype(tensor['dtype']).newbyteorder('<')
  shape = [int(n) for n in tensor['shape'].get('dimensions', [])]
  if shape.count(-1) > 1:  # TFDS then stores the shape beside the values.
    return lambda found: np.frombuffer(
      found[f'{name}/value'][0], dtype
    ).reshape(found[f'{name}/shape'])
  known = int(np.prod([n for n in shape if n >= 0]))

  def decode(found):
    values = np.frombuffer(found[name][0], dtype)
    return values.reshape(
      [len(values) // max(known, 1) if n < 0 else n for n in shape]
    )

  return decode


def _features(example):
  """(name, values) of every feature: a list of views, or of ints."""
  for _, features in _messages(example):
    for _, entry in _messages(features):
      parts = dict(_messages(entry))
      yield bytes(parts[1]).decode(), _values(parts.get(2, b''))


def _values(feature):
  for kind, values in _messages(feature):
    if kind == 1:  # BytesList.
      return [value for _, value in _messages(values)]
    if kind == 3:  # Int64List, packed.
      return [n for _, packed in _messages(values) for n in _varints(packed)]
  return [b'']


def _messages(buffer):
  """(field number, view) of each length-delimited field of a message.

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


def _varints(buffer):
  position = 0
  while position < len(buffer):
    value, position = _varint(buffer, position)
    yield value


def _varint(buffer, position):
  value = shift = 0
  while True:
    byte = buffer[position]
    position += 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value, position
    shift += 7
