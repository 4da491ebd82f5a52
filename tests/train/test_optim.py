"""The schedule, the decay rule, clipping and skipping."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from fusion_jax.train import optim, schedules


def section(**changes):
  return ml_collections.ConfigDict(
    dict(
      peak_lr=1e-3,
      min_lr=1e-5,
      warmup_steps=0,
      warmup_tokens=0,
      b1=0.9,
      b2=0.95,
      eps=1e-8,
      weight_decay=0.05,
      clip_norm=0.0,
      skip_norm=0.0,
    )
    | changes
  )


def reference_schedule(peak, low, num_steps, warmup):
  """4M's, written down from its description."""
  warm = np.linspace(0, peak, warmup)
  n = num_steps - warmup
  cosine = [
    low + 0.5 * (peak - low) * (1 + np.cos(np.pi * i / n)) for i in range(n)
  ]
  return np.concatenate([warm, cosine])


@pytest.mark.parametrize(
  'num_steps, warmup', [(6, 2), (100, 10), (50, 0), (7, 1), (9, 9)]
)
def test_schedule_is_the_closed_form(num_steps, warmup):
  schedule = schedules.cosine(2e-5, 1e-7, num_steps, warmup)
  rates = np.asarray(jax.vmap(schedule)(jnp.arange(num_steps)))
  np.testing.assert_allclose(
    rates,
    reference_schedule(2e-5, 1e-7, num_steps, warmup),
    rtol=2e-5,
    atol=1e-12,
  )


def test_schedule_reaches_the_peak_twice_and_keeps_its_end():
  schedule = schedules.cosine(1.0, 0.0, 10, 4)
  assert schedule(0) == 0
  assert schedule(3) == schedule(4) == 1
  assert schedule(10) == schedule(9) == schedule(1000) > 0


def test_long_schedules_do_not_lose_precision():
  schedule = schedules.cosine(1.0, 0.0, 500_000, 10_000)
  steps = np.array([1, 9_999, 10_000, 123_457, 499_999])
  expected = reference_schedule(1.0, 0.0, 500_000, 10_000)[steps]
  np.testing.assert_allclose(schedule(steps), expected, rtol=1e-5, atol=1e-7)


def test_warmup_longer_than_the_run_is_an_error():
  with pytest.raises(ValueError, match='warm-up of 20 steps.* run of 10'):
    optim.make(section(warmup_steps=20), 10)


def test_warmup_in_tokens_equals_warmup_in_steps():
  _, by_tokens = optim.make(section(warmup_tokens=1_000), 20, 256)
  _, by_steps = optim.make(section(warmup_steps=4), 20)
  for step in range(20):
    assert by_tokens(step) == by_steps(step)


def test_warmup_given_twice_or_without_tokens_is_an_error():
  with pytest.raises(ValueError, match='both given'):
    optim.make(section(warmup_steps=1, warmup_tokens=100), 20, 256)
  with pytest.raises(ValueError, match='needs tokens_per_step'):
    optim.make(section(warmup_tokens=100), 20)


@pytest.mark.parametrize(
  'batch_size, steps, warmup', [(512, 78_124, 7_630), (8192, 4_880, 477)]
)
def test_steps_of_the_papers_run(batch_size, steps, warmup):
  """10 B tokens are 78,124 steps of 512, of which 7,630 warm up."""
  assert schedules.steps_for_epochs(10e9, 256, 10_000_000, batch_size) == steps
  assert schedules.steps_for_tokens(1e9, 256 * batch_size) == warmup


def test_decay_spares_norms_and_biases_only():
  leaf = np.zeros(2)
  params = {
    'encoder': {
      'blocks': {
        'norm1': {'scale': leaf},
        'norm_2': {'scale': leaf, 'bias': leaf},
        'query_norm': {'scale': leaf},
        'LayerNorm_0': {'scale': leaf},
        'mlp': {'fc1': {'kernel': leaf, 'bias': leaf}},
      }
    },
    'encoder_norm': {'scale': leaf},
    'normals': {'kernel': leaf},
    'coords': {'token_emb': leaf, 'mod_emb': leaf},
    'abnormal': {'kernel': leaf},
    'mask_token': leaf,
  }
  decays = optim.decayed(params)
  assert decays['encoder']['blocks'] == {
    'norm1': {'scale': False},
    'norm_2': {'scale': False, 'bias': False},
    'query_norm': {'scale': False},
    'LayerNorm_0': {'scale': False},
    'mlp': {'fc1': {'kernel': True, 'bias': False}},
  }
  assert not decays['encoder_norm']['scale']
  assert decays['coords'] == {'token_emb': True, 'mod_emb': True}
  assert decays['mask_token'] and decays['abnormal']['kernel']


def adamw_by_hand(x, grads, rates, decay):
  """Loshchilov and Hutter 2019, Algorithm 2, with PyTorch's placing of lr."""
  m = v = 0
  for t, (g, lr) in enumerate(zip(grads, rates), 1):
    m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
    x = x * (1 - lr * decay)
    x = x - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
  return x


@pytest.mark.parametrize('name, decay', [('kernel', 0.05), ('bias', 0.0)])
def test_updates_are_adamw(name, decay):
  tx, schedule = optim.make(section(warmup_steps=2), 5)
  grads = np.random.default_rng(0).normal(size=(5, 3))
  params = {name: jnp.asarray([1.0, -2.0, 3.0])}
  state = tx.init(params)
  for g in grads:
    updates, state = tx.update(
      {name: jnp.asarray(g, jnp.float32)}, state, params
    )
    params = optax.apply_updates(params, updates)
  rates = [float(schedule(i)) for i in range(5)]
  expected = adamw_by_hand(np.array([1.0, -2.0, 3.0]), grads, rates, decay)
  np.testing.assert_allclose(params[name], expected, rtol=1e-6)


def test_clipping_bounds_the_gradient():
  params, big = {'w': jnp.ones(4)}, {'w': jnp.full(4, 50.0)}
  clipped, _ = optim.make(section(clip_norm=1.0), 5)
  plain, _ = optim.make(section(), 5)
  got, _ = clipped.update(big, clipped.init(params), params)
  expected, _ = plain.update(
    {'w': jnp.full(4, 0.5)}, plain.init(params), params
  )
  np.testing.assert_allclose(got['w'], expected['w'], rtol=1e-6)


@pytest.mark.parametrize('bad', [50.0, np.nan, np.inf])
def test_skipping_keeps_moments_but_advances_the_schedule(bad):
  tx, schedule = optim.make(section(skip_norm=10.0, warmup_steps=3), 6)
  params, small = {'w': jnp.ones(4)}, {'w': jnp.ones(4)}
  _, once = tx.update(small, tx.init(params), params)
  updates, skipped = tx.update({'w': jnp.full(4, bad)}, once, params)
  np.testing.assert_array_equal(updates['w'], 0)
  assert optim.num_skipped(once) == 0 and optim.num_skipped(skipped) == 1
  jax.tree.map(np.testing.assert_array_equal, once[0].inner, skipped[0].inner)
  after, _ = tx.update(small, skipped, params)
  direct, _ = tx.update(small, once, params)
  np.testing.assert_allclose(
    after['w'] / schedule(2), direct['w'] / schedule(1), rtol=1e-6
  )


def test_skipping_judges_the_norm_before_clipping():
  tx, _ = optim.make(section(skip_norm=10.0, clip_norm=1.0), 5)
  params = {'w': jnp.ones(4)}
  _, state = tx.update({'w': jnp.full(4, 50.0)}, tx.init(params), params)
  assert optim.num_skipped(state) == 1


def test_nothing_is_counted_where_nothing_can_be_skipped():
  tx, _ = optim.make(section(), 5)
  assert optim.num_skipped(tx.init({'w': jnp.ones(2)})) is None
