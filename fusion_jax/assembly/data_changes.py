"""Whether the data of a run are still those that it began with.

A run that went on with other data would be of neither, and a finished one that
is called again with new codes has not been trained on them.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging

from fusion_jax import checksums
from fusion_jax.data import mixtures, records, remote
from fusion_jax.train import processes

FILE = 'data.json'  # In a work directory.
_SAMPLED = 64  # Shards that are looked into, evenly spread.
_BYTES = 2**16  # Read at each end of these.


def check(data_dir: pathlib.Path, workdir: pathlib.Path, begun: bool) -> None:
  """Notes the data that a run begins with, or checks that they are the same.

  What is compared: the fields, the tokenizers of codes, names and sizes of all
  shards, and the first and last 64 KiB of up to 64 of them; not the shards of
  a URL, which are fetched when they are read.

  Args:
    data_dir: folder of the data set, or of a mixture.
    workdir: work directory of the run; gets `data.json`.
    begun: whether the run has checkpoints.

  Raises:
    ValueError: in every process, if the data have changed; says what.
  """
  changes = ''
  if jax.process_index() == 0:
    changes = _changes(data_dir, workdir / FILE, begun)
  if changes := processes.from_first(changes):
    raise ValueError(
      f'The data in {data_dir} have changed since the run in {workdir} began: '
      f'{changes}. Name another --workdir to train on these data, or bring the '
      f'earlier ones back; or remove {workdir / FILE} if they are the same to '
      'this run.'
    )


def _changes(data_dir: pathlib.Path, path: pathlib.Path, begun: bool) -> str:
  """What has changed; '' if nothing did, or nothing was noted."""
  parts = {'': str(data_dir)}
  if (data_dir / mixtures.FILE).exists():
    mixture = json.loads((data_dir / mixtures.FILE).read_text())
    parts = {name: folder for name, (folder, _) in mixture.items()}
  now = {name: _describe(pathlib.Path(x)) for name, x in parts.items()}
  before = _read(path) if begun else None
  if before is None:
    aside = path.with_name(f'{path.name}.tmp')
    aside.write_text(checksums.dumps(now))
    aside.replace(path)
    return ''
  found = [
    f'{name}: {text}' if name else text
    for name in sorted({*before, *now})
    if (text := _differences(before.get(name), now.get(name)))
  ]
  return '; '.join(found)


def _read(path: pathlib.Path) -> dict[str, Any] | None:
  """What was noted; None of runs of earlier versions."""
  try:
    return checksums.loads(path.read_bytes(), path.name)[0]
  except FileNotFoundError:
    return None
  except checksums.ChecksumError:
    logging.warning('%s is damaged; it is written again.', path)
    return None


def _describe(folder: pathlib.Path) -> dict[str, Any]:
  """What is compared of one data set."""
  codes = folder / 'codes.json'
  shards = sorted(folder.glob('*.array_record'))
  if (folder / remote.FILE).exists():
    shards = []
  step = max(1, -(-len(shards) // _SAMPLED))
  fields = records.describe(folder)[1]
  return {
    'fields': {k: v for k, v in fields.items() if not k.startswith('codes/')},
    'codes': json.loads(codes.read_text()) if codes.exists() else {},
    'shards': {x.name: x.stat().st_size for x in shards},
    'ends': {x.name: _digest_ends(x) for x in shards[::step]},
  }


def _digest_ends(path: pathlib.Path) -> str:
  """Returns the digest of the first and the last bytes of a file."""
  with path.open('rb') as file:
    content = file.read(_BYTES)
    file.seek(max(0, path.stat().st_size - _BYTES))
    content += file.read()
  return checksums.digest_bytes(content)[:16]


def _differences(
  before: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> str:
  """Says in what two descriptions of a data set differ."""
  if before is None or now is None:
    return 'this part is new' if before is None else 'this part has gone'
  found = []
  if before['codes'] != now['codes']:
    found.append(_say_codes(before['codes'], now['codes']))
  if changed := _unlike(before['fields'], now['fields']):
    found.append(f'the fields {", ".join(changed)} are not the same')
  if not found:  # Codes and fields are in the shards.
    other = {
      *_unlike(before['shards'], now['shards']),
      *_unlike(before['ends'], now['ends']),
    }
    if other:
      number = len({*before['shards'], *now['shards']})
      found.append(
        f'{len(other)} of {number} shards are not the same, among them '
        f'{min(other)}'
      )
  return ', '.join(found)


def _say_codes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
  """Says how codes differ, {} where there are none."""
  names = {*before.get('tokenizers', {}), *now.get('tokenizers', {})}
  if not before:
    how = 'were added'
  elif not now:
    how = 'have gone'
  else:
    how = 'are of other tokenizers or squares'
  return f'codes of {", ".join(sorted(names))} {how}'


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
  """Names whose values differ."""
  return sorted(k for k in {*one, *other} if one.get(k) != other.get(k))
