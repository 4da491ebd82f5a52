"""Public CLIP weights <-> our parameters, by one table per layout.

Two layouts are read: that of OpenAI, which OpenCLIP and its descendants share,
and that of Hugging Face. Their states are flat, with keys for every layer; our
parameters are nested, with the layers stacked.
Source: openai/CLIP `clip/model.py`; transformers `modeling_clip.py`.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from flax import traverse_util

from fusion_jax.convert import state_keys
from fusion_jax.models import clip
from fusion_jax.types import Params

# Entries of some files that are no parameters and are not needed.
_NO_PARAMETERS = re.compile(
  r'input_resolution|context_length|vocab_size|(.*\.)?attn_mask|'
  r'.*\.position_ids'
)
_HEAD_WIDTH = 64  # In both towers of every published ViT.


class Row(NamedTuple):
  """The names of one parameter in both layouts.

  Attributes:
    theirs: keys of the state, whose arrays are concatenated along their first
      axis; '{}' stands for all layers.
    ours: path in our parameters, joined by '/'.
    layout: 'same', 'transposed', or 'patches', a convolution that is
      [D, C, Y, X] in the state and [Y * X * C, D] in our parameters.
  """

  theirs: tuple[str, ...]
  ours: str
  layout: str = 'same'


def openai_table() -> list[Row]:
  """Returns the rows of OpenAI's and OpenCLIP's layout."""
  rows = [
    Row(('visual.conv1.weight',), 'vision/patches/kernel', 'patches'),
    Row(('visual.class_embedding',), 'vision/class_token'),
    Row(('visual.positional_embedding',), 'vision/positions'),
    Row(('visual.proj',), 'vision/projection'),
    Row(('token_embedding.weight',), 'text/table'),
    Row(('positional_embedding',), 'text/positions'),
    Row(('text_projection',), 'text/projection'),
    Row(('logit_scale',), 'log_scale'),
  ]
  rows += _norm('visual.ln_pre', 'vision/norm_in')
  rows += _norm('visual.ln_post', 'vision/norm_out')
  rows += _norm('ln_final', 'text/norm_out')
  for theirs, tower in (
    ('visual.transformer', 'vision'),
    ('transformer', 'text'),
  ):
    theirs, ours = f'{theirs}.resblocks.{{}}', f'{tower}/encoder/blocks'
    rows += _norm(f'{theirs}.ln_1', f'{ours}/norm1')
    rows += _norm(f'{theirs}.ln_2', f'{ours}/norm2')
    qkv = f'{ours}/attention/qkv'
    rows += [
      Row((f'{theirs}.attn.in_proj_weight',), f'{qkv}/kernel', 'transposed'),
      Row((f'{theirs}.attn.in_proj_bias',), f'{qkv}/bias'),
    ]
    rows += _linear([f'{theirs}.attn.out_proj'], f'{ours}/attention/out')
    rows += _linear([f'{theirs}.mlp.c_fc'], f'{ours}/fc1')
    rows += _linear([f'{theirs}.mlp.c_proj'], f'{ours}/fc2')
  return rows


def hugging_face_table() -> list[Row]:
  """Returns the rows of Hugging Face's `CLIPModel`."""
  rows = [
    Row(('visual_projection.weight',), 'vision/projection', 'transposed'),
    Row(('text_projection.weight',), 'text/projection', 'transposed'),
    Row(('logit_scale',), 'log_scale'),
  ]
  theirs = 'vision_model.embeddings'
  rows += [
    Row(
      (f'{theirs}.patch_embedding.weight',), 'vision/patches/kernel', 'patches'
    ),
    Row((f'{theirs}.class_embedding',), 'vision/class_token'),
    Row((f'{theirs}.position_embedding.weight',), 'vision/positions'),
  ]
  theirs = 'text_model.embeddings'
  rows += [
    Row((f'{theirs}.token_embedding.weight',), 'text/table'),
    Row((f'{theirs}.position_embedding.weight',), 'text/positions'),
  ]
  rows += _norm(
    'vision_model.pre_layrnorm', 'vision/norm_in'
  )  # The key is spelt like this.
  rows += _norm('vision_model.post_layernorm', 'vision/norm_out')
  rows += _norm('text_model.final_layer_norm', 'text/norm_out')
  for tower in ('vision', 'text'):
    theirs = f'{tower}_model.encoder.layers.{{}}'
    ours = f'{tower}/encoder/blocks'
    rows += _norm(f'{theirs}.layer_norm1', f'{ours}/norm1')
    rows += _norm(f'{theirs}.layer_norm2', f'{ours}/norm2')
    rows += _linear(
      [f'{theirs}.self_attn.{x}_proj' for x in 'qkv'], f'{ours}/attention/qkv'
    )
    rows += _linear([f'{theirs}.self_attn.out_proj'], f'{ours}/attention/out')
    rows += _linear([f'{theirs}.mlp.fc1'], f'{ours}/fc1')
    rows += _linear([f'{theirs}.mlp.fc2'], f'{ours}/fc2')
  return rows


def from_torch(
  state: Mapping[str, Any],
  activation: str,
  *,
  vision_heads: int = 0,
  text_heads: int = 0,
) -> tuple[clip.Clip, Params]:
  """Returns the model that a flat state belongs to, and its parameters.

  Args:
    state: {key: array} in one of the layouts; keys may have the prefixes of
      `state_keys.unwrapped`.
    activation: 'quick_gelu' or 'gelu', see `clip.Clip`, which a state does not
      contain.
    vision_heads: number of heads of the image tower, which a state does not
      contain; 0 takes heads that are 64 wide, as in all published files.
    text_heads: number of heads of the text tower; 0 takes heads that are 64
      wide.

  Returns:
    `clip.Clip`, and a nested dict of float32 NumPy arrays.

  Raises:
    ValueError: if keys or parameters have no counterpart, or a shape is wrong;
      the message lists all of them.
  """
  state = _parameters(state_keys.unwrapped(_parameters(state)))
  flat = _from_table(state, _table(state))
  model = clip.Clip(
    activation=activation, **_sizes(flat, vision_heads, text_heads)
  )
  _check_shapes(flat, model)
  return model, traverse_util.unflatten_dict(flat, sep='/')


def _parameters(state: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a state without what is no parameter."""
  return {
    key: value
    for key, value in state.items()
    if not _NO_PARAMETERS.fullmatch(key)
  }


def to_openai(params: Params) -> dict[str, np.ndarray]:
  """Returns our parameters as a flat state of OpenAI.

  Args:
    params: nested dict of arrays of a `Clip`, linear weights [in, out].

  Returns:
    {key: float32 array [...]}, linear weights [out, in], with keys for every
    layer.
  """
  flat, state = traverse_util.flatten_dict(params, sep='/'), {}
  for row in openai_table():
    (key,), value = row.theirs, np.asarray(flat[row.ours])
    if '{}' not in key:
      state[key] = _to_theirs(value, row.layout)
      continue
    for layer, part in enumerate(value):
      state[key.format(layer)] = _to_theirs(part, row.layout)
  return state


def _norm(theirs: str, ours: str) -> list[Row]:
  return [
    Row((f'{theirs}.weight',), f'{ours}/scale'),
    Row((f'{theirs}.bias',), f'{ours}/bias'),
  ]


def _linear(theirs, ours):
  weights, biases = (
    tuple(f'{name}.{kind}' for name in theirs) for kind in ('weight', 'bias')
  )
  return [
    Row(weights, f'{ours}/kernel', 'transposed'),
    Row(biases, f'{ours}/bias'),
  ]


def _table(state: Mapping[str, Any]) -> list[Row]:
  if 'visual.conv1.weight' in state and 'visual.proj' in state:
    return openai_table()
  if any(key.startswith('vision_model.') for key in state):
    return hugging_face_table()
  raise ValueError(
    'These are no weights of a CLIP with a ViT, neither in the layout of '
    f'OpenAI and OpenCLIP nor of Hugging Face; keys start with '
    f'{sorted(state)[:5]}.'
  )


def _from_table(state, rows):
  """Returns {our path: array}, after a check that every key has its place."""
  keys = {row.ours: _keys(row, state) for row in rows}
  expected = {
    key for layers in keys.values() for layer in layers for key in layer
  }
  surplus, missing = (
    sorted(set(state) - expected),
    sorted(expected - set(state)),
  )
  if surplus or missing:
    raise ValueError(
      f'The weights do not fit CLIP. Keys without a parameter: {surplus}. '
      f'Keys that are missing: {missing}.'
    )
  flat, uneven = {}, []
  for row in rows:
    layers = [
      [np.asarray(state[key], np.float32) for key in layer]
      for layer in keys[row.ours]
    ]
    if len({tuple(x.shape for x in layer) for layer in layers}) > 1:
      uneven += [
        f'{key} {state[key].shape}' for layer in keys[row.ours] for key in layer
      ]
      continue
    layers = [_to_ours(layer, row.layout) for layer in layers]
    stacked = '{}' in row.theirs[0]
    flat[row.ours] = np.stack(layers) if stacked else layers[0]
  if uneven:
    raise ValueError(f'Layers of one tower differ in shape: {uneven}.')
  return flat


def _keys(row, state):
  """Returns the keys of a row, one list for every layer of the tower."""
  if '{}' not in row.theirs[0]:
    return [row.theirs]
  start = row.theirs[0].partition('{}')[0]
  numbers = [
    int(key.removeprefix(start).partition('.')[0])
    for key in state
    if re.match(re.escape(start) + r'\d+\.', key)
  ]
  return [
    tuple(key.format(layer) for key in row.theirs)
    for layer in range(max(numbers, default=0) + 1)
  ]


def _to_ours(parts, layout):
  value = np.concatenate(parts) if len(parts) > 1 else parts[0]
  if layout == 'patches':
    return value.transpose(2, 3, 1, 0).reshape(-1, len(value))
  return value.T if layout == 'transposed' else value


def _to_theirs(value, layout):
  if layout == 'patches':
    side = math.isqrt(value.shape[0] // 3)
    return value.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)
  return value.T if layout == 'transposed' else value


def _sizes(flat, vision_heads, text_heads):
  """Returns the sizes of `clip.Clip` from the shapes of its parameters."""
  pixels, vision_width = flat['vision/patches/kernel'].shape
  patch = math.isqrt(pixels // 3)
  vocab_size, text_width = flat['text/table'].shape
  return {
    'width': flat['vision/projection'].shape[-1],
    'image_size': patch * math.isqrt(len(flat['vision/positions']) - 1),
    'patch': patch,
    'vision_width': vision_width,
    'vision_depth': len(flat['vision/encoder/blocks/norm1/scale']),
    'vision_heads': vision_heads or max(1, vision_width // _HEAD_WIDTH),
    'vocab_size': vocab_size,
    'context': len(flat['text/positions']),
    'text_width': text_width,
    'text_depth': len(flat['text/encoder/blocks/norm1/scale']),
    'text_heads': text_heads or max(1, text_width // _HEAD_WIDTH),
  }


def _check_shapes(flat, model):
  side = model.image_size
  nested = jax.eval_shape(
    model.init,
    jax.random.key(0),
    np.zeros((1, side, side, 3), np.float32),
    np.zeros((1, model.context), np.int32),
  )['params']
  shapes = cast(
    dict[str, jax.ShapeDtypeStruct],
    traverse_util.flatten_dict(nested, sep='/'),
  )
  wrong = [
    f'{path} is {flat[path].shape}, should be {shape.shape}'
    for path, shape in shapes.items()
    if flat[path].shape != shape.shape
  ]
  if wrong:
    raise ValueError(f'The weights contradict each other: {wrong}.')
