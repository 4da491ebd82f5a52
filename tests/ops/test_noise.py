"""Noise schedules and DDIM steps against recorded values of the reference."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from fusion_jax.ops import noise

_FILE = (
  pathlib.Path(__file__).parents[1]
  / 'testdata'
  / 'terramind'
  / 'noise_schedules.safetensors'
)
GOLDEN = safetensors.load_file(_FILE)
STRIDE = 20
near = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5)


def names(prefix):
  """What follows `prefix` in the golden keys."""
  return sorted(
    key.removeprefix(prefix) for key in GOLDEN if key.startswith(prefix)
  )


@pytest.mark.parametrize('name', names('alphas_cumprod/'))
def test_schedules_are_the_references(name):
  schedule, _, zero = name.rpartition('_zsnr')
  schedule = schedule.replace('shifted_cosine_', 'shifted_cosine:')
  shares = noise.signal_shares(schedule, zero == '1')
  assert shares.dtype == np.float32
  expected = GOLDEN[f'alphas_cumprod/{name}']
  if zero == '0':
    np.testing.assert_array_equal(shares, expected)
  else:  # PyTorch's square root is not rounded as NumPy's.
    np.testing.assert_allclose(shares, expected, rtol=2e-3, atol=1e-6)
    assert shares[-1] == expected[-1] == 0


@pytest.mark.parametrize('name', names('timesteps/'))
def test_time_steps_are_the_references(name):
  spacing, count = name.split('_')
  np.testing.assert_array_equal(
    noise.time_steps(int(count), spacing), GOLDEN[f'timesteps/{name}']
  )


def step(kind, t, **kwargs):
  return noise.ddim_step(
    jnp.asarray(GOLDEN['inputs/model_output']),
    GOLDEN['inputs/sample'],
    t,
    STRIDE,
    noise.signal_shares(),
    kind=kind,
    **kwargs,
  )


LIMITS = {
  'thr0_clip0': lambda x: x,
  'thr0_clip1': noise.clip,
  'thr1_clip1': noise.dynamic_threshold,
}
# Settings of their own, for which only the next sample was recorded.
SPECIAL = {
  'sample_thrmax3_t0499': dict(
    limit=functools.partial(noise.dynamic_threshold, ceiling=3.0)
  ),
  'sample_eta0.7_t0499': dict(
    eta=0.7,
    noise=GOLDEN['inputs/variance_noise'],
    limit=noise.dynamic_threshold,
  ),
}


@pytest.mark.parametrize('limit', LIMITS)
@pytest.mark.parametrize('kind', noise.KINDS)
def test_steps_are_the_references(kind, limit):
  prefix = f'step/{kind}_{limit}_t'
  levels = {int(name.split('/')[0]) for name in names(prefix)}
  assert len(levels) >= 4
  for t in levels:
    result, clean = step(kind, t, limit=LIMITS[limit])
    for value, name in (
      (result, 'prev_sample'),
      (clean, 'pred_original_sample'),
    ):
      expected = GOLDEN[f'{prefix}{t:04d}/{name}']
      near(value, expected, rtol=1e-5, err_msg=f'{t} {name}')


@pytest.mark.parametrize('name', SPECIAL)
def test_steps_with_other_settings_are_the_references(name):
  result, _ = step('sample', 499, **SPECIAL[name])
  near(result, GOLDEN[f'step/{name}/prev_sample'])


def test_every_recorded_step_is_compared():
  plain = {f'{kind}_{limit}' for kind in noise.KINDS for limit in LIMITS}
  for name in names('step/'):
    case = name.split('/')[0]
    assert case in SPECIAL or case.rpartition('_t')[0] in plain, name


def test_forward_process_is_the_references():
  t, shares = GOLDEN['inputs/add_noise_t'], noise.signal_shares()
  images, other = (
    jnp.asarray(GOLDEN[f'inputs/{name}']) for name in ('sample', 'model_output')
  )
  noisy = noise.add_noise(images, other, t, shares)
  speed = noise.velocity(images, other, t, shares)
  near(noisy, GOLDEN['forward/add_noise'])
  near(speed, GOLDEN['forward/velocity'])
  # Recorded with the two inputs in the roles of velocity and noisy image.
  _, implied = noise.predictions(other, images, t, shares, 'v_prediction')
  near(implied, GOLDEN['forward/noise_from_velocity'])


@pytest.mark.parametrize('kind', noise.KINDS)
def test_perfect_predictions_lead_back_to_the_image(kind):
  random = np.random.default_rng(0)
  images, other = random.normal(size=(2, 1, 4, 4, 2)).astype('f')
  shares = noise.signal_shares()
  t = 700
  level = np.full(1, t)
  noisy = noise.add_noise(images, other, level, shares)
  output = {
    'sample': images,
    'epsilon': other,
    'v_prediction': noise.velocity(images, other, level, shares),
  }[kind]
  for actual, expected in zip(
    noise.predictions(output, noisy, level, shares, kind), (images, other)
  ):
    near(actual, expected)
  result, _ = noise.ddim_step(output, noisy, t, 100, shares, kind=kind)
  near(result, noise.add_noise(images, other, level - 100, shares))


def test_last_step_returns_the_limited_image():
  result, clean = step('sample', 19, limit=noise.clip)
  near(result, clean)
  assert np.abs(clean).max() == 1
  lifted, _ = step('sample', 19, limit=lambda x: noise.clip(x, np.inf))
  near(lifted, GOLDEN['inputs/model_output'])


def test_threshold_is_of_each_image_alone():
  images = jax.random.normal(jax.random.key(0), (3, 8, 8, 2)) * 4
  together = noise.dynamic_threshold(images, 3.0)
  for i in range(3):
    near(together[i], noise.dynamic_threshold(images[i : i + 1], 3.0)[0])


@pytest.mark.parametrize(
  'call, message',
  [
    (lambda: noise.signal_shares('cosine'), "no schedule 'cosine'"),
    (lambda: noise.time_steps(0), 'num_steps=0'),
    (lambda: noise.time_steps(1001), 'num_steps=1001'),
    (lambda: noise.time_steps(5, 'even'), "spacing='even'"),
    (lambda: step('noise', 19), "kind='noise'"),
  ],
)
def test_settings_that_do_not_exist_raise(call, message):
  with pytest.raises(ValueError, match=message):
    call()


@pytest.mark.parametrize('factor', ['0', '-1', 'nan', 'inf'])
def test_a_shift_that_is_no_factor_raises(factor):
  with pytest.raises(ValueError, match='factor above 0'):
    noise.signal_shares(f'shifted_cosine:{factor}')
