"""Adds codes of tokenizers to a prepared data set.

These fields are stored with every example (see `tokenising` for the squares):

  codes/<modality>  uint16 [squares, rows, columns], none where there is no
                    image
  codes/corners     int16 [squares, 2], first row and column, in pixels; the
                    first square is the one at the centre
  codes/<series>    uint16 [steps], ids of the weather vocabulary, [NULL] where
                    nothing was measured: a series is tokenised whole

Shards are rewritten one by one in place: under a temporary name that then
replaces the old one, whose fields it keeps byte by byte. Notes say which shards
are finished, so a killed run continues with the next one; `features.json` names
the codes when all shards are finished, and until then the data set reads as
before.
"""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import (
  Callable,
  Generator,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from absl import logging
from array_record.python import array_record_data_source

from fusion_jax import modalities
from fusion_jax.data import records
from fusion_jax.data.builders import (
  ahead,
  code_notes,
  layout,
  tokenising,
  workers,
  writer,
)
from fusion_jax.data.transforms import crops

SUMMARY = layout.CODES


class Spread(NamedTuple):
  """How shards are tokenised by other processes.

  Attributes:
    run: calls a function on items, as `workers.run` and `Beam.run` do.
    open_encoders: opens the encoders in another process; it can be pickled.
  """

  run: ahead.Run
  open_encoders: Callable[[], Sequence[tokenising.Encoder]]


def write(
  path: str | os.PathLike[str],
  encoders: Sequence[tokenising.Encoder],
  squares: tokenising.Squares | None,
  *,
  batch_size: int = 64,
  share: tuple[int, int] = (0, 1),
  overwrite: bool = False,
  compression: str = 'uncompressed',
  spread: Spread | None = None,
) -> bool:
  """Adds the codes to this process's share of the shards.

  Args:
    path: folder of a finished data set.
    encoders: one encoder for each modality.
    squares: which squares of the images get codes; None if no encoder is one
      of images.
    batch_size: number of squares or series that are encoded together.
    share: (i, n): every n-th shard from the i-th, for job arrays.
    overwrite: whether to replace codes of other tokenizers or squares; until
      all are written again, the data set has none.
    compression: compression of the records, the same as in the data set.
    spread: other processes that do the work; None for this one.

  Returns:
    Whether the data set is complete: False while other processes' shards are
    missing.

  Raises:
    ValueError: if the data set lacks an image, or has codes of other squares
      or tokenizers.
    FileNotFoundError: if there is no finished data set.
    InputError: if a worker cannot use a file.
    RuntimeError: if a worker fails otherwise.
  """
  path = pathlib.Path(path)
  _check_fields(path, records.Decoder(path).fields, encoders)
  made_with = _describe(encoders, squares)
  _check_codes(path, made_with, overwrite)
  all_shards = sorted(path.glob(layout.RECORDS))
  notes = code_notes.Notes(made_with)
  todo = [s for s in all_shards[share[0] :: share[1]] if not notes.has(s)]
  chunk = max(1, batch_size // (squares.count if squares else 1))
  run, open_encoders = spread or Spread(_run_here, lambda: encoders)
  arguments = open_encoders, squares, chunk, compression
  with contextlib.closing(run(add, todo, arguments)) as done:
    for shard in tqdm.tqdm(done, 'shards', len(todo), disable=not os.isatty(2)):
      logging.info('Added codes to %s.', shard)
  if not all(map(notes.has, all_shards)):  # It ends with the first without.
    logging.info(
      'Some of %d shards lack codes; the process that writes the last ones '
      'finishes %s.',
      len(all_shards),
      path,
    )
    return False
  code_notes.report(path, all_shards, notes)
  _finish(path, made_with)
  return True


def _run_here(
  function: Callable[..., Any],
  items: Sequence[Any],
  arguments: tuple[Any, ...],
) -> Generator[Any]:
  """Calls a function on items in this process."""
  return workers.run(function, items, arguments, 1)


def add(
  shard: pathlib.Path,
  open_encoders: Callable[[], Sequence[tokenising.Encoder]],
  squares: tokenising.Squares | None,
  chunk: int,
  compression: str,
) -> None:
  """Adds the codes to one shard, then writes its note.

  Args:
    shard: file of a finished data set.
    open_encoders: returns one encoder for each modality.
    squares: which squares of the images get codes.
    chunk: number of examples that are encoded together.
    compression: compression of the records, see `write`.
  """
  encoders = open_encoders()
  counts = code_notes.Counts()
  decode = records.Decoder(shard.parent)
  with_codes = _tokenised(shard, decode, encoders, squares, chunk, counts)
  _replace(shard, with_codes, compression)
  note = {'made_with': _describe(encoders, squares), 'counts': counts.note()}
  layout.write_whole(code_notes.path_of(shard), json.dumps(note))


def _describe(
  encoders: Sequence[tokenising.Encoder], squares: tokenising.Squares | None
) -> dict[str, Any]:
  """Describes the tokenizers and squares, as the content of `codes.json`."""
  return {
    'image_size': squares.size if squares else 0,
    'squares': squares.count if squares else 0,
    'tokenizers': {e.modality.name: e.fingerprint for e in encoders},
  }


def _check_fields(
  path: pathlib.Path,
  fields: Iterable[str],
  encoders: Sequence[tokenising.Encoder],
) -> None:
  """Checks that there is one encoder for each modality, and data for each.

  Raises:
    ValueError: if an encoder or a field is missing.
  """
  fields = sorted(fields)
  missing = [
    e.modality.field for e in encoders if e.modality.field not in fields
  ]
  if missing:
    raise ValueError(
      f'The data set in {path} has no {missing}; its fields are '
      f'{fields}. Leave these tokenizers out, or prepare the data '
      'with them.'
    )
  names = [e.modality.name for e in encoders]
  if len(set(names)) < len(names) or not names:
    raise ValueError(
      f'The tokenizers are of {names}; give one for each modality.'
    )


def _check_codes(
  path: pathlib.Path, made_with: Mapping[str, Any], overwrite: bool
) -> None:
  """Removes codes that were not made with `made_with` from the data set.

  Raises:
    ValueError: if there are such codes, and `overwrite` is false.
  """
  summary = path / SUMMARY
  try:
    stored = json.loads(summary.read_text())
  except (
    FileNotFoundError
  ):  # Codes are not finished, or another process removed them.
    return
  if stored == made_with:
    return
  changed = {
    key: (stored[key], made_with[key])
    for key in made_with
    if stored[key] != made_with[key]
  }
  if not overwrite:
    raise ValueError(
      f'{path} has codes of other tokenizers or squares: '
      + '; '.join(
        f'{key} {old}, now {new}' for key, (old, new) in changed.items()
      )
      + '. Pass --overwrite to replace them all.'
    )
  _write_features(path, {})
  summary.unlink(missing_ok=True)


def _tokenised(
  shard: pathlib.Path,
  decode: records.Decoder,
  encoders: Sequence[tokenising.Encoder],
  squares: tokenising.Squares | None,
  chunk: int,
  counts: code_notes.Counts,
) -> Iterator[bytes]:
  """Yields the records of a shard with their codes, made `chunk` at a time."""
  source = array_record_data_source.ArrayRecordDataSource([str(shard)])
  batch_size = chunk * (squares.count if squares else 1)
  for start in range(0, len(source), chunk):
    raw = [source[i] for i in range(start, min(start + chunk, len(source)))]
    rows = [decode(record) for record in raw]
    fields = tokenising.tokenise(rows, encoders, squares, batch_size)
    for record, codes in zip(raw, fields):
      counts.add(codes)
      yield _with(record, codes)


def _replace(
  shard: pathlib.Path, content: Iterable[bytes], compression: str
) -> None:
  """Replaces the records of a shard, and removes the note of its old codes."""
  temporary = layout.temporary_name(shard)
  file = writer.open_file(temporary, compression)
  try:
    for record in content:
      file.write(record)
    file.close()
    code_notes.path_of(shard).unlink(
      missing_ok=True
    )  # The note of other codes.
    os.replace(temporary, shard)
  finally:
    pathlib.Path(temporary).unlink(missing_ok=True)


def _with(record: bytes, fields: Mapping[str, np.ndarray]) -> bytes:
  """Returns a record in which arrays replace the fields of their names."""
  message = code_notes.parse(record)
  for name, array in fields.items():
    feature = message.features.feature[name].bytes_list
    feature.value[:] = [array.astype(array.dtype.newbyteorder('<')).tobytes()]
  return message.SerializeToString(deterministic=True)


def _finish(path: pathlib.Path, made_with: Mapping[str, Any]) -> None:
  """Names the codes in the metadata, so that readers see them."""
  side = made_with['image_size'] // modalities.PATCH
  features = {}
  for name in made_with['tokenizers']:
    leads = modalities.MODALITIES[name].leads
    features[name] = ((len(leads),) if leads else (None, side, side), np.uint16)
  if side:
    features[crops.CORNERS.split('/')[1]] = (None, 2), np.int16
  _write_features(path, features)
  layout.write_whole(path / SUMMARY, json.dumps(made_with, indent=1))
  for leftover in path.glob(
    f'{layout.RECORDS}.tmp-*'
  ):  # Files of killed processes.
    leftover.unlink(missing_ok=True)


def _write_features(
  path: pathlib.Path,
  codes: Mapping[str, tuple[tuple[int | None, ...], Any]],
) -> None:
  """Replaces the codes in `features.json` by {name: (shape, type)}."""
  stored: Any = tfds.features.FeaturesDict.from_config(os.fspath(path))
  features = dict(stored.items())
  features.pop('codes', None)
  if codes:
    features['codes'] = {
      name: tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')
      for name, (shape, dtype) in codes.items()
    }
  with tempfile.TemporaryDirectory(dir=path, prefix='.features-') as folder:
    tfds.features.FeaturesDict(features).save_config(folder)
    os.replace(os.path.join(folder, layout.FEATURES), path / layout.FEATURES)
