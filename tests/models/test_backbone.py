"""What the encoder-decoder does: invariances, sizes, decoding, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import modalities as modality_table
from fusion_jax.models import backbone
from tests import golden_terramind as golden

BOTH = pytest.mark.parametrize('family', golden.FAMILIES)
SIZES = {  # width, encoder, decoder, heads, mlp, bias; millions of parameters.
  'tiny': (192, 12, 4, 3, 'gelu', True, 52.06),
  'small': (384, 12, 6, 6, 'gelu', True, 124.26),
  'base': (768, 12, 12, 12, 'swiglu', False, 376.09),
  'large': (1024, 24, 24, 16, 'swiglu', False, 942.10),
}
V1 = [
  name for name, m in modality_table.MODALITIES.items() if m.kind != 'series'
]


@pytest.mark.slow
def test_unrolled_layers_give_the_same_gradients():
  _, model, batch, params = golden.converted('gelu')
  _, (expected, _) = golden.gradients(model, params, batch)
  _, (grads, _) = golden.gradients(model.clone(unroll=3), params, batch)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), grads, expected
  )


@pytest.mark.slow
def test_recomputed_layers_give_the_same_gradients_in_less_memory():
  _, model, batch, params = golden.converted('gelu')
  model = model.clone(dtype=jnp.float32)
  wide = jax.tree.map(lambda x: np.repeat(x, 16, axis=0), batch)
  grads, temporaries = [], []
  for remat in (False, True):
    variant = model.clone(remat=remat)
    grads.append(golden.gradients(variant, params, batch)[1][0])

    def loss(params, batch, variant=variant):
      return jnp.sum(variant.apply({'params': params}, batch) ** 2)

    compiled = jax.jit(jax.grad(loss)).lower(params, wide).compile()
    temporaries.append(compiled.memory_analysis().temp_size_in_bytes)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), *grads)
  assert temporaries[1] < 0.8 * temporaries[0]


@BOTH
def test_hidden_tokens_do_not_change_the_loss(family):
  _, model, batch, params = golden.converted(family)
  _, (_, grads) = golden.gradients(model, params, batch)
  (by_pixel,) = map(np.asarray, grads.values())
  hidden = np.asarray(batch['encoder']['modality'] < 0)
  assert hidden.any()
  assert np.all(by_pixel[hidden] == 0)
  assert np.abs(by_pixel[~hidden]).max() > 0


def test_padding_row_gets_no_gradient_from_look_ups():
  case, model, batch, params = golden.converted('gelu')
  encoder = batch['encoder']
  index = [m.name for m in case.modalities].index('demo_seq')
  code = np.where(encoder['modality'] == index, 0, encoder['code'])
  _, (grads, _) = golden.gradients(
    model, params, batch | {'encoder': encoder | {'code': code}}
  )
  assert np.all(grads['encoder_embeddings']['demo_seq'][0] == 0)
  assert np.any(grads['modality_embeddings']['demo_seq'] != 0)


@pytest.mark.parametrize(
  'size',
  [
    'tiny',
    'base',
    *(
      pytest.param(size, marks=pytest.mark.slow) for size in ('small', 'large')
    ),
  ],
)
def test_number_of_parameters_is_the_references(size):
  width, encoder, decoder, heads, mlp, bias, millions = SIZES[size]
  model = backbone.Backbone(
    modality_table.select(V1), width, encoder, decoder, heads, mlp, bias
  )
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), shaped_batch(model, 1)
  )['params']
  total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert round(total / 1e6, 2) == millions


def shaped_batch(model, batch_size, slots=128):
  """`ShapeDtypeStruct`s of a batch."""
  ints = jax.ShapeDtypeStruct((batch_size, slots), jnp.int32)
  keys = ('modality', 'position', 'code')
  patches = {
    m.name: jax.ShapeDtypeStruct(
      (batch_size, slots, 256 * len(m.bands)), jnp.float32
    )
    for m in model.modalities
    if m.kind == 'image'
  }
  return {
    'encoder': dict.fromkeys(keys, ints) | {'patches': patches},
    'decoder': dict.fromkeys((*keys, 'target', 'attention'), ints)
    | {'trainable': jax.ShapeDtypeStruct((batch_size, slots), jnp.bool_)},
  }


def test_initialisation_is_the_references():
  model = backbone.Backbone(
    modality_table.select(['coords', 'untok_dem@224']), 192, 2, 2, 3
  )
  batch = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), shaped_batch(model, 1, 4)
  )
  params = jax.jit(model.init)(jax.random.key(0), batch)['params']

  def bound(array):
    return float(np.abs(array).max())

  def xavier(*fans):
    return pytest.approx((6 / sum(fans)) ** 0.5, rel=0.01)

  attention = params['encoder']['blocks']['attention']
  assert bound(attention['qkv']['kernel']) == xavier(192, 192)
  assert bound(
    params['decoder']['blocks']['cross_attention']['kv']['kernel']
  ) == xavier(192, 192)
  assert bound(params['encoder']['blocks']['feed']['fc1']['kernel']) == xavier(
    192, 512
  )
  assert bound(params['encoder_embeddings']['untok_dem@224']) == xavier(
    256, 192
  )
  decoder_table = params['decoder_embeddings']['coords']
  assert float(decoder_table.std()) == pytest.approx(0.0081, abs=2e-4)
  encoder_table = params['encoder_embeddings']['coords']
  assert float(encoder_table.std()) == pytest.approx(0.02, rel=0.01)
  assert float(encoder_table[0].std()) == pytest.approx(0.02, rel=0.2)
  assert np.all(params['project_context']['bias'] == 0)
  layers = attention['qkv']['kernel']
  assert np.any(layers[0] != layers[1])


def test_positions_of_long_target_sequences_start_over():
  case, model, _, params = golden.converted('gelu')
  index = [m.name for m in case.modalities].index('demo_seq')
  position = np.array([[0, 11, 12, 13]])  # Its longest sequence has 12.
  slots = {
    'modality': np.full_like(position, index),
    'position': position,
    'code': np.full_like(position, 7),
  }
  first, last, *beyond = model.apply(
    {'params': params}, slots, method='_embed_targets'
  )[0]
  assert np.any(first != last)
  for tokens in beyond:
    np.testing.assert_array_equal(tokens, first)


@pytest.mark.parametrize(
  'family', ['gelu', pytest.param('swiglu', marks=pytest.mark.slow)]
)
def test_cached_decoding_equals_the_causal_decoder(family):
  case, model, batch, params = golden.converted(family)
  model = model.clone(causal=True)
  index = [m.name for m in case.modalities].index('demo_seq')
  size, length = case.config['batch'], 14  # Positions start over after 12.
  codes = jax.random.randint(jax.random.key(0), (size, length), 1, 60)
  slots = {
    'modality': jnp.full((size, length), index),
    'code': codes,
    'position': jnp.broadcast_to(jnp.arange(length), codes.shape),
    'attention': jnp.ones_like(codes),
  }

  @jax.jit
  def at_once(params):
    encoded = model.apply({'params': params}, batch['encoder'], method='encode')
    return encoded, model.apply(
      {'params': params}, *encoded, slots, method='decode'
    )

  @jax.jit
  def one_by_one(params, encoded):
    cache = model.apply(
      {'params': params}, *encoded, length, method='start_decoding'
    )

    def step(cache, i):
      output, cache = model.apply(
        {'params': params}, cache, codes[:, i], i, index, method='decode_step'
      )
      return cache, output

    return jax.lax.scan(step, cache, jnp.arange(length))[1].swapaxes(0, 1)

  encoded, expected = at_once(params)
  np.testing.assert_allclose(
    one_by_one(params, encoded), expected, rtol=0, atol=1e-5
  )


@pytest.mark.slow
def test_bfloat16_computes_near_float32_with_float32_parameters():
  case, model, batch, params = golden.converted('swiglu')
  half = model.clone(dtype=jnp.bfloat16)
  shapes = jax.eval_shape(half.init, jax.random.key(0), batch)['params']
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {
    jnp.dtype('float32')
  }
  outputs = jax.eval_shape(half.apply, {'params': params}, batch)
  assert outputs.dtype == jnp.bfloat16
  loss, _ = jax.jit(golden.total_loss, static_argnums=0)(half, params, batch)
  np.testing.assert_allclose(loss, case['loss_mod'], rtol=0.02)


@pytest.mark.parametrize(
  'change, message',
  [
    ({'num_heads': 5}, 'num_heads=5'),
    ({'width': 6, 'num_heads': 1}, 'width'),
    ({'mlp': 'relu'}, 'relu'),
  ],
)
def test_sizes_that_do_not_fit_raise(change, message):
  sizes = dict(width=8, num_heads=2, encoder_depth=1, decoder_depth=1)
  with pytest.raises(ValueError, match=message):
    backbone.Backbone(modality_table.select(['coords']), **sizes | change)


def test_unsorted_modalities_raise():
  selected = modality_table.select(['coords', 't2m_hourly'])
  with pytest.raises(ValueError, match='sorted by name'):
    backbone.Backbone(selected[::-1], 8, 1, 1, 2)
