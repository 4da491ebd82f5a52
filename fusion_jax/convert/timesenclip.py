"""TimeSenCLIP's published encoders <-> our parameters, by one table.

Keys are those of `src/models/encoder.py` of pallavijain-pj/TimeSenCLIP, in all
its versions. Their parameters are flat, with keys for every layer; ours are
nested, and all layers but the first and the last are stacked.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from flax import traverse_util

from fusion_jax.convert import state_keys
from fusion_jax.models import pixel_encoder
from fusion_jax.types import Params

# Prefixes of the encoder's keys, by the part of the trainer that was saved.
PREFIXES = (
  '',
  'learner.ts_encoder.',
  'ts_encoder.',
  'TS_ViT.',
  'learner.TS_ViT.',
)
_FIRST = 'spectral_embedding.1.weight'  # Every encoder has this key.
_OLD_TOKEN = 'class_token'  # `time_token` before commit 8dfc8e6.
_BANDS = 10
_HEAD_WIDTH = 64  # Width of a head of the paper's size.


class Row(NamedTuple):
  """The names of one parameter in both layouts.

  Attributes:
    theirs: key in their state.
    ours: path in our parameters, joined by '/'.
    layer: index into the stacked layers; None if ours is not stacked.
    layout: 'same', 'transposed' (their linear weights are [out, in]), or
      'flat' (theirs has leading axes of length 1).
  """

  theirs: str
  ours: str
  layer: int | None = None
  layout: str = 'same'


def table(depth: int) -> list[Row]:
  """Returns the rows of all parameters of an encoder with `depth` layers."""
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


def from_torch(
  state: Mapping[str, np.ndarray],
  *,
  num_heads: int = 0,
  activation: str = 'relu',
) -> tuple[pixel_encoder.PixelEncoder, Params]:
  """Returns the encoder that a flat state belongs to, and its parameters.

  Args:
    state: {key: array [...]} of an encoder alone or of a training run, linear
      weights [out, in]. Keys that do not belong to the encoder are left out and
      logged.
    num_heads: number of attention heads, which a state does not contain; 0
      takes heads that are 64 wide as in the paper.
    activation: 'relu', as in all released code, or 'gelu'.

  Returns:
    The encoder, and its parameters as float32 NumPy arrays.

  Raises:
    ValueError: if there is no encoder, or if keys or shapes do not fit one; the
      message lists all of them.
  """
  state = _encoder_state(state_keys.unwrapped(state))
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
    sources = [row for row in rows if row.ours == path]
    parts = [
      _to_ours(np.asarray(state[row.theirs], np.float32), row.layout)
      for row in sources
    ]
    is_stacked = sources[0].layer is not None
    expected = shape[1:] if is_stacked else shape
    wrong += [
      f'{row.theirs} {state[row.theirs].shape}'
      for row, part in zip(sources, parts)
      if part.shape != expected
    ]
    if not wrong:
      flat[path] = np.stack(parts) if is_stacked else parts[0]
  if wrong:
    raise ValueError(f'The weights contradict each other: {wrong}.')
  return encoder, traverse_util.unflatten_dict(flat, sep='/')


def to_torch(params: Params, depth: int) -> dict[str, np.ndarray]:
  """Converts parameters to a flat state in the published layout.

  Args:
    params: parameters of a `PixelEncoder`; 'blocks' are stacked, [L - 2, ...].
    depth: L, its number of layers.

  Returns:
    {key: array [...]} with keys for every layer, linear weights [out, in].
  """
  flat: Any = traverse_util.flatten_dict(dict(params), sep='/')
  state = {}
  for row in table(depth):
    value = np.asarray(flat[row.ours])
    value = value if row.layer is None else value[row.layer]
    if row.layout == 'flat':
      value = value.reshape((1,) * (3 - value.ndim) + value.shape)
    state[row.theirs] = value.T if row.layout == 'transposed' else value
  return state


def _linear(theirs: str, ours: str, layer: int | None = None) -> list[Row]:
  return [
    Row(f'{theirs}.weight', f'{ours}/kernel', layer, 'transposed'),
    Row(f'{theirs}.bias', f'{ours}/bias', layer),
  ]


def _norm(theirs: str, ours: str, layer: int | None = None) -> list[Row]:
  return [
    Row(f'{theirs}.weight', f'{ours}/scale', layer),
    Row(f'{theirs}.bias', f'{ours}/bias', layer),
  ]


def _encoder_state(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the entries of the encoder, under the newest names of its keys."""
  prefix = next((p for p in PREFIXES if p + _FIRST in state), None)
  if prefix is None:
    raise ValueError(
      f'No encoder of TimeSenCLIP is in these weights: {_FIRST} is missing, '
      f'also behind {PREFIXES[1:]}; keys start with {sorted(state)[:5]}.'
    )
  others = sorted(key for key in state if not key.startswith(prefix))
  if others:
    logging.warning(
      'Left out keys that do not belong to the encoder: %s.', others
    )
  encoder = {
    key.removeprefix(prefix): state[key]
    for key in state
    if key.startswith(prefix)
  }
  if _OLD_TOKEN in encoder:
    encoder['time_token'] = encoder.pop(_OLD_TOKEN)
  return encoder


def _sizes(state: Mapping[str, np.ndarray], num_heads: int) -> dict[str, Any]:
  """Returns the sizes of a `PixelEncoder` from the shapes of its state."""
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


def _shapes(encoder: pixel_encoder.PixelEncoder) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of an encoder's parameters, by path."""
  shapes = jax.eval_shape(
    lambda: pixel_encoder.init(encoder, jax.random.key(0))
  )
  flat: Any = traverse_util.flatten_dict(dict(shapes), sep='/')
  return {path: x.shape for path, x in flat.items()}


def _to_ours(value: np.ndarray, layout: str) -> np.ndarray:
  """Returns an array of the state in our layout, see `Row.layout`."""
  if layout == 'flat':
    return value.reshape([n for n in value.shape if n != 1] or [1])
  return value.T if layout == 'transposed' else value
