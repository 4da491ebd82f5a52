"""Writes codes of tokenizers beside what a prepared data set holds.

A random square of an image has no codes of its own: what a tokenizer says of a
patch depends on all that it sees. So a few squares of every example are fixed,
each tokenised just as it will be shown, and training draws one of them. Stored
are, per example,

  codes/<modality>  uint16 [squares, rows, columns], none where there is no
                    image
  codes/corners     int16 [squares, 2], first row and column, in pixels; the
                    first square is the one at the centre
  codes/<series>    uint16 [steps], ids of the weather vocabulary, [NULL] where
                    nothing was measured: a series is tokenised whole

Shards are rewritten one by one in place: under a temporary name that then
replaces the old one, whose fields it keeps byte by byte. A note says which
are done, so a killed run goes on with the next; `features.json` names the
codes when all are, and until then the data set reads as before.
"""

import dataclasses
import json
import os
import pathlib
import tempfile
import zlib
from collections.abc import Callable

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from absl import logging
from array_record.python import (
  array_record_data_source,
  array_record_module,
)
from tensorflow_datasets.proto import tf_example_pb2

from fusion_jax import modalities
from fusion_jax.data import records
from fusion_jax.data.builders import examples, shards
from fusion_jax.data.transforms import crops

SUMMARY = 'codes.json'


@dataclasses.dataclass(frozen=True)
class Encoder:
  """How images or series of one modality become codes.

  Attributes:
    modality: of the codes, with their vocabulary.
    fingerprint: of configuration and weights; other codes, another one.
    encode: from images [B, Y, X, C] as stored to codes [B, Y/16, X/16], or
      from series [B, T] to ids [B, T].
  """

  modality: modalities.Modality
  fingerprint: str
  encode: Callable


@dataclasses.dataclass(frozen=True)
class Squares:
  """Which squares of an example are tokenised.

  Attributes:
    size: pixels a side, a multiple of the patch.
    count: how many; one where the images are no larger than that.
  """

  size: int
  count: int

  def __post_init__(self):
    if self.size % modalities.PATCH or self.size < modalities.PATCH:
      raise ValueError(
        f'image_size={self.size} is not a multiple of the patch '
        f'of {modalities.PATCH} pixels.'
      )
    if self.count < 1:
      raise ValueError(f'{self.count} squares; there must be one or more.')

  def corners(self, key, extent):
    """[count, 2] int16: the centre, then draws of the example's own.

    Raises:
      ValueError: if the images are smaller than a square.
    """
    spare = np.subtract(extent, self.size)
    if min(spare) < 0:
      raise ValueError(
        f'The images of example {key!r} have {extent[0]} x {extent[1]} '
        f'pixels, fewer than image_size={self.size}.'
      )
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    drawn = rng.integers(spare + 1, size=(self.count - 1, 2))
    return np.concatenate([spare[None] // 2, drawn]).astype(np.int16)


def write(
  path, encoders, squares, *, batch_size=64, share=(0, 1), overwrite=False
):
  """Adds the codes to this process's share of the shards.

  Args:
    path: folder of a finished data set.
    encoders: `Encoder`s.
    squares: `Squares`; None if no encoder is of images.
    batch_size: squares or series encoded together.
    share: (i, n): every n-th shard from the i-th, for job arrays.
    overwrite: replace codes of other tokenizers or squares; until all are
      written again, the data set then has none.

  Returns:
    Whether the data set is complete: False while other processes' shards are
    missing.

  Raises:
    ValueError: if the data set lacks an image, or has codes of other squares
      or tokenizers.
    FileNotFoundError: if there is no finished data set.
  """
  path = pathlib.Path(path)
  decode = records.Decoder(path)
  _check_fields(path, decode.fields, encoders)
  wanted = {
    'image_size': squares.size if squares else 0,
    'squares': squares.count if squares else 0,
    'tokenizers': {e.modality.name: e.fingerprint for e in encoders},
  }
  _check_codes(path, wanted, overwrite)
  every = sorted(path.glob('*.array_record'))
  mine = [
    shard for shard in every[share[0] :: share[1]] if _note(shard) != wanted
  ]
  for shard in tqdm.tqdm(mine, 'shards', disable=not os.isatty(2)):
    _rewrite(shard, decode, encoders, squares, batch_size)
    shards.write_whole(_note_path(shard), json.dumps(wanted))
    logging.info('Added codes to %s.', shard)
  left = [shard for shard in every if _note(shard) != wanted]
  if left:
    logging.info(
      '%d of %d shards have codes; the process that writes the '
      'last ones finishes %s.',
      len(every) - len(left),
      len(every),
      path,
    )
    return False
  _finish(path, wanted)
  return True


def _check_fields(path, fields, encoders):
  lacking = [
    e.modality.field for e in encoders if e.modality.field not in fields
  ]
  if lacking:
    raise ValueError(
      f'The data set in {path} has no {lacking}; its fields are '
      f'{sorted(fields)}. Leave these tokenizers out, or prepare the data '
      'with them.'
    )
  names = [e.modality.name for e in encoders]
  if len(set(names)) < len(names) or not names:
    raise ValueError(
      f'The tokenizers are of {names}; give one for each modality.'
    )


def _check_codes(path, wanted, overwrite):
  """Frees the data set of codes that do not go with `wanted`."""
  summary = path / SUMMARY
  try:
    there = json.loads(summary.read_text())
  except FileNotFoundError:  # Not finished, or freed by another process.
    return
  if there == wanted:
    return
  changed = {
    key: (there[key], wanted[key])
    for key in wanted
    if there[key] != wanted[key]
  }
  if not overwrite:
    raise ValueError(
      f'{path} has codes of other tokenizers or squares: '
      + '; '.join(
        f'{key} {old}, now {new}' for key, (old, new) in changed.items()
      )
      + '. Pass --overwrite to replace them all.'
    )
  _write_features(path, ())
  summary.unlink(missing_ok=True)


def _note_path(shard):
  return shard.parent / '.notes' / f'{shard.name}.codes.json'


def _note(shard):
  """What codes a shard has; None without any.

  A note may be of an older shard of that name, so the first record is asked.
  """
  path = _note_path(shard)
  if not path.exists():
    return None
  note = json.loads(path.read_text())
  source = array_record_data_source.ArrayRecordDataSource([str(shard)])
  if len(source):
    example = tf_example_pb2.Example.FromString(source[0])
    if any(
      f'codes/{name}' not in example.features.feature
      for name in note['tokenizers']
    ):
      return None
  return note


def _rewrite(shard, decode, encoders, squares, batch_size):
  """Replaces a shard by itself with codes."""
  source = array_record_data_source.ArrayRecordDataSource([str(shard)])
  temporary = f'{shard}.tmp-{os.getpid()}'
  writer = array_record_module.ArrayRecordWriter(
    temporary, f'group_size:1,{_compression(shard.parent)}'
  )
  count = squares.count if squares else 1
  chunk = max(1, batch_size // count)
  try:
    for start in range(0, len(source), chunk):
      raw = [source[i] for i in range(start, min(start + chunk, len(source)))]
      for record, found in zip(
        raw,
        _tokenise(
          [decode(record) for record in raw], encoders, squares, chunk * count
        ),
      ):
        writer.write(_with(record, found))
    writer.close()
    _note_path(shard).unlink(missing_ok=True)  # Of other codes.
    os.replace(temporary, shard)
  finally:
    pathlib.Path(temporary).unlink(missing_ok=True)


def _tokenise(rows, encoders, squares, batch_size):
  """[{field: array}] of the examples `rows`."""
  of_series = [e for e in encoders if e.modality.kind == 'series']
  of_images = [e for e in encoders if e.modality.kind != 'series']
  found = (
    [{} for _ in rows]
    if squares is None
    else _tokenise_images(rows, of_images, squares, batch_size)
  )
  for encoder in of_series:
    name = encoder.modality.name
    ids = _in_batches(
      encoder, np.stack([row[name] for row in rows]), batch_size
    )
    for made, mine in zip(found, ids):
      made[f'codes/{name}'] = mine
  return found


def _tokenise_images(rows, encoders, squares, batch_size):
  """The part of `_tokenise` that is of images."""
  found = []
  for row in rows:
    extents = {
      row[name].shape[:2]
      for name in examples.IMAGE_TYPES
      if name in row and row[name].size
    }
    if len(extents) > 1:
      raise ValueError(
        f'The images of example {row["key"]!r} are of several '
        f'sizes: {sorted(extents)}.'
      )
    extent = extents.pop() if extents else (squares.size, squares.size)
    found.append({crops.CORNERS: squares.corners(row['key'], extent)})
  for encoder in encoders:
    field, name = encoder.modality.field, f'codes/{encoder.modality.name}'
    there = [i for i, row in enumerate(rows) if row[field].size]
    cut = [
      rows[i][field][top : top + squares.size, left : left + squares.size]
      for i in there
      for top, left in found[i][crops.CORNERS]
    ]
    side = squares.size // modalities.PATCH
    for made in found:
      made[name] = np.zeros((0, side, side), np.uint16)
    if there:
      codes = _in_batches(encoder, np.stack(cut), batch_size)
      codes = codes.reshape(len(there), squares.count, side, side)
      for i, mine in zip(there, codes):
        found[i][name] = mine
  return found


def _in_batches(encoder, inputs, batch_size):
  """Codes uint16 of images or series [N, ...], by batches of one size."""
  modality = encoder.modality
  parts = []
  for start in range(0, len(inputs), batch_size):
    part = inputs[start : start + batch_size]
    spare = batch_size - len(part)
    padded = np.concatenate([part, np.repeat(part[-1:], spare, 0)])
    codes = np.asarray(encoder.encode(padded))[: len(part)]
    if codes.min() < 0 or codes.max() >= modality.vocab_size:
      raise ValueError(
        f'Codes of {modality.name} run from {codes.min()} to {codes.max()}; '
        f'its vocabulary is 0..{modality.vocab_size - 1}.'
      )
    parts.append(codes.astype(np.uint16))
  return np.concatenate(parts)


def _with(record, found):
  """The record with the arrays in place of what it had under these names."""
  message = tf_example_pb2.Example.FromString(record)
  for name, array in found.items():
    feature = message.features.feature[name].bytes_list
    feature.value[:] = [array.astype(array.dtype.newbyteorder('<')).tobytes()]
  return message.SerializeToString(deterministic=True)


def _compression(path):
  """As the data set was made with."""
  note = path / 'prepare.json'
  made = json.loads(note.read_text()) if note.exists() else {}
  return made.get('compression', 'uncompressed')


def _finish(path, wanted):
  """Names the codes in the metadata, so that readers see them."""
  side = wanted['image_size'] // modalities.PATCH
  features = {}
  for name in wanted['tokenizers']:
    leads = modalities.MODALITIES[name].leads
    features[name] = ((len(leads),) if leads else (None, side, side), np.uint16)
  if side:
    features[crops.CORNERS.split('/')[1]] = (None, 2), np.int16
  _write_features(path, features)
  shards.write_whole(path / SUMMARY, json.dumps(wanted, indent=1))
  for leftover in path.glob('*.array_record.tmp-*'):  # Of killed processes.
    leftover.unlink(missing_ok=True)


def _write_features(path, codes):
  """Replaces the codes in `features.json` by those of {name: (shape, type)}."""
  features = dict(tfds.features.FeaturesDict.from_config(path).items())
  features.pop('codes', None)
  if codes:
    features['codes'] = {
      name: tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')
      for name, (shape, dtype) in codes.items()
    }
  with tempfile.TemporaryDirectory(dir=path, prefix='.features-') as folder:
    tfds.features.FeaturesDict(features).save_config(folder)
    os.replace(os.path.join(folder, 'features.json'), path / 'features.json')
