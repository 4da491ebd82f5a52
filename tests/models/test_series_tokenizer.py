import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.models import series_tokenizer

LEVELS = [(8, 8, 8), (4, 4, 4, 4), (3, 3, 3, 3, 3), (8, 8, 8, 8)]


def run(model, variables, *args, method='__call__'):
  def apply(variables, *args):
    return model.apply(variables, *args, method=method)

  return jax.jit(apply)(variables, *args)


def make(levels=(4, 4, 4), steps=12, batch=2, **changes):
  model = series_tokenizer.SeriesTokenizer(
    levels, **dict(width=8, num_waves=2) | changes
  )
  keys = jax.random.split(jax.random.key(0), 2)
  values = jax.random.normal(keys[0], (batch, steps))
  present = jnp.ones((batch, steps), bool)
  variables = jax.jit(model.init)(keys[1], values, present, present)
  return model, variables, values, present


@pytest.mark.parametrize('levels', LEVELS)
@pytest.mark.parametrize('stride', [1, 3])
def test_one_code_for_every_stride_of_steps(levels, stride):
  model, variables, values, present = make(levels, stride=stride)
  result = run(model, variables, values, present, present)
  assert result['values'].shape == (2, 12)
  assert result['codes'].shape == (2, 12 // stride, len(levels))
  indices = model.fsq.to_indices(result['codes'])
  np.testing.assert_allclose(
    model.fsq.from_indices(indices), result['codes'], atol=1e-6
  )


def test_ids_are_the_papers_equation_with_the_last_dimension_first():
  model = series_tokenizer.SeriesTokenizer((8, 8, 8, 8))
  codes = -1 + 2 * np.array([[1, 2, 3, 4]], np.float32) / 7
  assert model.fsq.to_indices(codes)[0] == ((1 * 8 + 2) * 8 + 3) * 8 + 4


def test_the_decoder_sees_codes_only():
  model, variables, values, present = make()
  result = run(model, variables, values, present, present)
  ids = model.fsq.to_indices(result['codes'])
  again = run(
    model,
    variables,
    model.fsq.from_indices(ids),
    result['known'],
    present,
    method='decode',
  )
  np.testing.assert_allclose(again, result['values'], atol=1e-5)


def test_missing_values_are_not_read():
  model, variables, values, all_present = make(stride=2)
  present = all_present.at[:, 3:7].set(False)
  one = run(model, variables, values, present, all_present)
  two = run(
    model, variables, values.at[:, 3:7].set(jnp.nan), present, all_present
  )
  jax.tree.map(np.testing.assert_array_equal, one, two)
  np.testing.assert_array_equal(
    one['known'][0], [True, True, False, True, True, True]
  )
  whole = run(model, variables, values, all_present, all_present)
  assert np.abs(one['latents'] - whole['latents']).max() > 1e-3


def test_a_longer_frame_does_not_change_a_series():
  model, variables, values, present = make(dilations=(1, 2, 4))
  alone = run(model, variables, values, present, present)
  longer = jnp.pad(values, ((0, 0), (0, 8)))
  inside = jnp.pad(present, ((0, 0), (0, 8)))
  framed = run(model, variables, longer, inside, inside)
  for name in ('values', 'latents'):
    np.testing.assert_allclose(framed[name][:, :12], alone[name], atol=1e-5)


def test_the_shifted_product_is_a_dilated_convolution():
  inputs = jax.random.normal(jax.random.key(0), (2, 9, 4))
  ours = series_tokenizer.Convolution(5, kernel=3, dilation=2)
  variables = ours.init(jax.random.key(1), inputs)
  taps = variables['params']['taps']
  plain = nn.Conv(5, (3,), kernel_dilation=2)
  expected = plain.apply(
    {
      'params': {
        'kernel': taps['kernel'].reshape(3, 4, 5),
        'bias': taps['bias'],
      }
    },
    inputs,
  )
  np.testing.assert_allclose(ours.apply(variables, inputs), expected, atol=1e-5)


def test_gradients_reach_the_encoder_through_the_codes():
  model, variables, values, present = make()

  def loss(variables):
    result = run(model, variables, values, present, present)
    return jnp.square(result['values'] - values).mean()

  grads = jax.jit(jax.grad(loss))(variables)['params']
  assert np.abs(grads['encoder_in']['taps']['kernel']).max() > 0
  assert np.abs(grads['to_latents']['kernel']).max() > 0


def test_steps_that_do_not_divide_by_the_stride_raise():
  model, variables, _, _ = make(stride=3)
  wrong = jnp.zeros((1, 10))
  with pytest.raises(ValueError, match='10 steps does not divide.*stride=3'):
    model.apply(variables, wrong, wrong == 0, wrong == 0)


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(kernel=4), 'kernel=4 has no middle'),
    (dict(stride=0), 'stride=0 is less'),
  ],
)
def test_bad_settings_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    make(**changes)
