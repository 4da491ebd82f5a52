"""The tokenizer of elevations: digits, heights, relief."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.models import relief_tokenizer, tokenizer_costs

SMALL = dict(
  width=16,
  depth=1,
  num_heads=2,
  image_size=64,
  unet_width=8,
  unet_multipliers=(1, 2),
  unet_blocks=1,
  unet_attention=(2,),
  unet_groups=4,
  head_width=8,
)


@functools.cache
def small():
  """A tiny tokenizer with fresh parameters, and two images."""
  model = relief_tokenizer.ReliefTokenizer(1, **SMALL)
  rng = np.random.default_rng(0)
  images = (
    rng.uniform(-0.7, 3, size=(2, 1, 1, 1))
    + rng.normal(size=(2, 32, 48, 1)) * 0.01
  ).astype('f')
  params = jax.jit(model.init)(
    jax.random.key(0), images, images, jnp.zeros(2, int)
  )['params']
  return model, params, images


@functools.cache
def apply(method):
  model, params, _ = small()
  return jax.jit(
    functools.partial(model.apply, {'params': params}, method=method)
  )


@pytest.mark.slow
def test_a_fresh_model_gives_back_the_means_of_patches():
  model, params, images = small()
  ids = apply('encode')(images)
  assert ids.shape == (2, 2, 3) and ids.max() < 15_360
  found = model.apply(
    {'params': params}, ids, jax.random.key(0), 1, np.inf, method='decode'
  )
  means = images.reshape(2, 2, 16, 3, 16).mean((2, 4))
  found = found.reshape(2, 2, 16, 3, 16)
  assert np.ptp(found, axis=(2, 4)).max() < 1e-5
  assert np.abs(found.mean((2, 4)) - means).max() <= model.digits.step / 2 + (
    1e-5
  )


def test_relief_is_learned_at_any_height_alike():
  """Higher by whole steps, an image becomes the same relief, higher."""
  model, params, images = small()
  params = jax.tree.map(lambda x: x + 0.01, params)
  rise = 100 * model.digits.step
  call = jax.jit(
    lambda images: model.apply(
      {'params': params}, images, jnp.ones_like(images), jnp.array(999)
    )
  )
  low, high = call(images), call(images + rise)
  assert np.ptp(low[0, :16, :16]) > 1e-4
  np.testing.assert_allclose(high, low + rise, atol=2e-5)


def test_the_transformer_sees_what_the_digits_leave():
  model, _, images = small()
  flat = jnp.full_like(images, model.digits.round(jnp.array(0.3)))
  low, high, next_one = (
    apply('features')(flat + share * model.digits.step)
    for share in (-0.3, 0.3, 0.7)
  )
  assert np.abs(next_one - low).max() < 0.1 * np.abs(high - low).max()


@pytest.mark.slow
def test_gradient_reaches_every_part():
  model, params, images = small()
  params = jax.tree.map(lambda x: x + 0.01, params)
  grads = jax.jit(
    jax.grad(
      lambda p: jnp.mean(
        (
          model.apply({'params': p}, images, images, jnp.array([3, 999]))
          - images
        )
        ** 2
      )
    )
  )(params)
  for part in ('encoder', 'to_latents', 'decoder'):
    assert all(np.any(x) for x in jax.tree.leaves(grads[part]))


def test_products_are_at_least_what_is_counted():
  model, _, _ = small()
  model = model.clone(width=64)
  images = jax.ShapeDtypeStruct((1, 64, 64, 1), 'float32')
  t = jax.ShapeDtypeStruct((1,), 'int32')
  shapes = jax.eval_shape(model.init, jax.random.key(0), images, images, t)
  compiled = jax.jit(model.apply).lower(shapes, images, images, t).compile()
  ours = tokenizer_costs.training_flops(model, 1, 64, 64) / 3
  assert 0.6 < ours / compiled.cost_analysis()['flops'] < 1


def test_other_bands_raise():
  with pytest.raises(ValueError, match=r'\[B, Y, X, 1\].*one band'):
    apply('encode')(np.zeros((1, 32, 32, 2), 'f'))
