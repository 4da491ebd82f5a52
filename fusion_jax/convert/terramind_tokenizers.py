"""TerraMind's image tokenizers <-> our parameters, by one table.

Keys and layouts: terrastackai/terratorch, commit 85467a9,
`tokenizer/models/vit_models.py` and `tokenizer/models/unet`. Their states are
flat, with keys for every block; our parameters are nested, with the blocks of a
transformer stacked. They flatten the pixels of a patch with the channel as the
slowest axis, this package with the channel as the fastest one.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from fusion_jax.convert import layouts
from fusion_jax.models import image_tokenizer
from fusion_jax.nn import positions
from fusion_jax.types import Params

_HEAD_WIDTH = 64  # In all published tokenizers.
_POSITIONS = ('encoder.pos_emb', 'decoder.pos_emb')  # Fixed, so not converted.


def model_of(
  state: Mapping[str, Any], num_heads: int = 0
) -> image_tokenizer.Tokenizer:
  """Returns the tokenizer that a flat state belongs to.

  Args:
    state: {key: array, or an object with its `shape`}.
    num_heads: number of heads of its transformers; 0 for heads that are 64
      wide.

  Raises:
    ValueError: if the state belongs to no tokenizer, or `num_heads` is needed.
  """
  if 'encoder.proj.weight' not in state or 'quant_proj.weight' not in state:
    raise ValueError(
      'The keys belong to no image tokenizer, which has '
      f"'encoder.proj.weight': {sorted(state)[:10]}."
    )
  width, channels, *_ = layouts.shape_of(state, 'encoder.proj.weight', 4)
  if not num_heads and width % _HEAD_WIDTH:
    raise ValueError(f'A width of {width} is not published; give num_heads.')
  common: dict[str, Any] = dict(
    channels=channels,
    width=width,
    depth=_count(state, 'encoder.blocks'),
    num_heads=num_heads or width // _HEAD_WIDTH,
    image_size=image_tokenizer.PATCH
    * layouts.shape_of(state, 'encoder.pos_emb', 4)[-1],
  )
  if 'post_quant_proj.weight' in state:
    return image_tokenizer.ClassTokenizer(
      decoder_depth=_count(state, 'decoder.blocks'), **common
    )
  return image_tokenizer.ImageTokenizer(**common, **_unet(state))


def table(model: image_tokenizer.Tokenizer) -> list[layouts.Row]:
  """Returns the rows of a tokenizer, without the fixed positions."""
  rows = _weight_and_bias('encoder.proj', 'encoder/patches', 'patches', 0, ())
  rows += _transformer('encoder', 'encoder/transformer')
  rows += _linear('quant_proj', 'to_latents', ones=2)
  if isinstance(model, image_tokenizer.ImageTokenizer):
    return rows + _unet_table(model)
  rows += _linear('post_quant_proj', 'from_codes', ones=2)
  rows += _transformer('decoder', 'decoder/transformer')
  return rows + _linear(
    'decoder.out_proj',
    'decoder/pixels',
    pixels=(0, model.channels, image_tokenizer.PATCH),
  )


def from_terramind(
  state: Mapping[str, Any], model: image_tokenizer.Tokenizer
) -> Params:
  """Converts a flat state to our parameters.

  Args:
    state: {key: array [...]}; inside `jax.eval_shape` only shapes are checked.
    model: model of the state, see `model_of`.

  Returns:
    Nested dict of float32 arrays [...], NumPy arrays if the state has them.

  Raises:
    ValueError: if a key is missing or surplus, a shape is wrong, or a position
      table is not the fixed one. The message lists all of them.
  """
  expected = param_shapes(model)
  rows = [row for row in table(model) if row.ours in expected]
  missing = [
    f'(any for {path})'
    for path in sorted(set(expected) - {row.ours for row in rows})
  ]
  params, used, wrong = {}, set(), _wrong_positions(state, model)
  for row in rows:
    shape = expected[row.ours].shape
    keys = (
      [row.theirs.format(i) for i in range(shape[0])]
      if '{}' in row.theirs
      else [row.theirs]
    )
    used.update(keys)
    absent = [key for key in keys if key not in state]
    missing += absent
    one = shape[1:] if '{}' in row.theirs else shape
    layers = [
      _to_ours(key, state[key], row, one, wrong) for key in keys if key in state
    ]
    if not absent and not wrong:
      params[row.ours] = (
        layouts.stack(layers) if '{}' in row.theirs else layers[0]
      )
  surplus = sorted(set(state) - used - set(_positions(model)))
  missing += [key for key in _positions(model) if key not in state]
  if missing or surplus or wrong:
    raise ValueError(
      f'Weights do not fit the tokenizer. Missing keys: {sorted(missing)}. '
      f'Keys too many: {surplus}. Wrong: {wrong}.'
    )
  return traverse_util.unflatten_dict(params, sep='/')


def to_terramind(
  params: Params, model: image_tokenizer.Tokenizer
) -> dict[str, Any]:
  """Returns the flat state, {key: array}, of our nested parameters."""
  flat = traverse_util.flatten_dict(params, sep='/')
  state = {key: _position_table(model) for key in _positions(model)}
  for row in table(model):
    if row.ours not in flat:
      continue
    value = np.asarray(flat[row.ours])
    if '{}' not in row.theirs:
      state[row.theirs] = layouts.to_theirs(value, row)
      continue
    for layer, part in enumerate(value):
      state[row.theirs.format(layer)] = layouts.to_theirs(part, row)
  return state


def param_shapes(
  model: image_tokenizer.Tokenizer,
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shapes of a tokenizer's parameters, without making arrays."""
  side = 2 * image_tokenizer.PATCH
  images = jax.ShapeDtypeStruct((1, side, side, model.channels), jnp.float32)
  decoder_inputs = ()
  if isinstance(model, image_tokenizer.ImageTokenizer):
    side = max(side, model.unet.multiple)
    images = jax.ShapeDtypeStruct((1, side, side, model.channels), jnp.float32)
    decoder_inputs = images, jax.ShapeDtypeStruct((1,), jnp.int32)
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), images, *decoder_inputs
  )
  return cast(
    dict[str, jax.ShapeDtypeStruct],
    traverse_util.flatten_dict(shapes['params'], sep='/'),
  )


def _to_ours(key, value, row, shape, wrong):
  """Returns the array in our layout, and notes a wrong shape in `wrong`."""
  try:
    converted = layouts.to_ours(value, row)
  except (ValueError, TypeError, IndexError):  # It has another number of axes.
    wrong.append(f'{key} is {tuple(value.shape)}')
    return None
  if converted.shape != shape:
    wrong.append(
      f'{key} makes {row.ours} of {converted.shape}, should be {shape}'
    )
  return converted


def _transformer(theirs, ours):
  rows = _norm(f'{theirs}.norm_mlp', f'{ours}/post_norm')
  for name in ('fc1', 'fc2'):
    rows += _linear(f'{theirs}.post_mlp.{name}', f'{ours}/post/{name}')
  theirs, ours = f'{theirs}.blocks.{{}}', f'{ours}/blocks'
  for name in ('norm1', 'norm2'):
    rows += _norm(f'{theirs}.{name}', f'{ours}/{name}')
  for their, our in (
    ('attn.qkv', 'attention/qkv'),
    ('attn.proj', 'attention/out'),
    ('mlp.fc1', 'feed/fc1'),
    ('mlp.fc2', 'feed/fc2'),
  ):
    rows += _linear(f'{theirs}.{their}', f'{ours}/{our}')
  return rows


def _unet_table(model):
  pixels = (model.channels, model.unet.patch)
  rows = [
    *_linear('decoder.time_embed.0', 'decoder/time/fc1'),
    *_linear('decoder.time_embed.2', 'decoder/time/fc2'),
    *_norm('decoder.out.0', 'decoder/norm'),
    *_convolution('decoder.out.2', 'decoder/out', pixels=(0, *pixels)),
  ]
  names = {'input': 'input_blocks', 'output': 'output_blocks'}
  for place, blocks in model.unet.parts(len(model.levels)).items():
    for i, block in enumerate(blocks):
      theirs = f'{names[place]}.{i}' if place in names else 'middle_block'
      for j, part in enumerate(block):
        rows += _PARTS[part.kind](
          f'decoder.{theirs}.{j}', f'decoder/{place}_{i}_{j}'
        )
  first = 'decoder.input_blocks.0.0.weight'
  return [
    row._replace(pixels=(1, *pixels)) if row.theirs == first else row
    for row in rows
  ]


def _residual(theirs, ours):
  return [
    *_norm(f'{theirs}.in_layers.0', f'{ours}/norm1'),
    *_convolution(f'{theirs}.in_layers.2', f'{ours}/conv1'),
    *_linear(f'{theirs}.emb_layers.1', f'{ours}/time'),
    *_norm(f'{theirs}.out_layers.0', f'{ours}/norm2'),
    *_convolution(f'{theirs}.out_layers.3', f'{ours}/conv2'),
    *_linear(f'{theirs}.skip_connection', f'{ours}/direct', ones=2),
  ]


def _attention(theirs, ours):
  return [
    *_norm(f'{theirs}.norm', f'{ours}/norm'),
    *_linear(f'{theirs}.qkv', f'{ours}/qkv', ones=1),
    *_linear(f'{theirs}.proj_out', f'{ours}/out', ones=1),
  ]


def _convolution(theirs, ours, pixels=()):
  return _weight_and_bias(theirs, ours, 'convolution', 0, pixels)


def _linear(theirs, ours, ones=0, pixels=()):
  return _weight_and_bias(theirs, ours, 'linear', ones, pixels)


def _weight_and_bias(theirs, ours, *layout):
  bias = layouts.Row(f'{theirs}.bias', f'{ours}/bias', pixels=layout[-1])
  return [layouts.Row(f'{theirs}.weight', f'{ours}/kernel', *layout), bias]


def _norm(theirs, ours):
  return [
    layouts.Row(f'{theirs}.weight', f'{ours}/scale'),
    layouts.Row(f'{theirs}.bias', f'{ours}/bias'),
  ]


_PARTS = {  # Tables of parts of a UNet, by `unet.Part.kind`.
  'convolution': _convolution,
  'residual': _residual,
  'attention': _attention,
  'down': lambda theirs, ours: _convolution(f'{theirs}.op', ours),
  'up': lambda theirs, ours: _convolution(f'{theirs}.conv', ours),
}


def _positions(model):
  diffuses = isinstance(model, image_tokenizer.ImageTokenizer)
  return _POSITIONS[:1] if diffuses else _POSITIONS


def _position_table(model):
  """Returns the positions [1, D, rows, columns] in the layout of the state."""
  side = model.image_size // image_tokenizer.PATCH
  return positions.grid_table(side, side, model.width).T.reshape(
    1, model.width, side, side
  )


def _wrong_positions(state, model):
  """Returns messages about position tables that are not the fixed ones."""
  expected, wrong = _position_table(model), []
  for key in set(_positions(model)) & set(state):
    value = state[key]
    if value.shape != expected.shape:
      wrong.append(f'{key} is {tuple(value.shape)}, should be {expected.shape}')
    elif not isinstance(value, jax.core.Tracer) and not np.allclose(
      value, expected, rtol=0, atol=1e-4
    ):
      wrong.append(f'{key} has other values than the fixed table')
  return wrong


def _count(state, prefix):
  """Returns the number of blocks below a prefix."""
  pattern = re.compile(rf'{re.escape(prefix)}\.(\d+)\.')
  return 1 + max(
    (int(match.group(1)) for match in map(pattern.match, state) if match),
    default=-1,
  )


def _unet(state: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the settings of a UNet, from the shapes of its input blocks."""
  width, *_ = layouts.shape_of(state, 'decoder.input_blocks.0.0.weight', 4)
  multipliers, blocks, attention = [], 0, set()
  level, level_blocks = 0, 0
  for i in range(1, _count(state, 'decoder.input_blocks')):
    block = f'decoder.input_blocks.{i}'
    if f'{block}.0.op.weight' in state:
      level, level_blocks = level + 1, 0
      continue
    level_blocks += 1
    blocks = max(blocks, level_blocks)
    key = f'{block}.0.in_layers.2.weight'
    features, *_ = layouts.shape_of(state, key, 4)
    if features % width:
      raise ValueError(
        f'{key} makes {features} channels, no multiple of the '
        f'{width} of the first convolution.'
      )
    multipliers[level:] = [features // width]
    if f'{block}.1.qkv.weight' in state:
      attention.add(2**level)
  return dict(
    unet_width=width,
    unet_multipliers=tuple(multipliers),
    unet_blocks=blocks,
    unet_attention=tuple(sorted(attention)),
  )
