"""Keys of TerraMind's weights whose values are known without the file.

These are copies of other keys, zero biases of norms and fixed tables of
positions. The keys are those of terrastackai/terratorch, commit 85467a9.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.nn import positions


def is_copy(key: str, state: Mapping[str, Any]) -> bool:
  """Returns whether the value of a key is known without the file."""
  if key.endswith(('norm.bias', 'norm1.bias', 'norm2.bias', '.pos_emb')):
    return True
  original = _original(key)
  return original != key and original in state


def _original(key: str) -> str:
  """Returns the key whose value `key` repeats; itself if there is none."""
  if key.endswith('.to_logits.weight'):
    return key.replace('to_logits', 'token_emb')
  if key.startswith('decoder_embeddings.') and key.endswith('.mod_emb'):
    return key.replace('decoder_', 'encoder_', 1)
  return key


def known_shape(key: str, state: Mapping[str, Any]) -> Any:
  """Returns the shape that a copy must have, or a description of it.

  Args:
    key: key for which `is_copy` is true.
    state: {key: array, or an object with its `shape`}.
  """
  if key.endswith('.pos_emb'):
    if len(state[key].shape) != 3:
      return 'of three axes'
    _, rows, width = state[key].shape
    if _is_sequence(key, rows):
      return 1, positions.SEQUENCE_ROWS, width
    return 1, math.isqrt(rows) ** 2, width
  like = (
    key.replace('.bias', '.weight') if key.endswith('.bias') else _original(key)
  )
  return tuple(state[like].shape) if like in state else ()


def known_value(key: str, state: Mapping[str, Any]) -> Any:
  """Returns the array [...] that a copy must equal, or 0 of a bias.

  Args:
    key: key for which `is_copy` is true.
    state: {key: array}.
  """
  if key.endswith('.bias'):
    return np.float32(0)
  if not key.endswith('.pos_emb'):
    return state[_original(key)]
  _, rows, width = state[key].shape
  if _is_sequence(key, rows):
    return positions.sequence_table(width, rows)[None]
  side = math.isqrt(rows)
  return positions.grid_table(side, side, width)[None]


def _is_sequence(key, rows):
  modality = modality_table.MODALITIES.get(key.split('.')[1])
  return modality.is_sequence if modality else rows == positions.SEQUENCE_ROWS
