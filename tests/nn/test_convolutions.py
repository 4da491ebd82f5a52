"""Convolutions against JAX's own, group normalisation against its formula."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn import convolutions

near = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5)


def random(*shape):
  return np.random.default_rng(0).normal(size=shape).astype('f')


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('min_channels', [1, 256])
def test_convolution_is_the_same_either_way(monkeypatch, stride, min_channels):
  monkeypatch.setattr(convolutions, 'GATHER_CHANNELS', min_channels)
  images = random(2, 4, 6, 3)
  module = convolutions.Convolution(5, stride)
  params = module.init(jax.random.key(0), images)['params']
  expected = (
    jax.lax.conv_general_dilated(
      images,
      params['kernel'],
      (stride, stride),
      ((1, 1), (1, 1)),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    + params['bias'][None, None, None]
  )
  near(module.apply({'params': params}, images), expected)


def test_gathered_and_plain_convolutions_have_the_same_gradients():
  images, kernel = random(2, 6, 6, 3), random(3, 3, 3, 4)

  def total(convolve, images, kernel):
    return jnp.sum(convolve(images, kernel, 2) ** 2)

  pairs = [
    jax.grad(total, (1, 2))(convolve, images, kernel)
    for convolve in (convolutions._as_product, convolutions._as_convolution)
  ]
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4), *pairs)


def test_groups_are_normalised_over_the_whole_image():
  images = random(2, 5, 7, 8) * 3 + 2
  module = convolutions.GroupNorm(4)
  params = {'scale': random(8), 'bias': random(8)[::-1]}
  groups = images.reshape(2, 35, 4, 2)
  centred = groups - groups.mean((1, 3), keepdims=True)
  expected = centred / np.sqrt((centred**2).mean((1, 3), keepdims=True) + 1e-5)
  expected = expected.reshape(images.shape) * params['scale'] + params['bias']
  near(module.apply({'params': params}, images), expected)


def test_channels_that_do_not_group_raise():
  with pytest.raises(ValueError, match='6 channels do not divide into 4'):
    convolutions.GroupNorm(4).init(jax.random.key(0), jnp.zeros((1, 2, 2, 6)))


def test_weights_start_uniform_within_the_root_of_their_inputs():
  params = convolutions.Convolution(64).init(
    jax.random.key(0), jnp.zeros((1, 4, 4, 16))
  )['params']
  for value in params.values():
    assert 0.9 / 12 < np.abs(value).max() <= 1 / 12  # sqrt(9 * 16) = 12.
  zero = convolutions.Projection(3, zero=True).init(
    jax.random.key(0), jnp.zeros((1, 4))
  )['params']
  assert not any(np.any(value) for value in zero.values())
