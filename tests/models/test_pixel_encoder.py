"""The pixel encoder against recorded outputs, and what masks mean."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.convert import timesenclip
from fusion_jax.models import pixel_costs, pixel_encoder, pixel_sequence
from fusion_jax.ops import calendar
from tests import golden_timesenclip as golden

BOTH = pytest.mark.parametrize('name', golden.ENCODERS)
near = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5)


def run(name, key='in/x12', keep=None, **settings):
  """The output of a converted encoder on an input of its file."""
  encoder, params = golden.converted(name)
  arguments = {
    k: settings.pop(k) for k in ('months', 'median') if k in settings
  }
  arrays = golden.load(name)[1]
  pixels = arrays[key] if isinstance(key, str) else key
  if isinstance(keep, str):
    keep = arrays[keep][None] > 0
  return jitted(encoder.clone(**settings))(params, pixels, keep, **arguments)


@functools.cache
def jitted(encoder):
  return jax.jit(
    lambda params, *args, **kwargs: encoder.apply(
      {'params': params}, *args, **kwargs
    )
  )


@BOTH
@pytest.mark.parametrize(
  'out,key,keep,settings',
  [
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
    ('quarter456_ownpos', 'in/x12', 'in/quarter_mask', {}),
  ],
)
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

  def apply(params, pixels):
    return [
      encoder.apply({'params': params}, pixels, method=method)
      for method in ('sequence', 'layers')
    ]

  (tokens, _), layers = jax.jit(apply)(params, arrays['in/x12'])
  near(tokens, arrays['mid/sequence12'])
  for i, layer in enumerate(layers):
    near(layer, arrays[f'mid/layer{i}_out12'])
  assert len(layers) == 2


def test_gradients_are_the_references():
  encoder, params = golden.converted('encoder_tiny_1x1')
  arrays = golden.load('encoder_tiny_1x1')[1]

  def score(params):
    result = encoder.apply({'params': params}, arrays['in/x12'])
    unit = result / jnp.linalg.norm(result, axis=-1, keepdims=True)
    return jnp.sum(unit * arrays['in/cotangent']), unit

  grads, unit = jax.jit(jax.grad(score, has_aux=True))(params)
  near(unit, arrays['out/T12_l2norm'])
  result = timesenclip.to_torch(grads, encoder.depth)
  expected = golden.below(arrays, 'grad/')
  assert result.keys() == expected.keys()
  for key, value in expected.items():
    error = np.abs(result[key] - value).max() / np.abs(value).max()
    assert error < 1e-4, (key, error)


def test_medians_of_inputs_are_the_references():
  for name in golden.ENCODERS:
    arrays = golden.load(name)[1]
    valid = np.ones(arrays['in/x12'].shape[:2], bool)
    summarise = jax.jit(calendar.summarise, static_argnums=2)
    for setting, key in (
      ('quarterly', 'x4_median3'),
      ('single', 'x1_median12'),
    ):
      result, known = summarise(arrays['in/x12'], valid, setting)
      np.testing.assert_array_equal(result, arrays[f'in/{key}'])
      assert known.all()


@BOTH
@pytest.mark.parametrize('mask', ['in/keep_mask0', 'in/quarter_mask'])
def test_masking_a_month_is_removing_it(name, mask):
  arrays = golden.load(name)[1]
  keep = arrays[mask] > 0
  months = np.flatnonzero(keep)
  removed = run(
    name, arrays['in/x12'][:, keep], months=months[None].astype(np.float32)
  )
  np.testing.assert_allclose(run(name, keep=mask), removed, rtol=0, atol=1e-5)


def test_a_masked_month_has_no_gradient_and_may_hold_anything():
  encoder, params = golden.converted('encoder_tiny_1x1')
  arrays = golden.load('encoder_tiny_1x1')[1]
  keep = arrays['in/keep_mask1'][None] > 0
  grads = jax.jit(
    jax.grad(lambda x: encoder.apply({'params': params}, x, keep).sum())
  )(arrays['in/x12'])
  assert not np.any(grads[:, ~keep[0]])
  assert np.any(grads[:, keep[0]], axis=(0, 2, 3, 4)).all()
  pixels = np.where(keep[:, :, None, None, None], arrays['in/x12'], np.nan)
  np.testing.assert_array_equal(
    run('encoder_tiny_1x1', pixels, keep), run('encoder_tiny_1x1', keep=keep)
  )


@pytest.mark.parametrize(
  'steps,months', [(12, None), (4, None), (1, None), (3, [[0.3, 4.8, 11.6]])]
)
def test_both_first_layers_have_the_same_outputs_and_gradients(steps, months):
  tiny, params = golden.converted('encoder_tiny_1x1')
  rng = np.random.default_rng(0)
  pixels = rng.random((5, steps, 10, 1, 1), np.float32)
  cotangent = rng.normal(size=(5, tiny.output_width)).astype(np.float32)
  keep = rng.random((5, steps)) < 0.6
  keep[:, 0] = True
  if months is not None:
    months = np.array(months, np.float32)
  results = []
  for factored in (True, False):
    # One head is wider than the 24 numbers of a month.
    encoder = tiny.clone(num_heads=1, factored_first_layer=factored)
    assert encoder.is_factored(24) == factored

    @jax.jit
    def value_and_grad(params, pixels, encoder=encoder):
      def score(params, pixels):
        vectors = encoder.apply({'params': params}, pixels, keep, months=months)
        return jnp.sum(vectors * cotangent), vectors

      return jax.grad(score, argnums=(0, 1), has_aux=True)(params, pixels)

    results.append(value_and_grad(params, pixels))
  (grads, vectors), (other_grads, other_vectors) = results
  np.testing.assert_allclose(vectors, other_vectors, rtol=0, atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max())
    ),
    grads,
    other_grads,
  )


def test_both_first_layers_have_the_same_parameters():
  trees = [
    golden.init(golden.tiny_encoder(depth=4, factored_first_layer=factored))
    for factored in (True, False)
  ]
  assert {'first', 'blocks', 'last'} < set(trees[0])
  jax.tree.map(np.testing.assert_array_equal, *trees)


def test_dates_in_the_middle_of_the_months_are_the_months():
  lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
  days = np.cumsum(lengths) - np.array(lengths) / 2 + 0.5
  months = calendar.months_of_days(days)
  np.testing.assert_array_equal(months, np.arange(12))
  np.testing.assert_array_equal(
    run('encoder_tiny_1x1', months=months[None]), run('encoder_tiny_1x1')
  )


def test_order_of_dated_steps_does_not_matter():
  pixels = golden.load('encoder_tiny_1x1')[1]['in/x12'][:, :5]
  months = np.array([[0.3, 4.8, 7.0, 9.1, 11.6]], np.float32)
  near(
    run('encoder_tiny_1x1', pixels[:, ::-1], months=months[:, ::-1]),
    run('encoder_tiny_1x1', pixels, months=months),
  )


@pytest.mark.parametrize('kept', ['own', 'first'])
@pytest.mark.parametrize('keep', [None, np.array([[1, 0, 1]], bool)])
def test_every_place_may_have_dates_of_its_own(kept, keep):
  rng = np.random.default_rng(0)
  pixels = rng.random((2, 3, 10, 1, 1), np.float32)
  months = rng.uniform(0, 11, (2, 3)).astype(np.float32)
  alone = [
    run(
      'encoder_tiny_1x1',
      pixels[i : i + 1],
      keep,
      kept=kept,
      months=months[i : i + 1],
    )
    for i in range(2)
  ]
  near(
    run('encoder_tiny_1x1', pixels, keep, months=months, kept=kept),
    np.concatenate(alone),
  )


def test_positions_of_dates_run_linearly_and_around_the_year():
  encoder, params = golden.converted('encoder_tiny_1x1')
  table = params['positions']
  pixels = np.zeros((1, 2, 10, 1, 1), np.float32)
  tokens, _ = encoder.apply(
    {'params': params},
    pixels,
    months=np.array([[2.25, -0.25]]),
    method='sequence',
  )
  result = tokens[0, 1:] - params['embed']['bias'][None]
  near(
    result,
    [0.75 * table[2] + 0.25 * table[3], 0.25 * table[11] + 0.75 * table[0]],
  )


def test_number_of_steps_without_dates_is_an_error():
  pixels = np.zeros((1, 6, 10, 1, 1), np.float32)
  with pytest.raises(ValueError, match='6 time steps.*Pass `months`'):
    run('encoder_tiny_1x1', pixels)
  with pytest.raises(ValueError, match=r'expected is \[B, T, 10 bands, 1 rows'):
    run('encoder_tiny_1x1', np.zeros((1, 12, 10, 5, 5), np.float32))
  with pytest.raises(ValueError, match="activation='silu' is not one of"):
    run('encoder_tiny_1x1', activation='silu')
  for wrong in {'depth': 0}, {'num_heads': 3}:
    with pytest.raises(ValueError, match='there must be a layer, and the head'):
      run('encoder_tiny_1x1', **wrong)


def test_medians_of_tokens_are_over_the_kept_ones():
  pixels = golden.load('encoder_tiny_1x1')[1]['in/x12']
  keep, median = np.arange(12)[None] >= 7, np.ones(1, bool)
  removed = run(
    'encoder_tiny_1x1',
    pixels[:, 7:],
    median=median,
    months=np.arange(7, 12, dtype=np.float32)[None],
  )
  near(run('encoder_tiny_1x1', pixels, keep, median=median), removed)


@pytest.mark.parametrize(
  'side,parameters,macs',
  [
    (1, 8_169_472, 103_598_080),
    (5, 8_292_352, 105_072_640),
    (9, 8_579_072, 108_513_280),
  ],
)
def test_costs_are_those_of_the_paper(side, parameters, macs):
  encoder = pixel_encoder.PixelEncoder(side=side)
  assert pixel_costs.num_parameters(encoder) == parameters
  assert pixel_costs.macs(encoder) == macs


def test_costs_of_the_last_layer_are_those_of_one_token():
  encoder = pixel_encoder.PixelEncoder(
    width=8, depth=1, num_heads=2, hidden=4, output_width=6
  )
  embed, head = 13 * 24 * 8, 8 * 6
  maps, mlp = 4 * 64, 2 * 8 * 4
  products = 2 * 2 * 13 * 8  # Of two heads with all tokens.
  assert pixel_costs.macs(encoder, whole=False) == (
    embed + head + maps + mlp + products
  )


@pytest.mark.parametrize('steps,features', [(12, 24), (4, 16), (1, 12)])
def test_costs_count_the_features_that_there_are(steps, features):
  positions = pixel_sequence.position_weights(
    jnp.zeros((12, 32)), np.ones((1, steps), bool)
  )
  of_tokens, rows = pixel_sequence.features_and_rows(
    jnp.zeros((1, steps, 10)),
    positions,
    (jnp.zeros((10, 32)), jnp.zeros(32)),
    jnp.zeros(32),
    jnp.float32,
  )
  assert of_tokens.shape == (1, steps + 1, features)
  assert rows.shape == (features, 32)
  narrow = pixel_encoder.PixelEncoder(
    width=64, depth=1, num_heads=8, hidden=4, output_width=6
  )
  last = 4 * 64**2 + 2 * 64 * 4 + 2 * 8 * (steps + 1) * 64
  assert pixel_costs.macs(narrow, steps, whole=False) == (
    (steps + 1) * features * 64 + last + 64 * 6
  )


def test_costs_of_a_factored_layer_are_those_of_the_narrow_products():
  encoder = pixel_encoder.PixelEncoder(
    width=64,
    depth=2,
    num_heads=2,
    hidden=4,
    output_width=6,
    factored_first_layer=True,
  )
  features = 10 + 12 + 2
  embed, head = 13 * features * 64, 64 * 6
  narrow = 2 * 25 * 25 + 2 * 2 * 13 * 25 + 2 * 25 * 64
  mlp = 2 * 64 * 4
  last = 4 * 64**2 + mlp + 2 * 2 * 13 * 64
  assert pixel_costs.macs(encoder, whole=False) == (
    embed + 13 * (narrow + mlp) + last + head
  )


def test_first_values_are_those_of_torch():
  encoder = golden.tiny_encoder(width=64, hidden=32, depth=4)
  params = golden.init(encoder)
  assert not np.any(params['positions']) and not np.any(params['class_token'])
  block = params['blocks']
  bounds = {'qkv': (6 / 256) ** 0.5, 'out': 64**-0.5}
  for name, bound in bounds.items():
    kernel = block['attention'][name]['kernel']
    assert 0.95 * bound < np.abs(kernel).max() <= bound
    assert not np.any(block['attention'][name]['bias'])
  for name, bound in (('linear1', 64**-0.5), ('linear2', 32**-0.5)):
    for x in jax.tree.leaves(block[name]):
      assert 0.8 * bound < np.abs(x).max() <= bound
  assert np.any(block['linear1']['kernel'][0] != block['linear1']['kernel'][1])
  alike = golden.init(encoder, identical=True)
  jax.tree.map(
    lambda stacked, last: np.testing.assert_array_equal(
      stacked, np.stack([last, last])
    ),
    alike['blocks'],
    alike['last'],
  )
  jax.tree.map(np.testing.assert_array_equal, alike['first'], alike['last'])


def test_dropout_is_in_training_only_and_a_function_of_its_key():
  encoder = golden.tiny_encoder()
  params = golden.init(encoder)
  pixels = np.random.default_rng(0).random((2, 12, 10, 1, 1), np.float32)

  @jax.jit
  def train(key):
    return encoder.apply(
      {'params': params}, pixels, train=True, rngs={'dropout': key}
    )

  one, same, other = (train(jax.random.key(i)) for i in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert np.abs(one - other).max() > 0.01
  np.testing.assert_array_equal(
    jitted(encoder)(params, pixels),
    jitted(encoder.clone(dropout=0.5))(params, pixels),
  )
