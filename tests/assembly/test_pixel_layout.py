"""Which first layer a pixel encoder gets, and parameters of earlier layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.assembly import pixel_layout
from fusion_jax.configs import align_pixels
from tests import golden_timesenclip as golden


def earlier_layout(params):
  """Parameters as stored when all layers but the last were one stack."""
  params = dict(params)
  first = jax.tree.map(lambda x: np.asarray(x)[None], params.pop('first'))
  if 'blocks' not in params:
    return params | {'blocks': first}
  return params | {
    'blocks': jax.tree.map(
      lambda *parts: np.concatenate(parts), first, params['blocks']
    )
  }


@pytest.mark.parametrize('depth', [2, 4])
def test_parameters_of_the_earlier_layout_are_converted(depth):
  params = golden.init(golden.tiny_encoder(depth=depth))
  stored = earlier_layout(params)
  assert len(stored['blocks']['norm1']['bias']) == depth - 1
  upgraded = pixel_layout.upgrade_params(stored)
  jax.tree.map(np.testing.assert_array_equal, upgraded, params)
  assert 'first' not in stored  # The argument is not changed.


@pytest.mark.parametrize('depth', [1, 2, 4])
def test_parameters_of_this_layout_stay_as_they_are(depth):
  params = golden.init(golden.tiny_encoder(depth=depth))
  assert pixel_layout.upgrade_params(params) is params


def test_only_the_cpu_gets_a_factored_first_layer_by_default(monkeypatch):
  settings = align_pixels.get_config().model
  assert settings.factored_first_layer == 'auto'
  assert pixel_layout.make(settings).factored_first_layer
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  encoder = pixel_layout.make(settings)
  assert not encoder.factored_first_layer
  assert encoder.dtype == jnp.float32


@pytest.mark.parametrize('factored', [True, False])
def test_the_first_layer_can_be_chosen(factored):
  settings = align_pixels.get_config().model
  with settings.ignore_type():
    settings.factored_first_layer = factored
  assert pixel_layout.make(settings).factored_first_layer == factored


def test_another_choice_of_the_first_layer_is_an_error():
  with pytest.raises(ValueError, match="'yes' is not one of True, False"):
    pixel_layout.is_factored('yes')
