"""Keys and shapes of the public TerraMind files, and small states like them."""

import functools
import json
import pathlib

import jax
import numpy as np

from fusion_jax.convert import terramind, terramind_models
from fusion_jax.nn import positions

_FILE = (
  pathlib.Path(__file__).parent / 'testdata' / 'terramind' / 'state_dicts.json'
)


@functools.cache
def shapes(name):
  """{key: shape} of 'tiny', 'base' or 'tokenizer_<modality>'."""
  listed = json.loads(_FILE.read_text())
  entry = listed[name]
  if 'as' in entry:
    return shapes(entry['as']) | {
      key: tuple(shape) for key, shape in entry['but'].items()
    }
  return {key: tuple(shape) for key, shape in entry['keys'].items()}


def random_state(model, seed=0):
  """A flat state as the reference saves it, of one of our small models.

  Tied parameters come under both keys, norms with their bias of zeros,
  positions as tables.
  """
  rng = np.random.default_rng(seed)
  rows, expected = terramind_models.rows_and_shapes(model)
  state = terramind.to_terramind(
    jax.tree.map(
      lambda x: rng.normal(size=x.shape).astype(np.float32), expected
    ),
    rows,
  )
  for key in list(state):
    parts = ['', *key.split('.')]
    if parts[-2].endswith(('norm', 'norm1', 'norm2')):
      state[key.replace('.weight', '.bias')] = np.zeros_like(state[key])
    if key.startswith('decoder_embeddings.') and parts[-2] == 'token_emb':
      state[key.replace('token_emb', 'to_logits')] = state[key]
      vector = f'encoder_embeddings.{parts[2]}.mod_emb'
      state.setdefault(
        f'decoder_embeddings.{parts[2]}.mod_emb', state.get(vector)
      )
  grid = model.image_size // 16
  for m in model.modalities:
    table = (
      positions.sequence_table(model.width)
      if m.is_sequence
      else positions.grid_table(grid, grid, model.width)
    )
    for side in ('encoder', 'decoder'):
      if f'{side}_embeddings.{m.name}.mod_emb' in state:
        state[f'{side}_embeddings.{m.name}.pos_emb'] = table[None]
  return state
