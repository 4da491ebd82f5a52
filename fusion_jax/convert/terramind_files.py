"""Finds the models that a file of TerraMind holds, by its keys.

A file is a backbone, its encoder alone, a tokenizer, or a saved `*_generate` or
`*_tim` model, which has a backbone below `sampler.model.` and tokenizers below
`tokenizer.<modality>.`. Keys: terrastackai/terratorch, commit 85467a9.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from fusion_jax.convert import published, state_keys

_SAMPLER, _TOKENIZER = 'sampler.model.', 'tokenizer.'


class Part(NamedTuple):
  """One model of a file.

  Attributes:
    kind: 'backbone', 'encoder' or 'tokenizer'.
    name: name of the modality of a tokenizer; '' for other models.
    state: {key: array} of this model.
    folder: folder below the output folder; '' for the main model of the file.
  """

  kind: str
  name: str
  state: Mapping[str, Any]
  folder: str


def parts(state: Mapping[str, Any]) -> list[Part]:
  """Returns the models that a flat state holds, the main one first.

  Args:
    state: {key: array}; keys may have the prefixes of `state_keys.unwrapped`.

  Raises:
    ValueError: if the state holds no known model.
  """
  state = state_keys.unwrapped(state)
  prefixes = {}
  for key in state:
    match = re.match(rf'({re.escape(_SAMPLER)}|{_TOKENIZER}[^.]+\.)?', key)
    prefixes.setdefault(match.group() if match else '', []).append(key)
  models = []
  for prefix, keys in prefixes.items():
    part = state_keys.Renamed(
      state, {key.removeprefix(prefix): key for key in keys}
    )
    name = prefix.removeprefix(_TOKENIZER).rstrip('.')
    if prefix in ('', _SAMPLER):
      name = ''
    has_main = '' in prefixes and prefix == _SAMPLER
    folder = f'tokenizers/{name}' if name else 'sampler' * has_main
    models.append(Part(_kind(part), name, part, folder))
  return sorted(models, key=lambda part: part.folder)


def named(text: str) -> str:
  """Returns the modality of a tokenizer from the name of its file, or ''."""
  match = re.search(
    rf'Tokenizer[-_]({"|".join(published.TOKENISED)})\b', text, re.IGNORECASE
  )
  return match.group(1) if match else ''


def _kind(state: Mapping[str, Any]) -> str:
  if any(key.startswith('encoder_embeddings.') for key in state):
    decodes = any(
      key.startswith('decoder') or key == 'mask_token' for key in state
    )
    return 'backbone' if decodes else 'encoder'
  if any(key.startswith(('quant_proj.', 'encoder.post_mlp.')) for key in state):
    return 'tokenizer'
  raise ValueError(
    'These keys belong to no TerraMind backbone, encoder or tokenizer: '
    f'{sorted(state)[:10]} ({len(state)} in all).'
  )
