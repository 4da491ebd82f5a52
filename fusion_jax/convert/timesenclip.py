"""TimeSenCLIP's published encoders <-> our parameters, by one table.

Keys: `src/models/encoder.py` of pallavijain-pj/TimeSenCLIP, all versions.
Theirs are flat and one a layer; ours are nested: all layers but the first and
the last are stacked.
"""

import itertools
import math
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from flax import traverse_util

from fusion_jax.models import pixel_encoder

# In front of the encoder's keys, by the part of the trainer that was saved.
PREFIXES = (
  '',
  'learner.ts_encoder.',
  'ts_encoder.',
  'TS_ViT.',
  'learner.TS_ViT.',
)
_FIRST = 'spectral_embedding.1.weight'  # By it an encoder is known.
_OLD_TOKEN = 'class_token'  # `time_token` before commit 8dfc8e6.
_BANDS = 10
_HEAD_WIDTH = 64  # Of the paper's size.


class Row(NamedTuple):
  """One parameter under both names.

  Attributes:
    theirs: key.
    ours: path, joined by '/'.
    layer: index into the stacked layers; None where ours is not stacked.
    layout: 'same', 'transposed' (their linear weights are [out, in]), or
      'flat' (theirs has leading axes of length 1).
  """

  theirs: str
  ours: str
  layer: int | None = None
  layout: str = 'same'


def table(depth):
  """`Row`s of an encoder of so many layers."""
  rows = [
    Row('time_pos_encoding', 'positions', layout='flat'),
    Row('time_token', 'class_token', layout='flat'),
    *_linear('spectral_embedding.1', 'embed'),
    *_norm('mlp_head.0', 'norm'),
    *_linear('mlp_head.1', 'head'),
  ]
  for i in range(depth):
    theirs = f'transformer.layers.{i}'
    ours, layer = (
      ('last', None)
      if i == depth - 1
      else ('first', None)
      if i == 0
      else ('blocks', i - 1)
    )
    qkv = f'{ours}/attention/qkv'
    rows += [
      Row(
        f'{theirs}.self_attn.in_proj_weight',
        f'{qkv}/kernel',
        layer,
        'transposed',
      ),
      Row(f'{theirs}.self_attn.in_proj_bias', f'{qkv}/bias', layer),
    ]
    rows += _linear(
      f'{theirs}.self_attn.out_proj', f'{ours}/attention/out', layer
    )
    for name in ('linear1', 'linear2'):
      rows += _linear(f'{theirs}.{name}', f'{ours}/{name}', layer)
    for name in ('norm1', 'norm2'):
      rows += _norm(f'{theirs}.{name}', f'{ours}/{name}', layer)
  return rows


def from_torch(state, *, num_heads=0, activation='relu'):
  """An encoder of the sizes of a flat state, and its parameters.

  Args:
    state: {key: array}, of an encoder alone or of a training run; what does
      not belong to the encoder is left out, and named in the log.
    num_heads: a state does not tell; 0 takes heads of 64 as in the paper.
    activation: 'relu', as all released code, or 'gelu'.

  Returns:
    `PixelEncoder`, and a nested dict of float32 NumPy arrays.

  Raises:
    ValueError: if there is no encoder, or its keys or shapes are not those of
      one; the message lists all of it.
  """
  state = _encoder_state(state)
  depth = next(
    i
    for i in itertools.count()
    if not any(key.startswith(f'transformer.layers.{i}.') for key in state)
  )
  rows = table(depth)
  surplus = sorted(set(state) - {row.theirs for row in rows})
  missing = sorted({row.theirs for row in rows} - set(state))
  if surplus or missing or not depth:
    raise ValueError(
      'The weights do not fit the encoder. Keys without a parameter: '
      f'{surplus}. Keys that are missing: '
      f'{missing if depth else "all layers"}.'
    )
  encoder = pixel_encoder.PixelEncoder(
    activation=activation, depth=depth, **_sizes(state, num_heads)
  )
  flat, wrong = {}, []
  for path, shape in _shapes(encoder).items():
    mine = [row for row in rows if row.ours == path]
    parts = [
      _to_ours(np.asarray(state[row.theirs], np.float32), row.layout)
      for row in mine
    ]
    wanted = shape if mine[0].layer is None else shape[1:]
    wrong += [
      f'{row.theirs} {state[row.theirs].shape}'
      for row, part in zip(mine, parts)
      if part.shape != wanted
    ]
    if not wrong:
      flat[path] = parts[0] if mine[0].layer is None else np.stack(parts)
  if wrong:
    raise ValueError(f'The weights contradict each other: {wrong}.')
  return encoder, traverse_util.unflatten_dict(flat, sep='/')


def to_torch(params, depth):
  """The flat state, {key: array} in their layout, of our parameters."""
  flat = traverse_util.flatten_dict(params, sep='/')
  state = {}
  for row in table(depth):
    value = np.asarray(flat[row.ours])
    value = value if row.layer is None else value[row.layer]
    if row.layout == 'flat':
      value = value.reshape((1,) * (3 - value.ndim) + value.shape)
    state[row.theirs] = value.T if row.layout == 'transposed' else value
  return state


def _linear(theirs, ours, layer=None):
  return [
    Row(f'{theirs}.weight', f'{ours}/kernel', layer, 'transposed'),
    Row(f'{theirs}.bias', f'{ours}/bias', layer),
  ]


def _norm(theirs, ours, layer=None):
  return [
    Row(f'{theirs}.weight', f'{ours}/scale', layer),
    Row(f'{theirs}.bias', f'{ours}/bias', layer),
  ]


def _encoder_state(state):
  """The encoder's part of a state, without prefix, under the newest names."""
  prefix = next((p for p in PREFIXES if p + _FIRST in state), None)
  if prefix is None:
    raise ValueError(
      f'No encoder of TimeSenCLIP is in these weights: {_FIRST} is missing, '
      f'also behind {PREFIXES[1:]}; keys start with {sorted(state)[:5]}.'
    )
  others = sorted(key for key in state if not key.startswith(prefix))
  if others:
    logging.warning('Left out, as no part of the encoder: %s.', others)
  found = {
    key.removeprefix(prefix): state[key]
    for key in state
    if key.startswith(prefix)
  }
  if _OLD_TOKEN in found:
    found['time_token'] = found.pop(_OLD_TOKEN)
  return found


def _sizes(state, num_heads):
  """Sizes of a `PixelEncoder` from the shapes of its state."""
  width, features = state[_FIRST].shape
  side = math.isqrt(features // _BANDS)
  if side**2 * _BANDS != features:
    raise ValueError(
      f'{_FIRST} reads {features} values a month, which is not {_BANDS} '
      'bands of a square of pixels.'
    )
  heads = num_heads or max(1, width // _HEAD_WIDTH)
  if width % heads:
    raise ValueError(
      f'{heads} heads do not divide the width {width}; give --num-heads.'
    )
  return {
    'width': width,
    'side': side,
    'num_bands': _BANDS,
    'num_heads': heads,
    'hidden': len(state['transformer.layers.0.linear1.bias']),
    'output_width': len(state['mlp_head.1.bias']),
  }


def _shapes(encoder):
  """{path: shape} of an encoder's parameters."""
  shapes = jax.eval_shape(
    lambda: pixel_encoder.init(encoder, jax.random.key(0))
  )
  return {
    path: x.shape
    for path, x in traverse_util.flatten_dict(shapes, sep='/').items()
  }


def _to_ours(value, layout):
  if layout == 'flat':
    return value.reshape([n for n in value.shape if n != 1] or [1])
  return value.T if layout == 'transposed' else value
