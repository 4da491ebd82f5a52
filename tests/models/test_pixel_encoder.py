"""The pixel encoder against recorded outputs, and what masks mean."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.convert import timesenclip
from fusion_jax.ops import calendar
from tests import golden_timesenclip as golden

BOTH = pytest.mark.parametrize('name', golden.ENCODERS)
near = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5)


def run(name, key='in/x12', keep=None, **settings):
  """The output of a converted encoder on an input of its file."""
  encoder, params = golden.converted(name)
  arguments = {k: settings.pop(k) for k in ('months', 'median')
               if k in settings}
  arrays = golden.load(name)[1]
  pixels = arrays[key] if isinstance(key, str) else key
  if isinstance(keep, str):
    keep = arrays[keep][None] > 0
  return jitted(encoder.clone(**settings))(params, pixels, keep, **arguments)


@functools.cache
def jitted(encoder):
  return jax.jit(lambda params, *args, **kwargs: encoder.apply(
      {'params': params}, *args, **kwargs))


@BOTH
@pytest.mark.parametrize('out,key,keep,settings', [
    ('T12', 'in/x12', None, {}),
    ('T4', 'in/x4_median3', None, {}),
    ('T1_pos_mean', 'in/x1_median12', None, {}),
    ('T1_pos_first', 'in/x1_median12', None, {'single': 'first'}),
    ('T12_gelu_variant', 'in/x12', None, {'activation': 'gelu'}),
    ('keep0_ownpos', 'in/x12', 'in/keep_mask0', {}),
    ('keep1_ownpos', 'in/x12', 'in/keep_mask1', {}),
    ('keep2_ownpos', 'in/x12', 'in/keep_mask2', {}),
    ('keep0_firstkpos', 'in/x12', 'in/keep_mask0', {'kept': 'first'}),
    ('keep1_firstkpos', 'in/x12', 'in/keep_mask1', {'kept': 'first'}),
    ('keep2_firstkpos', 'in/x12', 'in/keep_mask2', {'kept': 'first'}),
    ('keep_single_meanpos', 'in/x12', 'in/keep_mask_single', {}),
    ('quarter456_ownpos', 'in/x12', 'in/quarter_mask', {})])
def test_output_is_the_references(name, out, key, keep, settings):
  expected = golden.load(name)[1][f'out/{out}']
  near(run(name, key, keep, **settings), expected)


@BOTH
def test_median_of_the_tokens_is_the_references(name):
  arrays = golden.load(name)[1]
  near(run(name, median=np.ones(1, bool)), arrays['out/tokmedian_meanpos'])


@BOTH
def test_bands_at_zero_give_the_references_output(name):
  arrays = golden.load(name)[1]
  bands = arrays['in/band_mask'][None, None, :, None, None]
  near(run(name, arrays['in/x12'] * bands), arrays['out/bandzero_T12'])


@BOTH
def test_every_token_of_every_layer_is_the_references(name):
  encoder, params = golden.converted(name)
  arrays = golden.load(name)[1]
  apply = functools.partial(encoder.apply, {'params': params}, arrays['in/x12'])
  near(apply(method='sequence')[0], arrays['mid/sequence12'])
  layers = apply(method='layers')
  for i, layer in enumerate(layers):
    near(layer, arrays[f'mid/layer{i}_out12'])
  assert len(layers) == 2


def test_gradients_are_the_references():
  encoder, params = golden.converted('encoder_tiny_1x1')
  arrays = golden.load('encoder_tiny_1x1')[1]

  def score(params):
    found = encoder.apply({'params': params}, arrays['in/x12'])
    unit = found / jnp.linalg.norm(found, axis=-1, keepdims=True)
    return jnp.sum(unit * arrays['in/cotangent']), unit

  grads, unit = jax.jit(jax.grad(score, has_aux=True))(params)
  near(unit, arrays['out/T12_l2norm'])
  found = timesenclip.to_torch(grads, encoder.depth)
  expected = golden.below(arrays, 'grad/')
  assert found.keys() == expected.keys()
  for key, value in expected.items():
    error = np.abs(found[key] - value).max() / np.abs(value).max()
    assert error < 1e-4, (key, error)


def test_medians_of_inputs_are_the_references():
  for name in golden.ENCODERS:
    arrays = golden.load(name)[1]
    valid = np.ones(arrays['in/x12'].shape[:2], bool)
    for setting, key in (('quarterly', 'x4_median3'), ('single',
                                                       'x1_median12')):
      found, known = calendar.summarise(arrays['in/x12'], valid, setting)
      np.testing.assert_array_equal(found, arrays[f'in/{key}'])
      assert known.all()
