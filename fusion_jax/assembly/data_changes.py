"""Whether the data of a run are still those that it began with.

A run that went on with other data would be of neither, and a finished one that
is called again with new codes has not been trained on them.
"""

import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import jax
from absl import logging

from fusion_jax import checksums, modalities
from fusion_jax.data import mixtures, records, remote
from fusion_jax.train import processes
from fusion_jax.types import Config

FILE = 'data.json'  # In a work directory.
_SAMPLED = 64  # Shards that are looked into, evenly spread.
_BYTES = 2**16  # Read at each end of these.


def codes_read(config: Config) -> set[str]:
  """Returns the modalities whose stored codes a run reads.

  Args:
    config: configuration of the run.
  """
  if config.task != 'pretrain':
    return set()
  names = map(modalities.get, config.modalities)
  images = {m.name for m in names if m.kind == 'tokens'}
  return images | set(config.series_codes)


def check(
  data_dir: pathlib.Path,
  workdir: pathlib.Path,
  begun: bool,
  codes: Collection[str],
) -> None:
  """Notes the data that a run begins with, or checks that they are the same.

  What is compared: the fields, the tokenizers of the codes that the run reads,
  names and sizes of all shards, and the first and last 64 KiB of up to 64 of
  them; not the shards of a URL, which are fetched when they are read, nor
  shards that have got other codes meanwhile.

  Args:
    data_dir: folder of the data set, or of a mixture.
    workdir: work directory of the run; gets `data.json`.
    begun: whether the run has checkpoints.
    codes: modalities whose stored codes the run reads, see `codes_read`.

  Raises:
    ValueError: in every process, if the data have changed; says what.
  """
  changes = ''
  if jax.process_index() == 0:
    changes = _changes(data_dir, workdir / FILE, begun, codes)
  if changes := processes.from_first(changes):
    raise ValueError(
      f'The data in {data_dir} have changed since the run in {workdir} began: '
      f'{changes}. Name another --workdir to train on these data, or bring the '
      f'earlier ones back; or remove {workdir / FILE} if they are the same to '
      'this run.'
    )


def _changes(
  data_dir: pathlib.Path,
  path: pathlib.Path,
  begun: bool,
  codes: Collection[str],
) -> str:
  """What has changed; '' if nothing did, or nothing was noted."""
  parts = {'': str(data_dir)}
  if (data_dir / mixtures.FILE).exists():
    mixture = json.loads((data_dir / mixtures.FILE).read_text())
    parts = {name: folder for name, (folder, _) in mixture.items()}
  now = {name: _describe(pathlib.Path(x)) for name, x in parts.items()}
  before = _read(path) if begun else None
  if before is None:
    _write(path, now)
    return ''
  found = [
    f'{name}: {text}' if name else text
    for name in sorted({*before, *now})
    if (text := _differences(before.get(name), now.get(name), codes))
  ]
  if not found:
    newer = {name: _newer(before[name], now[name]) for name in now}
    if newer != before:
      _write(path, newer)
  return '; '.join(found)


def _newer(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
  """What is compared next time; the shards of a URL are not known."""
  if now['shards'] is None and now['codes'] == before['codes']:
    return before
  return now


def _write(path: pathlib.Path, content: Mapping[str, Any]) -> None:
  aside = path.with_name(f'{path.name}.tmp')
  aside.write_text(checksums.dumps(content))
  aside.replace(path)


def _read(path: pathlib.Path) -> dict[str, Any] | None:
  """What was noted; None of runs of earlier versions."""
  try:
    content, has_digest = checksums.loads(path.read_bytes(), path.name)
  except FileNotFoundError:
    return None
  except checksums.ChecksumError:
    content, has_digest = None, False
  if not has_digest:  # No version wrote it without.
    logging.warning('%s is damaged; it is written again.', path)
    return None
  return content


def _describe(folder: pathlib.Path) -> dict[str, Any]:
  """What is compared of one data set."""
  codes = folder / 'codes.json'
  shards = sorted(folder.glob('*.array_record'))
  is_remote = (folder / remote.FILE).exists()
  step = max(1, -(-len(shards) // _SAMPLED))
  fields = records.describe(folder)[1]
  return {
    'fields': {k: v for k, v in fields.items() if not k.startswith('codes/')},
    'codes': json.loads(codes.read_text()) if codes.exists() else {},
    'shards': None if is_remote else {x.name: x.stat().st_size for x in shards},
    'ends': {}
    if is_remote
    else {x.name: _digest_ends(x) for x in shards[::step]},
  }


def _digest_ends(path: pathlib.Path) -> str:
  """Returns the digest of the first and the last bytes of a file."""
  with path.open('rb') as file:
    content = file.read(_BYTES)
    file.seek(max(0, path.stat().st_size - _BYTES))
    content += file.read()
  return checksums.digest_bytes(content)[:16]


def _differences(
  before: Mapping[str, Any] | None,
  now: Mapping[str, Any] | None,
  codes: Collection[str],
) -> str:
  """Says in what two descriptions of a data set differ."""
  if before is None or now is None:
    return 'this part is new' if before is None else 'this part has gone'
  found = []
  old, new = (_select(x['codes'], codes) for x in (before, now))
  if old != new:
    found.append(_say_codes(old, new))
  if changed := _unlike(before['fields'], now['fields']):
    found.append(f'the fields {", ".join(changed)} are not the same')
  # Codes and fields are in the shards; earlier versions noted {} of a URL.
  is_rewritten = bool(found) or before['codes'] != now['codes']
  if not is_rewritten and before['shards'] and now['shards'] is not None:
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


def _select(
  made_with: Mapping[str, Any], codes: Collection[str]
) -> dict[str, Any]:
  """What `codes.json` says of some modalities; {} if it has none of them."""
  made = made_with.get('tokenizers', {})
  chosen = {name: made[name] for name in sorted(codes) if name in made}
  if not chosen:
    return {}
  if all(modalities.get(name).kind == 'series' for name in chosen):
    return {'tokenizers': chosen}  # Whatever the squares of images are.
  return {**made_with, 'tokenizers': chosen}


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
