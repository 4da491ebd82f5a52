"""FLOPs of the tokenizers against published counts and against XLA's."""

import functools

import jax
import numpy as np
import pytest

from fusion_jax.models import image_tokenizer, tokenizer_costs


@pytest.mark.parametrize(
  'name, encode, step', [('DEM', 36.6, 189), ('S2L2A', 37.5, 194)]
)
def test_published_sizes_cost_what_was_counted(name, encode, step):
  model = image_tokenizer.make(name)
  np.testing.assert_allclose(
    tokenizer_costs.encoding_flops(model, 224, 224) / 1e9, encode, rtol=5e-3
  )
  np.testing.assert_allclose(
    tokenizer_costs.denoising_flops(model, 224, 224) / 1e9, step, rtol=5e-3
  )
  lulc = image_tokenizer.make('LULC')
  np.testing.assert_allclose(
    tokenizer_costs.decoding_flops(lulc, 224, 224) / 1e9, 37.3, rtol=5e-3
  )


def test_products_are_what_the_compiler_counts():
  model = image_tokenizer.make('DEM').clone(
    width=32,
    depth=1,
    num_heads=2,
    unet_width=32,
    unet_blocks=1,
    unet_multipliers=(1, 2),
    unet_attention=(2,),
  )
  images = jax.ShapeDtypeStruct((1, 128, 128, 1), 'float32')
  t = jax.ShapeDtypeStruct((1,), 'int32')
  shapes = jax.eval_shape(model.init, jax.random.key(0), images, images, t)
  compiled = jax.jit(model.apply).lower(shapes, images, images, t).compile()
  counted = compiled.cost_analysis()['flops']
  ours = tokenizer_costs.training_flops(model, 1, 128, 128) / 3
  assert 0.8 < ours / counted <= 1.05  # It counts additions of norms as well.


def test_training_costs_three_passes_an_image():
  cost = functools.partial(
    tokenizer_costs.training_flops, image_tokenizer.make('LULC')
  )
  assert cost(4, 32, 32) == 4 * cost(1, 32, 32)
