"""Dropout of the post-norm layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


@pytest.mark.parametrize('seen', [slice(None), slice(1), slice(1, 4)])
def test_first_token_gathers_what_it_does_among_all(seen):
  block = post_norm.PostNormBlock(4, 24, 'relu', .5)
  keys = jax.random.split(jax.random.key(0), 3)
  tokens = jax.random.normal(keys[0], (3, 7, 16))
  visible = jnp.zeros((3, 1, 1, 7), bool).at[..., seen].set(True)
  shapes = block.init(keys[1], tokens, visible, False)
  # Biases are 0 at the start and could hide a mistake.
  leaves, tree = jax.tree.flatten(shapes)
  params = jax.tree.unflatten(tree, [
      .5 * jax.random.normal(jax.random.fold_in(keys[2], i), x.shape)
      for i, x in enumerate(leaves)])

  @functools.partial(jax.jit, static_argnums=1)
  def first(tokens, first_only):
    found = block.apply(params, tokens, visible, False, first_only)
    assert found.shape == (3, 1 if first_only else 7, 16)
    return found[:, 0]

  np.testing.assert_allclose(first(tokens, True), first(tokens, False),
                             atol=2e-5)
  gradients = [jax.grad(lambda x, short=short: jnp.sum(first(x, short)**2))(
      tokens) for short in (True, False)]
  np.testing.assert_allclose(*gradients, atol=2e-4)


def test_first_token_drops_weights_as_among_all():
  attention = post_norm.Attention(1, .5)
  tokens = jax.random.normal(jax.random.key(0), (4_000, 3, 4))
  tokens = jnp.broadcast_to(tokens[:1], tokens.shape)
  visible = jnp.ones((1, 1, 1, 3), bool)
  params = {'params': {
      name: {'kernel': jax.random.normal(jax.random.key(i), (4, 4 * size)),
             'bias': jnp.ones(4 * size)}
      for i, (name, size) in enumerate((('qkv', 3), ('out', 1)))}}
  apply = jax.jit(attention.apply, static_argnums=(3, 4))
  found = [apply(params, tokens, visible, True, short,
                 rngs={'dropout': jax.random.key(1)})[:, 0]
           for short in (True, False)]
  for moment in (np.mean, np.std):
    np.testing.assert_allclose(
        *(moment(np.asarray(x), axis=0) for x in found), rtol=.15, atol=.15)
