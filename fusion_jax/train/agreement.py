"""What all processes of a run must have in common, checked at the start.

Processes with another configuration, code or number of devices compute other
programs: they wait for each other for ever, or train something else.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

import fusion_jax


class DisagreementError(ValueError):
  """Two processes differ; the message names the fields."""


def check(config: Mapping[str, Any]) -> None:
  """Raises in every process unless all have the same settings.

  Args:
    config: configuration of the run, a nested JSON-like dict.

  Raises:
    DisagreementError: names the fields that differ, their values and a process.
  """
  if jax.process_count() == 1:
    return
  text = json.dumps(_fields(config), default=str).encode()
  first, *others = map(json.loads, _from_all_processes(text))
  for number, other in enumerate(others, start=1):
    if other == first:
      continue
    differences = [
      f'{name} is {first.get(name)!r} in process 0 and {other.get(name)!r} in '
      f'process {number}'
      for name in sorted({*first, *other})
      if first.get(name) != other.get(name)
    ]
    raise DisagreementError(
      f'The processes of this run differ: {"; ".join(differences[:5])}. Start '
      'all of them with the same command, code and number of devices.'
    )


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what must be equal, {name as a person reads it: value}."""
  return {
    'fusion_jax': fusion_jax.__version__,
    'the code': _code_digest(),
    'jax': jax.__version__,
    'the number of devices': jax.local_device_count(),
    **_flatten(config, 'config'),
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


def _from_all_processes(text: bytes) -> list[bytes]:
  """Returns the texts of all processes, in their order."""
  lengths = multihost_utils.process_allgather(np.int32(len(text)))
  padded = np.zeros(int(np.max(lengths)), np.uint8)
  padded[: len(text)] = np.frombuffer(text, np.uint8)
  texts = np.asarray(multihost_utils.process_allgather(padded))
  return [bytes(x[:n]) for x, n in zip(texts, np.ravel(lengths))]
