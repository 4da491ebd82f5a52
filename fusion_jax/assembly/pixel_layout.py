"""Pixel encoders of configurations, and the layouts of their parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fusion_jax.models import pixel_encoder
from fusion_jax.types import Params


def make(settings: Mapping[str, Any]) -> pixel_encoder.PixelEncoder:
  """Returns the encoder that a configuration describes.

  Args:
    settings: section `model` of the configuration: the attributes of
      `PixelEncoder`, where `dtype` is a name and `factored_first_layer` may be
      'auto', see `is_factored`.
  """
  fields = dict(settings)
  fields['dtype'] = jnp.dtype(fields['dtype'])
  fields['factored_first_layer'] = is_factored(fields['factored_first_layer'])
  return pixel_encoder.PixelEncoder(**fields)


def is_factored(setting: bool | str) -> bool:
  """Returns whether an encoder gets a factored first layer.

  'auto' factors on CPU only: there it is the faster way (a training step of
  the paper's size takes less time), while nobody has measured it on an
  accelerator, where narrow products can be the slower ones.

  Args:
    setting: `config.model.factored_first_layer`: True, False or 'auto'.

  Raises:
    ValueError: for any other setting.
  """
  if setting == 'auto':
    return jax.default_backend() == 'cpu'
  if not isinstance(setting, bool):
    raise ValueError(
      f'config.model.factored_first_layer={setting!r} is not one of True, '
      "False and 'auto'."
    )
  return setting


def upgrade_params(params: Params) -> Params:
  """Returns the parameters of an encoder in the layout of this version.

  Earlier versions stacked all layers but the last in 'blocks'. In this version
  the first layer has parameters of its own, 'first', and 'blocks' holds the
  layers between the first and the last.

  Args:
    params: parameters of a `PixelEncoder` in either layout. The arrays of
      'blocks' are [L - 1, ...] in the earlier one and [L - 2, ...] in this one.
  """
  if 'first' in params or 'blocks' not in params:  # One layer: only 'last'.
    return params
  upgraded = dict(params)
  blocks = upgraded.pop('blocks')
  upgraded['first'] = jax.tree.map(lambda stacked: stacked[0], blocks)
  if len(jax.tree.leaves(blocks)[0]) > 1:
    upgraded['blocks'] = jax.tree.map(lambda stacked: stacked[1:], blocks)
  return upgraded
