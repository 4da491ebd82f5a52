"""Image tokenizers: shapes, gradients, sampling, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.models import image_tokenizer
from fusion_jax.nn import unet

SMALL = dict(width=16, depth=2, num_heads=2, image_size=64)
SMALL_UNET = dict(
  unet_width=8,
  unet_multipliers=(1, 2),
  unet_blocks=1,
  unet_attention=(2,),
  unet_groups=4,
)
CODED = [m for m in modalities.MODALITIES.values() if m.kind == 'tokens']


@functools.cache
def small(dtype=jnp.float32):
  """A tiny tokenizer of two channels, its parameters, two images."""
  model = image_tokenizer.make('S1GRD').clone(
    **SMALL, **SMALL_UNET, dtype=dtype
  )
  images = np.random.default_rng(0).normal(size=(2, 32, 48, 2)).astype('f')
  params = jax.jit(model.init)(
    jax.random.key(0), images, images, jnp.zeros(2, int)
  )['params']
  # The last convolution starts at zero, and with it every output.
  params['decoder']['out']['kernel'] += 0.1
  return model, params, images


@functools.cache
def compiled(method, **static):
  model, params, _ = small()
  call = jax.jit(functools.partial(model.apply, method=method, **static))
  return functools.partial(call, {'params': params})


@pytest.mark.parametrize('modality', CODED, ids=lambda m: m.field)
def test_every_tokenised_modality_has_a_tokenizer_of_its_codes(modality):
  model = image_tokenizer.make(modality.name)
  assert model.fsq.num_codes == modality.vocab_size
  if modality.field != 'LULC':
    assert model.channels == len(modality.bands)
  small_one = image_tokenizer.make(modality.field).clone(**SMALL)
  images = jax.ShapeDtypeStruct((1, 32, 32, small_one.channels), 'float32')
  ids, _ = jax.eval_shape(
    functools.partial(small_one.init_with_output, method='encode'),
    jax.random.key(0),
    images,
  )
  assert ids.shape == (1, 2, 2)


def test_published_sizes_have_their_parameters():
  millions = {'S2L2A': 289.29, 'S1GRD': 286.59, 'DEM': 286.32, 'LULC': 183.89}
  for name, expected in millions.items():
    model = image_tokenizer.make(name)
    images = jax.ShapeDtypeStruct((1, 32, 32, model.channels), 'float32')
    noisy = (
      () if name == 'LULC' else (images, jax.ShapeDtypeStruct((1,), 'int32'))
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), images, *noisy)
    tables = (2 if name == 'LULC' else 1) * 256 * 768  # Fixed positions.
    count = sum(x.size for x in jax.tree.leaves(shapes)) + tables
    assert abs(count / 1e6 - expected) < 0.01, name


def test_modalities_without_codes_have_no_tokenizer():
  with pytest.raises(ValueError, match='has no image tokenizer'):
    image_tokenizer.make('coords')


@pytest.mark.slow
def test_gradient_reaches_the_encoder_through_the_codes():
  model, params, images = small()
  noise = np.random.default_rng(1).normal(size=images.shape)
  noisy, t = (images + noise).astype('f'), jnp.array([100, 900])

  @jax.jit
  def gradients(params):
    return jax.grad(
      lambda params: jnp.mean(
        (model.apply({'params': params}, images, noisy, t) - images) ** 2
      )
    )(params)

  flat = jax.tree_util.tree_leaves_with_path(gradients(params))
  encoder = [x for path, x in flat if path[0].key != 'decoder']
  assert encoder and all(np.any(x) for x in encoder)


def test_decoding_draws_from_its_key_and_clips_where_told():
  ids = jnp.arange(6).reshape(1, 2, 3)
  decode = functools.partial(compiled('decode', num_steps=2), ids)
  images = decode(jax.random.key(0), clip=1.0)
  assert images.shape == (1, 32, 48, 2) and images.dtype == jnp.float32
  np.testing.assert_array_equal(images, decode(jax.random.key(0), clip=1.0))
  assert np.any(images != decode(jax.random.key(1), clip=1.0))
  assert np.abs(images).max() == 1
  assert np.abs(decode(jax.random.key(0), clip=np.inf)).max() > 1


def test_one_step_of_sampling_is_one_prediction():
  model, params, _ = small()
  codes = model.fsq.from_indices(np.arange(6).reshape(1, 2, 3))
  start = np.random.default_rng(0).normal(size=(1, 32, 48, 2)).astype('f')
  images = compiled('sample', num_steps=1)(codes, start, clip=np.inf)
  denoise = functools.partial(compiled('denoise'), start, jnp.array([999]))
  keep = np.zeros((1, 2, 3), bool)
  clean = denoise(codes, keep)
  np.testing.assert_allclose(images, clean, rtol=0, atol=1e-5)
  dropped = denoise(codes, ~keep)
  nothing = denoise(codes * 0, keep)
  np.testing.assert_allclose(dropped, nothing, rtol=0, atol=1e-6)
  assert np.abs(dropped - clean).max() > 1e-3


def test_sampling_without_a_step_raises():
  model, params, images = small()
  codes = model.fsq.from_indices(np.arange(6).reshape(1, 2, 3))
  with pytest.raises(ValueError, match='num_steps=0 is not in 1..1000'):
    model.apply({'params': params}, codes, images, 0, method='sample')


@pytest.mark.slow
def test_bfloat16_stays_close_to_float32():
  _, params, images = small()
  half, _, _ = small(jnp.bfloat16)
  t = jnp.array([10, 900])
  results = [
    jax.jit(model.apply)({'params': params}, images, images, t)
    for model in (small()[0], half)
  ]
  assert results[1].dtype == jnp.float32
  assert 0 < np.abs(results[0] - results[1]).max() < 0.1
  ids = jax.jit(functools.partial(half.apply, method='encode'))(
    {'params': params}, images
  )
  assert ids.dtype == jnp.int32


def test_blocks_with_parameters_of_their_own_give_the_same_ids():
  model, params, images = small()
  alone, apart = model.unstacked(params)
  features = [
    jax.jit(functools.partial(m.apply, method='features'))(
      {'params': p}, images
    )
    for m, p in ((model, params), (alone, apart))
  ]
  np.testing.assert_allclose(*features, rtol=0, atol=1e-5)
  shapes = jax.eval_shape(
    alone.init, jax.random.key(0), images, images, jnp.zeros(2, int)
  )
  assert jax.tree.map(jnp.shape, apart) == jax.tree.map(
    jnp.shape, shapes['params']
  )


def test_class_maps_become_logits():
  model = image_tokenizer.make('LULC').clone(**SMALL, decoder_depth=1)
  classes = jnp.arange(2 * 32 * 16).reshape(2, 32, 16) % 10
  params = jax.jit(model.init)(jax.random.key(0), classes)['params']
  apply = functools.partial(model.apply, {'params': params})
  logits = jax.jit(apply)(classes)
  assert logits.shape == (2, 32, 16, 10) and logits.dtype == jnp.float32
  ids = apply(classes, method='encode')
  assert ids.shape == (2, 2, 1)
  np.testing.assert_allclose(apply(ids, method='decode'), logits, atol=1e-5)
  none = apply(jnp.full((1, 16, 16), 255), method='features')
  blank = apply(jnp.zeros((1, 16, 16, 10)), method='features')
  np.testing.assert_allclose(none, blank, atol=1e-6)


def check_raises(message, method, *args):
  model, params, _ = small()
  with pytest.raises(ValueError, match=message):
    model.apply({'params': params}, *args, method=method)


def test_sides_that_do_not_divide_raise():
  check_raises(
    '30 x 32 pixels do not divide', 'encode', np.zeros((1, 30, 32, 2))
  )
  model = image_tokenizer.make('DEM').clone(
    **SMALL, unet_width=32, unet_blocks=1
  )
  with pytest.raises(
    ValueError, match='48 x 64 pixels must be multiples of 32'
  ):
    jax.eval_shape(
      functools.partial(model.init, method='decode'),
      jax.random.key(0),
      jax.ShapeDtypeStruct((1, 3, 4), 'int32'),
      jax.random.key(0),
    )


def test_channels_in_the_wrong_number_raise():
  check_raises(r'must be \[B, Y, X, 2\]', 'encode', np.zeros((1, 32, 32, 3)))
  check_raises(r'must be \[B, Y, X, 2\]', 'encode', np.zeros((32, 32, 2)))


def test_ids_outside_the_vocabulary_raise():
  for ids in (15_360, -1):
    check_raises(
      'have ids 0..15359', 'decode', np.full((1, 2, 2), ids), jax.random.key(0)
    )
  model = image_tokenizer.make('LULC').clone(**SMALL)
  with pytest.raises(ValueError, match='have ids 0..4374'):
    model.init(jax.random.key(0), np.full((1, 2, 2), 4_375), method='decode')


def test_a_layout_takes_every_skip_connection_once():
  parts = unet.layout(197, 256, (1, 2, 2, 2), 3, (4, 8))
  assert len(parts['input']) == len(parts['output']) == 16
  inputs = [block[0].inputs for block in parts['output']]
  assert inputs == [1024] * 11 + [768, 768, 512, 512, 512]
  with_attention = [
    i
    for i, block in enumerate(parts['input'])
    if any(part.kind == 'attention' for part in block)
  ]
  assert with_attention == [9, 10, 11, 13, 14, 15]
  assert [
    i for i, block in enumerate(parts['output']) if block[-1].kind == 'up'
  ] == [3, 7, 11]
