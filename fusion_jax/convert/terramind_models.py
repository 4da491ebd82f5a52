"""Describes the models of a TerraMind file, by their keys and shapes.

Keys: terrastackai/terratorch, commit 85467a9. The parts of a file are those of
`terramind_files.parts`.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from fusion_jax import modalities as modality_table
from fusion_jax.convert import (
  layouts,
  published,
  terramind,
  terramind_tokenizers,
)
from fusion_jax.convert.terramind_files import Part
from fusion_jax.models import backbone, encoder, image_tokenizer
from fusion_jax.types import Params

_HEAD_WIDTH = 64  # Width of the heads of all variants.
# Two components as in 4M's `mix_mod7_all2all_rgb2all_a0.5`; () where the model
# has no embedding on that side.
_RAW = (1000.0, 0.5)
_ANY = (0.0, 0.5)
_TARGET = (0.5, 0.5)


def describe(
  part: Part, *, variant: str = '', num_heads: int = 0
) -> dict[str, Any]:
  """Returns the configuration of a backbone or an encoder.

  Args:
    part: part of the file with the model.
    variant: expected variant, a key of `published.VARIANTS`; '' accepts any.
    num_heads: number of heads of a model that has no published size; 0 for
      heads that are 64 wide.

  Returns:
    A JSON-like dict with 'task', 'model' and all other settings that the model
    needs, see `configs/pretrain.py`.

  Raises:
    ValueError: if a modality is unknown, or `num_heads` is needed.
  """
  state = part.state
  sizes = published.VARIANTS[variant] if variant else _sizes(state, num_heads)
  if part.kind == 'encoder':
    sizes = dict(sizes, depth=sizes['encoder_depth'])
    del sizes['encoder_depth'], sizes['decoder_depth']
  table = 'encoder_embeddings.coords.token_emb.weight'
  common = dict(
    name=_name(sizes, part.kind),
    seed=0,
    image_size=_image_size(state),
    coords_vocab_size=(
      layouts.shape_of(state, table, 2)[0] if table in state else 30_000
    ),
    standardise='terramind',
  )
  sides = _sides(state)
  if part.kind == 'encoder':
    merge = 'concat' if 'missing_mod_token' in state else 'mean'
    return common | dict(
      task='encoder',
      modalities=sorted(sides),
      merge=merge,
      model=dict(sizes, dtype='float32', unroll=1),
    )
  return common | dict(
    task='pretrain',
    batch_size=1,
    slots=dict(encoder=128, decoder=128),
    modalities={name: _alphas(name, *side) for name, side in sides.items()},
    mixture=(0.5, 0.5),
    keep='random',
    word_dropout=0.0,
    quantizer='uniform',
    init_from='',
    init_new=(),
    init_without=(),
    series_codes=(),
    num_series_codes=4_096,
    model=dict(sizes, dtype='float32', unroll=1, remat=False),
    loss=dict(weighting='mod', emd_weight=1.0),
  )


def describe_tokenizer(
  part: Part, name: str, *, num_heads: int = 0
) -> tuple[dict[str, Any], image_tokenizer.Tokenizer]:
  """Returns the configuration and the model of an image tokenizer.

  Args:
    part: part of the file with the tokenizer.
    name: name of its modality, a key or one of `TOKENISED`; '' if its number of
      channels is enough.
    num_heads: number of heads of a model that has no published size; 0 for
      heads that are 64 wide.

  Returns:
    A JSON-like dict with the settings of `configs/image_tokenizer.py` that the
    use of the tokenizer needs; and the model.

  Raises:
    ValueError: if the modality is unknown or does not fit.
  """
  model = _tokenizer(part.state, name, num_heads)
  classes = isinstance(model, image_tokenizer.ClassTokenizer)
  name = name or ('LULC' if classes else {12: 'S2L2A'}.get(model.channels, ''))
  if not name:
    raise ValueError(
      f'Several modalities have {model.channels} channels; tell which with '
      f'--modality, one of {", ".join(published.TOKENISED)}.'
    )
  modality = modality_table.get(name, role='target')
  expected = (
    image_tokenizer.NUM_CLASSES
    if modality.field == 'LULC'
    else len(modality.bands)
  )
  if model.channels != expected or classes != (modality.field == 'LULC'):
    raise ValueError(
      f'The tokenizer has {model.channels} channels'
      f'{" of classes" * classes}, that of {modality.field} {expected}; it is '
      'of another modality.'
    )
  settings = {
    field.name: getattr(model, field.name)
    for field in dataclasses.fields(model)
    if field.name not in ('channels', 'dtype', 'parent', 'name')
  }
  config = dict(
    name=f'terramind_tokenizer_{modality.field}',
    task='image_tokenizer',
    seed=0,
    modality=modality.field,
    image_size=224,
    start='random',
    standards=dict(mean=modality.mean, std=modality.std),
    model=dict(settings, dtype='float32'),
    data=dict(holdout='split'),
  )
  return config, model


def _tokenizer(state, name, num_heads):
  """Returns the tokenizer of a state; the published one without all sizes."""
  try:
    if 'encoder.proj.weight' not in state or 'quant_proj.weight' not in state:
      raise KeyError('encoder.proj.weight and quant_proj.weight')
    return terramind_tokenizers.model_of(state, num_heads)
  except KeyError as error:
    if name:  # Comparing with it lists what is missing.
      return image_tokenizer.make(name)
    raise ValueError(
      'The size of the tokenizer cannot be derived without '
      f'{error}; name it with --modality.'
    ) from error


def rows_and_shapes(
  model: backbone.Backbone | encoder.Encoder,
) -> tuple[list[terramind.Row], Params]:
  """Returns the conversion table of a model, and its parameters.

  Returns:
    `terramind.Row`s; nested dict of shapes. No array is made.
  """
  settings: dict[str, Any] = dict(use_bias=model.use_bias, mlp=model.mlp)
  if isinstance(model, backbone.Backbone):
    rows = terramind.backbone_table(model.modalities, **settings)
    return rows, backbone.param_shapes(model)
  rows = terramind.encoder_table(
    model.modalities, missing_token=model.merge == 'concat', **settings
  )
  return rows, encoder.param_shapes(model)


def _sizes(state, num_heads):
  """Returns width, depths and MLP of a state, even if it lacks some keys."""
  width = next(
    (
      layouts.shape_of(state, key, axes)[-1]
      for key, axes in (
        ('encoder_norm.weight', 1),
        ('encoder.0.norm1.weight', 1),
        ('mask_token', 3),
      )
      if key in state
    ),
    0,
  )
  depths = [
    1
    + max(
      (
        int(key.split('.')[1])
        for key in state
        if re.match(rf'{side}\.\d+\.', key)
      ),
      default=-1,
    )
    for side in ('encoder', 'decoder')
  ]
  sizes = dict(
    width=width,
    encoder_depth=depths[0],
    decoder_depth=depths[1],
    num_heads=num_heads or width // _HEAD_WIDTH,
    mlp='swiglu' if any('.mlp.fc3.' in key for key in state) else 'gelu',
    use_bias=any(key.endswith('.qkv.bias') for key in state),
  )
  if not num_heads and (width % _HEAD_WIDTH or not width):
    raise ValueError(
      f'The width {width} is of no published model ({_widths()}); give the '
      'number of its heads with --num-heads.'
    )
  return sizes


def _widths() -> str:
  return ', '.join(
    f'{name} {sizes["width"]}' for name, sizes in published.VARIANTS.items()
  )


def _name(sizes, kind):
  """Returns the name of the published size, such as 'terramind_tiny'."""
  for name, known in published.VARIANTS.items():
    if all(known.get(key, value) == value for key, value in sizes.items()):
      return f'terramind_{name}' + '_encoder' * (kind == 'encoder')
  return f'terramind_{sizes["width"]}_{kind}'


def _image_size(state: Mapping[str, Any]) -> int:
  rows = [
    layouts.shape_of(state, key, 3)[1]
    for key in state
    if key.endswith('.pos_emb') and '@' in key
  ]
  return modality_table.PATCH * math.isqrt(rows[0]) if rows else 224


def _sides(state: Mapping[str, Any]) -> dict[str, tuple[bool, bool]]:
  """Returns {modality: (seen, predicted)}, sorted by name."""
  names_by_side = {
    side: {
      key.split('.')[1]
      for key in state
      if key.startswith(f'{side}_embeddings.')
    }
    for side in ('encoder', 'decoder')
  }
  names = sorted(names_by_side['encoder'] | names_by_side['decoder'])
  known = {
    m.name for m in modality_table.MODALITIES.values() if m.kind != 'series'
  }
  unknown = sorted(set(names) - known)
  if unknown:
    raise ValueError(
      f'The file has the modalities {unknown}, which TerraMind v1 does not '
      f'have; known are {sorted(known)}.'
    )
  return {
    name: (name in names_by_side['encoder'], name in names_by_side['decoder'])
    for name in names
  }


def _alphas(
  name: str, seen: bool, predicted: bool
) -> dict[str, tuple[float, ...]]:
  raw = modality_table.MODALITIES[name].kind == 'image'
  return dict(
    input_alphas=(_RAW if raw else _ANY) if seen else (),
    target_alphas=((0.0, 0.0) if raw else _TARGET if predicted else ()),
  )
