import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from fusion_jax.nn import layers


def test_attention_is_softmax_of_visible_scores():
  rng = np.random.default_rng(0)
  q, k, v = rng.normal(size=(3, 2, 3, 5, 4)).astype('f')
  visible = rng.random((2, 1, 5, 5)) < 0.6
  visible[..., 0] = True
  scores = np.where(visible, q @ k.swapaxes(-1, -2) / 2, -np.inf)
  expected = scipy.special.softmax(scores, axis=-1) @ v
  mixed = layers.attend(*map(jnp.asarray, (q, k, v, visible)))
  np.testing.assert_allclose(
    mixed, expected.transpose(0, 2, 1, 3).reshape(2, 5, 12), atol=1e-6
  )


def test_query_that_sees_nothing_gets_the_mean_and_a_finite_gradient():
  rng = np.random.default_rng(0)
  q, k, v = jnp.asarray(rng.normal(size=(3, 1, 1, 4, 2)), jnp.float32)
  visible = jnp.zeros((1, 1, 1, 4), bool)
  mixed = layers.attend(q, k, v, visible)
  np.testing.assert_allclose(
    mixed[0], np.broadcast_to(v[0, 0].mean(0), (4, 2)), atol=1e-6
  )
  grads = jax.grad(lambda *qkv: layers.attend(*qkv, visible).sum(), (0, 1, 2))(
    q, k, v
  )
  assert all(np.isfinite(g).all() for g in grads)


def test_linear_is_a_product_of_matrices_whatever_the_leading_axes():
  linear = layers.Linear(5, use_bias=True)
  inputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), 'f')
  params = linear.init(jax.random.key(0), inputs)
  params['params']['bias'] = jnp.arange(5.0)
  expected = inputs @ params['params']['kernel'] + np.arange(5.0)[None, None]
  np.testing.assert_allclose(
    linear.apply(params, inputs), expected, rtol=1e-5, atol=1e-6
  )
  text = jax.jit(linear.apply).lower(params, inputs).as_text()
  (product,) = [x for x in text.splitlines() if 'dot_general' in x]
  assert 'tensor<6x4xf32>, tensor<4x5xf32>' in product


def test_gelu_is_exact():
  mlp = layers.GeluMlp(1, use_bias=False)
  params = {
    'fc1': {'kernel': jnp.ones((1, 4))},
    'fc2': {'kernel': jnp.full((4, 1), 0.25)},
  }
  x = np.linspace(-3, 3, 13, dtype='f')[:, None]
  expected = x * (1 + scipy.special.erf(x / np.sqrt(2))) / 2
  np.testing.assert_allclose(
    mlp.apply({'params': params}, x), expected, atol=1e-6
  )


@pytest.mark.parametrize(
  'width, hidden', [(64, 170), (768, 2048), (1024, 2730)]
)
def test_hidden_width_of_the_gated_mlp_is_rounded_down(width, hidden):
  shapes = jax.eval_shape(
    layers.SwigluMlp(width, False).init,
    jax.random.key(0),
    jnp.zeros((1, width)),
  )['params']
  assert {name: x['kernel'].shape for name, x in shapes.items()} == {
    'fc1': (width, hidden),
    'fc3': (width, hidden),
    'fc2': (hidden, width),
  }


def test_layer_norm_keeps_small_variance_beside_a_large_mean():
  norm = layers.layer_norm(jnp.float32)
  x = jnp.asarray([[1_000.0, 1_001.0, 999.0, 1_000.0]])
  params = norm.init(jax.random.key(0), x)
  assert list(params['params']) == ['scale']
  spread = x - 1_000
  np.testing.assert_allclose(
    norm.apply(params, x), spread / np.sqrt(0.5 + 1e-6), rtol=1e-4
  )
