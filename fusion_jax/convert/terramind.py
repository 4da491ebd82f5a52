"""TerraMind's backbone weights <-> our parameters, by one table.

Keys and layouts: terrastackai/terratorch, commit 85467a9. Theirs are flat and
one a layer; ours are nested, with the layers stacked.
"""

import itertools
from typing import NamedTuple

import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.nn import positions


class Row(NamedTuple):
  """One parameter under both names.

  Attributes:
    theirs: key; one that holds '{}' stands for all layers.
    ours: path, joined by '/'.
    layout: 'same', 'transposed' (their linear weights are [out, in]), or
      'vector' ([D] here, [1, 1, D] there).
  """
  theirs: str
  ours: str
  layout: str = 'same'


def backbone_table(modalities, *, use_bias, mlp):
  """`Row`s of an encoder-decoder."""
  rows = encoder_table(modalities, use_bias=use_bias, mlp=mlp)
  rows += [Row(f'decoder_embeddings.{m.name}.token_emb.weight',
               f'decoder_embeddings/{m.name}')
           for m in modalities if m.is_target]
  rows += [Row(f'decoder_embeddings.{m.name}.mod_emb',
               f'modality_embeddings/{m.name}', 'vector')
           for m in modalities if not m.seen]
  rows += [Row('mask_token', 'mask_token', 'vector'),
           Row('decoder_norm.weight', 'decoder_norm/scale')]
  rows += _linear('decoder_proj_context', 'project_context', True)
  ours, theirs = 'decoder/blocks', 'decoder.{}'
  for name in ('norm1', 'query_norm', 'context_norm', 'norm2'):
    rows.append(Row(f'{theirs}.{name}.weight', f'{ours}/{name}/scale'))
  for their, our in (
      ('self_attn.qkv', 'self_attention/qkv'),
      ('self_attn.proj', 'self_attention/out'),
      ('cross_attn.q', 'cross_attention/query'),
      ('cross_attn.kv', 'cross_attention/kv'),
      ('cross_attn.proj', 'cross_attention/out')):
    rows += _linear(f'{theirs}.{their}', f'{ours}/{our}', use_bias)
  return rows + _mlp(theirs, ours, use_bias, mlp)


def encoder_table(modalities, *, use_bias, mlp, missing_token=False):
  """`Row`s of an encoder alone."""
  rows = []
  for m in modalities:
    if not m.seen:
      continue
    theirs = f'encoder_embeddings.{m.name}'
    ours = f'encoder_embeddings/{m.name}'
    rows.append(Row(f'{theirs}.token_emb.weight', ours) if m.vocab_size else
                Row(f'{theirs}.proj.weight', ours, 'transposed'))
    rows.append(
        Row(f'{theirs}.mod_emb', f'modality_embeddings/{m.name}', 'vector'))
  ours, theirs = 'encoder/blocks', 'encoder.{}'
  for name in ('norm1', 'norm2'):
    rows.append(Row(f'{theirs}.{name}.weight', f'{ours}/{name}/scale'))
  rows += _linear(f'{theirs}.attn.qkv', f'{ours}/attention/qkv', use_bias)
  rows += _linear(f'{theirs}.attn.proj', f'{ours}/attention/out', use_bias)
  rows += _mlp(theirs, ours, use_bias, mlp)
  rows.append(Row('encoder_norm.weight', 'encoder_norm/scale'))
  if missing_token:
    rows.append(Row('missing_mod_token', 'missing_token'))
  return rows


def from_terramind(state, rows, shapes):
  """Our parameters from their flat state.

  Tied copies, zero biases of norms and position tables, which we do not keep,
  are checked and dropped.

  Args:
    state: {key: array}.
    rows: of `backbone_table` or `encoder_table`.
    shapes: nested dict of what has a `shape`, our parameters as they must be:
      `jax.eval_shape` of the model's `init`.

  Returns:
    Nested dict of float32 NumPy arrays.

  Raises:
    ValueError: if a key is missing or too many, a shape is wrong, or what is
      dropped is not what it must be. The message lists all of it.
  """
  state, wanted = _without_copies(state), _flatten(shapes)
  params, used, missing, wrong = {}, set(), [], []
  for row in rows:
    if row.ours not in wanted:
      continue
    shape = tuple(wanted[row.ours].shape)
    keys, shape = _layer_keys(row.theirs, shape)
    absent = [key for key in keys if key not in state]
    used.update(keys)
    missing += absent
    found = [np.asarray(state[key]) for key in keys if key not in absent]
    found = [_to_ours(value, row.layout) for value in found]
    bad = [value.shape for value in found if value.shape != shape]
    if bad:
      wrong.append(f'{row.theirs} makes {row.ours} of {bad[0]}, should be '
                   f'{shape}')
    if not absent and not bad:
      params[row.ours] = _stack(found) if '{}' in row.theirs else found[0]
  known = {row.ours for row in rows}
  missing += [f'(any for {path})' for path in wanted if path not in known]
  surplus = sorted(set(state) - used)
  if missing or surplus or wrong:
    raise ValueError(
        f'Weights do not fit the model. Missing keys: {sorted(missing)}. '
        f'Keys too many: {surplus}. Wrong shapes: {wrong}.')
  return _nest({path: np.asarray(value, np.float32)
                for path, value in params.items()})


def to_terramind(params, rows):
  """Their flat state, {key: array}, from our nested parameters.

  Tied parameters come once, without what `from_terramind` drops.
  """
  flat, state = _flatten(params), {}
  for row in rows:
    value = np.asarray(flat[row.ours])
    if '{}' not in row.theirs:
      state[row.theirs] = _to_theirs(value, row.layout)
      continue
    for layer, part in enumerate(value):
      state[row.theirs.format(layer)] = _to_theirs(part, row.layout)
  return state


def _linear(theirs, ours, use_bias):
  rows = [Row(f'{theirs}.weight', f'{ours}/kernel', 'transposed')]
  return rows + [Row(f'{theirs}.bias', f'{ours}/bias')] * use_bias


def _mlp(theirs, ours, use_bias, mlp):
  names = ('fc1', 'fc2', 'fc3') if mlp == 'swiglu' else ('fc1', 'fc2')
  return list(itertools.chain.from_iterable(
      _linear(f'{theirs}.mlp.{name}', f'{ours}/feed/{name}', use_bias)
      for name in names))


def _to_ours(value, layout):
  if layout == 'vector':
    return value.reshape(-1)
  return value.T if layout == 'transposed' else value


def _to_theirs(value, layout):
  if layout == 'vector':
    return value.reshape(1, 1, -1)
  return value.T if layout == 'transposed' else value


def _layer_keys(pattern, shape):
  """The keys of `pattern`, one a layer, and the shape that each must have."""
  if '{}' not in pattern:
    return [pattern], shape
  return [pattern.format(layer) for layer in range(shape[0])], shape[1:]


def _stack(found):
  """Layers on top of each other, in float32 and without a second copy."""
  stacked = np.empty((len(found), *found[0].shape), np.float32)
  for layer, value in enumerate(found):
    stacked[layer] = value
  return stacked


def _without_copies(state):
  """`state` without what repeats or is known, after checking that it does."""
  kept, wrong = {}, []
  for key, value in state.items():
    known = _known_value(key, np.asarray(value), state)
    if known is None:
      kept[key] = value
    elif not np.allclose(value, known, rtol=0, atol=1e-4):
      wrong.append(key)
  if wrong:
    raise ValueError(
        f'Tied keys differ, norms have a bias, or positions are others: '
        f'{sorted(wrong)}.')
  return kept


def _known_value(key, value, state):
  """What `value` must equal, or None if it is a parameter of its own."""
  if key.endswith('norm.bias') or key.endswith(('norm1.bias', 'norm2.bias')):
    return np.zeros_like(value)
  if key.endswith('.to_logits.weight'):
    return state.get(key.replace('to_logits', 'token_emb'))
  if key.startswith('decoder_embeddings.') and key.endswith('.mod_emb'):
    return state.get(key.replace('decoder_', 'encoder_', 1))
  if not key.endswith('.pos_emb'):
    return None
  _, rows, width = value.shape
  modality = modality_table.MODALITIES.get(key.split('.')[1])
  is_sequence = (modality.is_sequence if modality
                 else rows == positions.SEQUENCE_ROWS)
  if is_sequence:
    return positions.sequence_table(width, rows)[None]
  side = int(rows**0.5)
  return positions.grid_table(side, side, width)[None]


def _flatten(tree, prefix=''):
  if not hasattr(tree, 'items'):
    return {prefix[:-1]: tree}
  flat = {}
  for name, child in tree.items():
    flat |= _flatten(child, f'{prefix}{name}/')
  return flat


def _nest(flat):
  tree = {}
  for path, value in flat.items():
    *parents, name = path.split('/')
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[name] = value
  return tree
