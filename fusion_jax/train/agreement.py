"""What all processes of a run must have in common, checked at the start.

Processes with another configuration, code or number of devices compute other
programs: they wait for each other for ever, or train something else.
"""

import collections
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

import fusion_jax
from fusion_jax.train import processes


class DisagreementError(ValueError):
  """Two processes differ; the message names the fields."""


def check(
  config: Mapping[str, Any], workdir: str | os.PathLike[str] = ''
) -> None:
  """Raises in every process unless all have the same settings.

  Args:
    config: configuration of the run, a nested JSON-like dict.
    workdir: work directory of the run.

  Raises:
    DisagreementError: names the fields that differ, their values and a process.
  """
  if jax.process_count() == 1:
    return
  counts = collections.Counter(d.process_index for d in jax.devices())
  if len(set(counts.values())) > 1:  # Seen by all, before they exchange texts.
    raise DisagreementError(
      'The processes of this run differ: the number of devices is '
      f'{", ".join(f"{n} in process {i}" for i, n in sorted(counts.items()))}. '
      'Start all of them on machines of one kind.'
    )
  text = json.dumps(_fields(config, workdir))
  first, *others = map(json.loads, processes.from_all(text))
  for number, other in enumerate(others, start=1):
    differences = [
      f'{name} is {first.get(name)} in process 0 and {other.get(name)} in '
      f'process {number}'
      for name in sorted({*first, *other})
      if first.get(name) != other.get(name)
    ]
    if differences:
      raise DisagreementError(
        f'The processes of this run differ: {"; ".join(differences[:5])}. '
        'Start all of them with the same command and the same code.'
      )


def _fields(
  config: Mapping[str, Any], workdir: str | os.PathLike[str]
) -> dict[str, str]:
  """Returns what must be equal, {name as a person reads it: JSON text}."""
  fields = {
    'fusion_jax': fusion_jax.__version__,
    'the code': _code_digest(),
    'jax': jax.__version__,
    '--workdir': os.path.abspath(workdir),
    **_flatten(config, 'config'),
  }
  return {
    name: json.dumps(value, default=str) for name, value in fields.items()
  }


def _flatten(section: Mapping[str, Any], path: str) -> dict[str, Any]:
  fields = {}
  for name, value in section.items():
    if isinstance(value, Mapping):
      fields |= _flatten(value, f'{path}.{name}')
    else:
      fields[f'{path}.{name}'] = value
  return fields


def _code_digest() -> str:
  """Returns a digest of all Python files of the package."""
  folder = pathlib.Path(__file__).parents[1]
  digest = hashlib.blake2b(digest_size=8)
  for path in sorted(folder.rglob('*.py')):
    digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
  return digest.hexdigest()
