"""Dropout of the post-norm layers, and their shorter ways."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.nn import post_norm


def drop(x, rate, train=True):
  return post_norm.Dropout(rate).apply(
    {}, x, train, rngs={'dropout': jax.random.key(0)}
  )


def test_dropout_drops_its_share_and_keeps_the_mean():
  x = jnp.ones((64, 13, 77))  # An odd number of values an example.
  result = np.asarray(drop(x, 0.2))
  kept = result > 0
  np.testing.assert_allclose(kept.mean(), 0.8, atol=0.005)
  np.testing.assert_allclose(result[kept], 1.25, rtol=1e-4)
  # No two examples, and no two features, share their draws.
  assert len({row.tobytes() for row in kept}) == 64
  assert np.abs(np.corrcoef(kept.reshape(-1, 77).T) - np.eye(77)).max() < 0.2


def test_no_dropout_changes_nothing():
  x = jnp.ones((2, 3))
  assert drop(x, 0.0) is x and drop(x, 0.5, train=False) is x


SEEN = pytest.mark.parametrize('seen', [slice(None), slice(1), slice(1, 4)])


def random_params(module, *args):
  """Parameters none of which is 0: biases at the start could hide a mistake."""
  leaves, tree = jax.tree.flatten(module.init(jax.random.key(1), *args))
  return jax.tree.unflatten(
    tree,
    [
      0.5 * jax.random.normal(jax.random.key(2 + i), x.shape)
      for i, x in enumerate(leaves)
    ],
  )


@SEEN
def test_first_token_gathers_what_it_does_among_all(seen):
  block = post_norm.PostNormBlock(16, 4, 24, 'relu', 0.5)
  tokens = jax.random.normal(jax.random.key(0), (3, 7, 16))
  visible = jnp.zeros((3, 1, 1, 7), bool).at[..., seen].set(True)
  params = random_params(block, tokens, visible, False)

  @functools.partial(jax.jit, static_argnums=1)
  def first(tokens, first_only):
    result = block.apply(params, tokens, visible, False, first_only=first_only)
    assert result.shape == (3, 1 if first_only else 7, 16)
    return result[:, 0]

  np.testing.assert_allclose(
    first(tokens, True), first(tokens, False), atol=2e-5
  )
  gradients = [
    jax.grad(lambda x, short=short: jnp.sum(first(x, short) ** 2))(tokens)
    for short in (True, False)
  ]
  np.testing.assert_allclose(*gradients, atol=2e-4)


@SEEN
def test_factors_of_tokens_give_what_the_tokens_do(seen):
  block = post_norm.PostNormBlock(16, 2, 24, 'relu', 0.5)
  features = jax.random.normal(jax.random.key(0), (3, 7, 5))
  rows = jax.random.normal(jax.random.key(1), (5, 16))
  visible = jnp.zeros((3, 1, 1, 7), bool).at[..., seen].set(True)
  params = random_params(block, features @ rows, visible, False)

  @functools.partial(jax.jit, static_argnums=3)
  def run(params, features, rows, short):
    return block.apply(
      params,
      features @ rows,
      visible,
      False,
      factors=(features, rows) if short else None,
    )

  np.testing.assert_allclose(
    *(run(params, features, rows, short) for short in (True, False)), atol=2e-5
  )
  gradients = [
    jax.grad(
      lambda *x, short=short: jnp.sum(run(*x, short) ** 2), argnums=(0, 1, 2)
    )(params, features, rows)
    for short in (True, False)
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=1e-4 * max(1, np.abs(b).max())
    ),
    *gradients,
  )


def test_shorter_ways_drop_weights_as_among_all():
  attention = post_norm.Attention(4, 1, 0.5)
  tokens = jax.random.normal(jax.random.key(0), (4_000, 3, 4))
  tokens = jnp.broadcast_to(tokens[:1], tokens.shape)
  visible = jnp.ones((1, 1, 1, 3), bool)
  params = {
    'params': {
      name: {
        'kernel': jax.random.normal(jax.random.key(i), (4, 4 * size)),
        'bias': jnp.ones(4 * size),
      }
      for i, (name, size) in enumerate((('qkv', 3), ('out', 1)))
    }
  }
  apply = jax.jit(
    attention.apply, static_argnums=3, static_argnames='first_only'
  )
  among_all, *short = [
    np.asarray(
      apply(
        params,
        tokens,
        visible,
        True,
        **options,
        rngs={'dropout': jax.random.key(1)},
      )[:, 0]
    )
    for options in ({}, {'first_only': True}, {'factors': (tokens, jnp.eye(4))})
  ]
  for result in short:
    for moment in (np.mean, np.std):
      np.testing.assert_allclose(
        moment(result, axis=0), moment(among_all, axis=0), rtol=0.15, atol=0.15
      )
