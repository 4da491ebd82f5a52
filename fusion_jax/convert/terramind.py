"""TerraMind's backbone weights <-> our parameters, by one table.

Keys and layouts are those of terrastackai/terratorch, commit 85467a9. Its
states are flat, with keys for every layer; our parameters are nested, with the
layers stacked.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from fusion_jax.convert import terramind_copies
from fusion_jax.modalities import Modality
from fusion_jax.types import Params


class Row(NamedTuple):
  """The names of one parameter in both layouts.

  Attributes:
    theirs: key of the state; '{}' in it stands for all layers.
    ours: path in our parameters, joined by '/'.
    layout: 'same', 'transposed' (linear weights of the state are [out, in]), or
      'vector' ([1, 1, D] in the state, [D] in our parameters).
  """

  theirs: str
  ours: str
  layout: str = 'same'


def backbone_table(
  modalities: Sequence[Modality], *, use_bias: bool, mlp: str
) -> list[Row]:
  """Returns the rows of an encoder-decoder.

  Args:
    modalities: modalities of the model.
    use_bias: whether linear layers have biases.
    mlp: kind of the MLPs, 'gelu' or 'swiglu'.
  """
  rows = encoder_table(modalities, use_bias=use_bias, mlp=mlp)
  rows += [
    Row(
      f'decoder_embeddings.{m.name}.token_emb.weight',
      f'decoder_embeddings/{m.name}',
    )
    for m in modalities
    if m.is_target
  ]
  rows += [
    Row(
      f'decoder_embeddings.{m.name}.mod_emb',
      f'modality_embeddings/{m.name}',
      'vector',
    )
    for m in modalities
    if not m.seen
  ]
  rows += [
    Row('mask_token', 'mask_token', 'vector'),
    Row('decoder_norm.weight', 'decoder_norm/scale'),
  ]
  rows += _linear('decoder_proj_context', 'project_context', True)
  ours, theirs = 'decoder/blocks', 'decoder.{}'
  for name in ('norm1', 'query_norm', 'context_norm', 'norm2'):
    rows.append(Row(f'{theirs}.{name}.weight', f'{ours}/{name}/scale'))
  for their, our in (
    ('self_attn.qkv', 'self_attention/qkv'),
    ('self_attn.proj', 'self_attention/out'),
    ('cross_attn.q', 'cross_attention/query'),
    ('cross_attn.kv', 'cross_attention/kv'),
    ('cross_attn.proj', 'cross_attention/out'),
  ):
    rows += _linear(f'{theirs}.{their}', f'{ours}/{our}', use_bias)
  return rows + _mlp(theirs, ours, use_bias, mlp)


def encoder_table(
  modalities: Sequence[Modality],
  *,
  use_bias: bool,
  mlp: str,
  missing_token: bool = False,
) -> list[Row]:
  """Returns the rows of an encoder alone.

  Args:
    modalities: modalities of the model.
    use_bias: whether linear layers have biases.
    mlp: kind of the MLPs, 'gelu' or 'swiglu'.
    missing_token: whether it has a token for missing modalities.
  """
  rows = []
  for m in modalities:
    if not m.seen:
      continue
    theirs = f'encoder_embeddings.{m.name}'
    ours = f'encoder_embeddings/{m.name}'
    rows.append(
      Row(f'{theirs}.token_emb.weight', ours)
      if m.vocab_size
      else Row(f'{theirs}.proj.weight', ours, 'transposed')
    )
    rows.append(
      Row(f'{theirs}.mod_emb', f'modality_embeddings/{m.name}', 'vector')
    )
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


def from_terramind(
  state: Mapping[str, Any], rows: Sequence[Row], shapes: Params
) -> Params:
  """Converts a flat state to our parameters.

  Tied copies, zero biases of norms and position tables are no parameters of
  our model; they are checked and dropped.

  Args:
    state: {key: array}.
    rows: table of `backbone_table` or `encoder_table`.
    shapes: nested dict of the expected shapes of our parameters, such as
      `jax.eval_shape` of the model's `init`.

  Returns:
    Nested dict of float32 NumPy arrays.

  Raises:
    ValueError: if keys or shapes do not fit, see `match`; or if a key that is
      dropped does not have its known value.
  """
  params = {}
  for row, keys in match(state, rows, shapes):
    arrays = (_to_ours(np.asarray(state[key]), row.layout) for key in keys)
    params[row.ours] = (
      _stack(arrays, len(keys))
      if '{}' in row.theirs
      else np.asarray(next(arrays), np.float32)
    )
  wrong = [
    key
    for key in state
    if terramind_copies.is_copy(key, state)
    and not np.allclose(
      np.asarray(state[key], np.float32),
      terramind_copies.known_value(key, state),
      rtol=0,
      atol=max(1e-4, float(ml_dtypes.finfo(state[key].dtype).eps)),
    )
  ]
  if wrong:
    raise ValueError(
      f'Tied keys differ, norms have a bias, or positions differ: '
      f'{sorted(wrong)}.'
    )
  return _nest(params)


def match(
  state: Mapping[str, Any], rows: Sequence[Row], shapes: Params
) -> list[tuple[Row, list[str]]]:
  """Assigns keys to parameters, by names and shapes only.

  Args:
    state: {key: array, or an object with its `shape`}.
    rows: table of `backbone_table` or `encoder_table`.
    shapes: nested dict of the expected shapes of our parameters.

  Returns:
    (row, keys of the row, one for each layer) for every parameter.

  Raises:
    ValueError: if a key is missing or surplus, or a shape is wrong. The message
      lists all of them.
  """
  expected, matches, wrong = _flatten(shapes), [], []
  for row in (row for row in rows if row.ours in expected):
    keys, shape = _layer_keys(row.theirs, tuple(expected[row.ours].shape))
    matches.append((row, keys))
    stored_shapes = {
      _our_shape(state[key].shape, row.layout) for key in keys if key in state
    }
    wrong += [
      f'{row.theirs} makes {row.ours} of {other}, should be {shape}'
      for other in stored_shapes - {shape}
    ]
  copies = {key for key in state if terramind_copies.is_copy(key, state)}
  for key in copies:
    shape = tuple(state[key].shape)
    known = terramind_copies.known_shape(key, state)
    if shape != known:
      wrong.append(f'{key} is {shape}, should be {known}')
  used = {key for _, keys in matches for key in keys}
  missing = sorted(used - set(state))
  missing += sorted(
    f'(any for {path})'
    for path in set(expected) - {row.ours for row, _ in matches}
  )
  surplus = sorted(set(state) - used - copies)
  if missing or surplus or wrong:
    raise ValueError(
      f'Weights do not fit the model. Missing keys: {missing}. '
      f'Keys too many: {surplus}. Wrong shapes: {sorted(wrong)}.'
    )
  return matches


def to_terramind(params: Params, rows: Sequence[Row]) -> dict[str, np.ndarray]:
  """Converts our nested parameters to a flat state.

  Tied parameters occur once, and keys that `from_terramind` drops do not occur.

  Args:
    params: nested dict of arrays [...]; those of L layers are stacked,
      [L, ...].
    rows: table of `backbone_table` or `encoder_table`.

  Returns:
    {key: array [...]} with keys for every layer, linear weights [out, in].
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
  return list(
    itertools.chain.from_iterable(
      _linear(f'{theirs}.mlp.{name}', f'{ours}/feed/{name}', use_bias)
      for name in names
    )
  )


def _to_ours(value, layout):
  if layout == 'vector':
    return value.reshape(-1)
  return value.T if layout == 'transposed' else value


def _to_theirs(value, layout):
  if layout == 'vector':
    return value.reshape(1, 1, -1)
  return value.T if layout == 'transposed' else value


def _layer_keys(pattern, shape):
  """Returns the key of each layer, and the shape that each must have."""
  if '{}' not in pattern:
    return [pattern], shape
  return [pattern.format(layer) for layer in range(shape[0])], shape[1:]


def _stack(arrays, depth):
  """Stacks layers in float32, without a second copy in memory."""
  stacked = np.empty(0, np.float32)
  for layer, value in enumerate(arrays):
    if not layer:
      stacked = np.empty((depth, *value.shape), np.float32)
    stacked[layer] = value
  return stacked


def _our_shape(shape, layout):
  return _to_ours(np.broadcast_to(np.float32(0), shape), layout).shape


def _flatten(tree: Any, prefix: str = '') -> dict[str, Any]:
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
