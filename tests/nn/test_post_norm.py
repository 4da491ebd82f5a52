"""Dropout of the post-norm layers."""

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.nn import post_norm


def drop(x, rate, train=True):
  return post_norm.Dropout(rate).apply(
      {}, x, train, rngs={'dropout': jax.random.key(0)})


def test_dropout_drops_its_share_and_keeps_the_mean():
  x = jnp.ones((64, 13, 77))  # An odd number of values an example.
  found = np.asarray(drop(x, .2))
  kept = found > 0
  np.testing.assert_allclose(kept.mean(), .8, atol=.005)
  np.testing.assert_allclose(found[kept], 1.25, rtol=1e-4)
  # No two examples, and no two features, share their draws.
  assert len({row.tobytes() for row in kept}) == 64
  assert np.abs(np.corrcoef(kept.reshape(-1, 77).T) - np.eye(77)).max() < .2


def test_no_dropout_changes_nothing():
  x = jnp.ones((2, 3))
  assert drop(x, 0.) is x and drop(x, .5, train=False) is x
