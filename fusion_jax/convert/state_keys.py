"""The keys of a saved state, without what training wraps around a model."""

import collections.abc
import re
from collections.abc import Iterator, Mapping
from typing import Any

# `torch.compile` adds '_orig_mod.' wherever it was called; data-parallel
# training adds 'module.' and Lightning 'model.' in front.
_COMPILED = re.compile(r'(?<![^.])_orig_mod\.')
_IN_FRONT = ('module.', 'model.')


class Renamed(collections.abc.Mapping):
  """The entries of a mapping under other keys, read when they are used."""

  def __init__(self, state: Mapping[str, Any], keys: Mapping[str, str]):
    """Wraps a mapping.

    Args:
      state: {key: array}.
      keys: {new key: key in `state`}.
    """
    self._state, self._keys = state, keys

  def __getitem__(self, key: str) -> Any:
    return self._state[self._keys[key]]

  def __iter__(self) -> Iterator[str]:
    return iter(self._keys)

  def __len__(self) -> int:
    return len(self._keys)


def unwrapped(state: Mapping[str, Any]) -> Mapping[str, Any]:
  """Returns a state without the prefixes that wrappers of a model leave.

  'module.' and 'model.' go where every key has them. A state that two keys
  would have in common is returned as it is.

  Args:
    state: {key: array}.
  """
  keys = {_COMPILED.sub('', key): key for key in state}
  while prefix := next((p for p in _IN_FRONT if _all_start(keys, p)), ''):
    keys = {key.removeprefix(prefix): old for key, old in keys.items()}
  return Renamed(state, keys) if len(keys) == len(state) else state


def _all_start(keys: Mapping[str, str], prefix: str) -> bool:
  return bool(keys) and all(key.startswith(prefix) for key in keys)
