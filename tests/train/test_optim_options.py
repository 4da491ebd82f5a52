"""Options of the optimizer: bounds, decay of everything, periodic rates."""

import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from fusion_jax.train import optim

PARAMS = {
  'dense': {'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)},
  'log_scale': jnp.float32(0.95),
}


def make(**changes):
  config = dict(
    peak_lr=0.1,
    min_lr=0.0,
    warmup_steps=0,
    warmup_tokens=0,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    clip_norm=0.0,
    skip_norm=0.0,
  )
  return optim.make(ml_collections.ConfigDict(config | changes), 10)


def step(tx, grads, params=PARAMS):
  updates, _ = tx.update(grads, tx.init(params), params)
  return optax.apply_updates(params, updates)


def test_bounded_parameters_stop_at_their_bounds():
  tx, _ = make(bounds={'log_scale': (0.0, 1.0)})
  down = {
    'dense': {'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)},
    'log_scale': jnp.float32(-1),
  }
  result = step(tx, down)
  np.testing.assert_allclose(result['log_scale'], 1.0, rtol=1e-6)
  np.testing.assert_allclose(result['dense']['bias'], 0.9, rtol=1e-5)
  free = step(make()[0], down)
  np.testing.assert_allclose(free['log_scale'], 1.05, rtol=1e-5)


def test_unknown_bounded_parameter_is_an_error():
  tx, _ = make(bounds={'scale': (0.0, 1.0)})
  with pytest.raises(ValueError, match=r"bounds names \['scale'\]"):
    tx.init(PARAMS)


def test_everything_decays_if_asked_to():
  zeros = {
    'dense': {'kernel': jnp.zeros((2, 2)), 'bias': jnp.zeros(2)},
    'log_scale': jnp.float32(0),
  }
  result = step(make(weight_decay=0.5)[0], zeros)
  np.testing.assert_array_equal(result['dense']['bias'], 1)
  result = step(make(weight_decay=0.5, decay='all')[0], zeros)
  np.testing.assert_allclose(result['dense']['bias'], 0.95, rtol=1e-6)
  with pytest.raises(ValueError, match="decay='some' is neither"):
    make(decay='some')


def test_periodic_rate_falls_and_rises_again():
  _, schedule = make(half_period_steps=4)
  np.testing.assert_allclose(
    [schedule(i) for i in (0, 2, 4, 6, 8)], [0.1, 0.05, 0, 0.05, 0.1], atol=1e-8
  )
  with pytest.raises(ValueError, match='has no warm-up'):
    make(half_period_steps=4, warmup_steps=2)
