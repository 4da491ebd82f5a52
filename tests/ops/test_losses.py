"""Grouped losses against dense ones and SciPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax.sharding import AxisType

from fusion_jax.ops import grouped_losses, losses

WIDTH = 8
HEADS = (
  losses.Head('codes', 0, 40),
  losses.Head('words', 1, 300),
  losses.Head('weather', 3, 24, first_value=4, num_values=20),
)


def random_rows(num_rows, seed=0, only=None):
  """Decoder outputs, modality ids with padding and a raw one, targets."""
  rng = np.random.default_rng(seed)
  modality = rng.integers(-1, 4, num_rows)
  if only is not None:
    modality[:] = only
  sizes = {head.index: head.vocab_size for head in HEADS}
  target = rng.integers(0, [sizes.get(m, 1) for m in modality])
  outputs = rng.normal(size=(num_rows, WIDTH)).astype('f')
  tables = {
    head.name: rng.normal(size=(head.vocab_size, WIDTH)).astype('f')
    for head in HEADS
  }
  return outputs, modality, target, tables


def weights_of(modality, target):
  trainable = jnp.asarray(modality) >= 0
  return (
    losses.modality_weights(jnp.asarray(modality), trainable, HEADS),
    losses.ordinal_weights(
      jnp.asarray(modality), trainable, jnp.asarray(target), HEADS
    ),
  )


def dense(outputs, tables, modality, target, ce_weight, emd_weight):
  """The same loss from all logits of all heads."""
  total = 0.0
  for head in HEADS:
    logits = outputs @ tables[head.name].T
    member = modality == head.index
    entropy = -jax.nn.log_softmax(logits)[
      np.arange(len(target)), jnp.where(member, target, 0)
    ]
    total += jnp.sum(jnp.where(member, ce_weight * entropy, 0))
    if head.num_values:
      values = logits[:, head.first_value :]
      bins = jnp.arange(head.num_values)[None]
      step = bins >= (target - head.first_value)[:, None]
      gap = (jnp.cumsum(jax.nn.softmax(values), 1) - step) ** 2
      total += jnp.sum(
        jnp.where(member, emd_weight * gap.sum(1) / (head.num_values - 1), 0)
      )
  return total


def grouped(outputs, tables, *labels):
  return grouped_losses.grouped_cross_entropy(outputs, *labels, tables, HEADS)


# One compilation for every test of as many rows.
with_gradients = jax.jit(jax.value_and_grad(grouped, (0, 1), has_aux=True))
dense_gradients = jax.jit(jax.value_and_grad(dense, (0, 1)))


def check(outputs, tables, *labels):
  (loss, sums), grads = with_gradients(outputs, tables, *labels)
  expected, expected_grads = dense_gradients(outputs, tables, *labels)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-6),
    grads,
    expected_grads,
  )
  np.testing.assert_allclose(
    jax.jit(grouped)(outputs, tables, *labels)[0], expected, rtol=1e-5
  )
  return sums


@pytest.mark.parametrize('only', [None, 1, 3, -1, 2])
def test_grouped_loss_equals_the_dense_one(only):
  """Mixed rows; all of one modality; all padding; all of a raw modality."""
  outputs, modality, target, tables = random_rows(600, only=only)
  sums = check(outputs, tables, modality, target, *weights_of(modality, target))
  for head in HEADS:
    counted = np.sum(modality == head.index)
    assert sums[head.name]['ce'][1] == counted
  ordered = (modality == 3) & (target >= 4)
  assert sums['weather']['emd'][1] == ordered.sum()


def test_weights_scale_rows_and_zero_skips_them():
  outputs, modality, target, tables = random_rows(600, seed=1)
  ce_weight, emd_weight = weights_of(modality, target)
  rng = np.random.default_rng(0)
  keep = rng.random(600) < 0.5
  scale = (rng.random(600) * keep).astype('f')
  sums = check(
    outputs, tables, modality, target, ce_weight * scale, emd_weight * scale
  )
  assert sums['words']['ce'][1] == np.sum(keep & (modality == 1))


def test_sums_are_those_of_the_rows():
  outputs, modality, target, tables = random_rows(600)
  (_, sums), _ = with_gradients(
    outputs, tables, modality, target, *weights_of(modality, target)
  )
  logits = outputs[modality == 1] @ tables['words'].T
  log_p = scipy.special.log_softmax(logits, axis=1)
  rows = np.arange(len(logits))
  np.testing.assert_allclose(
    sums['words']['ce'][0], -log_p[rows, target[modality == 1]].sum(), rtol=1e-5
  )


@pytest.mark.multi_device
@pytest.mark.parametrize('shape', [(8, 1), (2, 4)])
def test_split_over_devices_gives_the_same_loss_and_gradients(shape):
  outputs, modality, target, tables = random_rows(640)
  labels = modality, target, *weights_of(modality, target)
  (expected, expected_sums), expected_grads = with_gradients(
    outputs, tables, *labels
  )
  mesh = jax.make_mesh(shape, ('data', 'fsdp'), axis_types=(AxisType.Auto,) * 2)
  with jax.set_mesh(mesh):
    rows = jax.P(('data', 'fsdp'))
    outputs, labels = jax.device_put(
      (outputs, labels), jax.NamedSharding(mesh, rows)
    )
    (loss, sums), grads = jax.jit(
      jax.value_and_grad(grouped, (0, 1), has_aux=True)
    )(outputs, tables, *labels)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  close = functools.partial(np.testing.assert_allclose, atol=1e-6, rtol=1e-5)
  jax.tree.map(close, (sums, grads), (expected_sums, expected_grads))


def test_no_array_holds_all_logits():
  outputs, modality, target, tables = random_rows(600)
  labels = modality, target, *weights_of(modality, target)
  text = (
    jax.jit(jax.grad(lambda x: grouped(x, tables, *labels)[0]))
    .lower(outputs)
    .as_text()
  )
  assert 'tensor<128x300xf32>' in text
  assert 'tensor<600x300xf32>' not in text
  assert 'tensor<728x300xf32>' not in text


def test_bfloat16_outputs_get_bfloat16_gradients_and_a_float32_loss():
  outputs, modality, target, tables = random_rows(600)
  labels = modality, target, *weights_of(modality, target)
  (expected, _), (expected_rows, _) = with_gradients(outputs, tables, *labels)
  half = jnp.asarray(outputs, jnp.bfloat16)
  (loss, _), (rows, table) = with_gradients(half, tables, *labels)
  assert loss.dtype == jnp.float32
  assert rows.dtype == jnp.bfloat16
  assert table['words'].dtype == jnp.float32
  np.testing.assert_allclose(loss, expected, rtol=0.02)
  gap = np.abs(rows.astype('f') - expected_rows).max()
  assert gap < 0.05 * np.abs(expected_rows).max()


def test_ordinal_distance_is_scipys():
  """SciPy's energy distance is sqrt(2 sum of squared CDF gaps)."""
  rng = np.random.default_rng(0)
  logits, target = rng.normal(size=(20, 9)) * 3, rng.integers(0, 9, 20)
  ours = losses.ordinal_distance(jnp.asarray(logits), jnp.asarray(target))
  bins = np.arange(9)
  expected = [
    scipy.stats.energy_distance(bins, [t], scipy.special.softmax(row)) ** 2
    / 2
    / 8
    for row, t in zip(logits, target)
  ]
  np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_ordinal_distance_is_the_share_of_bins_between_certainties():
  logits = jnp.where(jnp.arange(11)[None] == 3, 100.0, 0.0)
  for target in range(11):
    result = losses.ordinal_distance(logits, jnp.asarray([target]))
    np.testing.assert_allclose(result, abs(target - 3) / 10, atol=1e-6)


def test_gradient_of_ordinal_distance_is_the_finite_difference():
  rng = np.random.default_rng(0)
  logits, target = rng.normal(size=7), 2
  gradient = jax.grad(
    lambda x: losses.ordinal_distance(x, jnp.asarray(target))
  )(jnp.asarray(logits, jnp.float32))

  def distance(x):
    step = np.arange(7) >= target
    return np.sum((np.cumsum(scipy.special.softmax(x)) - step) ** 2) / 6

  for i in range(7):
    nudge = 1e-5 * (np.arange(7) == i)
    slope = (distance(logits + nudge) - distance(logits - nudge)) / 2e-5
    np.testing.assert_allclose(gradient[i], slope, atol=1e-6)


def test_modalities_count_alike_and_absent_ones_divide():
  modality = jnp.asarray([[0, 0, 1], [0, -1, 2]])  # 2 has no head.
  trainable = jnp.asarray([[True, True, True], [False, False, True]])
  weights = losses.modality_weights(modality, trainable, HEADS)
  np.testing.assert_allclose(
    weights, [[1 / 6, 1 / 6, 1 / 3], [0, 0, 0]], rtol=1e-6
  )


def test_token_weights_follow_the_number_of_logits():
  modality = jnp.asarray([0, 0, 1, 3])
  weights = losses.token_weights(modality, jnp.ones(4, bool), HEADS)
  logits = 2 * 40 + 300 + 24
  np.testing.assert_allclose(
    weights, np.array([40, 40, 300, 24]) / logits, rtol=1e-6
  )


def test_ordinal_weights_count_value_bins_only():
  modality = jnp.asarray([3, 3, 3, 0, 3])
  target = jnp.asarray([3, 4, 23, 5, 7])
  trainable = jnp.asarray([True, True, True, True, False])
  weights = losses.ordinal_weights(modality, trainable, target, HEADS)
  np.testing.assert_allclose(weights, [0, 1 / 6, 1 / 6, 0, 0], rtol=1e-6)
