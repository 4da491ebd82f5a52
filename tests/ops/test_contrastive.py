"""InfoNCE and its queue: recorded training steps, order, what does not leak."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fusion_jax.convert import timesenclip
from fusion_jax.nn import pooling
from fusion_jax.ops import contrastive
from fusion_jax.train import optim
from tests import golden_timesenclip as golden


def unit(rows, width=8, seed=0):
  x = np.random.default_rng(seed).normal(size=(rows, width))
  return contrastive.normalise(x.astype(np.float32))


def ids(*values):
  return np.array(values, np.int32)


def empty(size, width=8):
  return contrastive.init_queue(jax.random.key(0), size, width)


def near(result, expected, limit=2e-5):
  np.testing.assert_allclose(result, expected, rtol=0, atol=limit)


def test_three_training_steps_are_the_references():
  config, arrays = golden.load('queue_train_3steps')
  encoder, params = timesenclip.from_torch(
    golden.below(arrays, 'param_init/encoder.'), num_heads=config['heads']
  )
  pool = pooling.ViewPool()
  params = {
    'encoder': params,
    'log_scale': arrays['param_init/logit_scale'],
    'pool': {'kernel': arrays['param_init/pool.linear.weight'].T},
  }
  queue = empty(config['queue'], config['dim'])._replace(
    keys=jnp.asarray(arrays['in/queue_init'].T)
  )
  tx = optim.bounded(
    optax.adamw(config['lr'], weight_decay=config['weight_decay']),
    {'log_scale': (0.0, contrastive.MAX_LOG_SCALE)},
  )
  opt_state = tx.init(params)

  def loss(params, queue, x, views):
    queries = contrastive.normalise(
      encoder.apply({'params': params['encoder']}, x)
    )
    keys = contrastive.normalise(pool.apply({'params': params['pool']}, views))
    logits = contrastive.logits(
      queries, keys, ids(0, 0, 0, 0), queue, jnp.exp(params['log_scale'])
    )
    return jnp.mean(contrastive.info_nce(logits)), (queries, keys, logits)

  step = jax.jit(jax.value_and_grad(loss, has_aux=True))
  for i in range(config['steps']):
    actual = golden.below(arrays, f'step{i}/')
    (value, (queries, keys, logits)), grads = step(
      params, queue, actual['x'], actual['views']
    )
    near(queries, actual['ts_embedding'])
    near(keys, actual['ground_embedding'])
    near(logits, actual['logits'], 2e-4)  # Up to 14.3 x a cosine.
    near(value, actual['loss'])
    for key, expected in golden.below(actual, 'grad/').items():
      result = grad_of(grads, key, encoder.depth)
      assert np.abs(result - expected).max() < 1e-4 * np.abs(expected).max()
    near(optax.tree.norm(grads), actual['grad_global_norm'], 1e-4)
    queue = contrastive.enqueue(queue, keys, ids(0, 0, 0, 0))
    near(queue.keys.T, actual['queue_after'])
    assert int(queue.pointer) == int(actual['ptr_after'])
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    near(params['log_scale'], actual['logit_scale_after'])
  final = timesenclip.to_torch(params['encoder'], encoder.depth)
  for key, expected in golden.below(arrays, 'param_final/encoder.').items():
    # Biases of attention's keys have no gradient; Adam blows up its rounding.
    seen = np.ones(len(expected), bool)
    if key.endswith('in_proj_bias'):
      seen[config['dim'] : 2 * config['dim']] = False
    near(final[key][seen], expected[seen], 1e-4)
  near(params['pool']['kernel'].T, arrays['param_final/pool.linear.weight'])


def grad_of(grads, key, depth):
  """The gradient under the reference's name."""
  if key == 'logit_scale':
    return grads['log_scale']
  if key == 'pool.linear.weight':
    return grads['pool']['kernel'].T
  return timesenclip.to_torch(grads['encoder'], depth)[
    key.removeprefix('encoder.')
  ]


def test_the_oldest_rows_are_overwritten_in_order_and_around_the_end():
  queue = empty(6)
  batches = [unit(2, seed=i) for i in range(4)]
  for i, keys in enumerate(batches):
    queue = contrastive.enqueue(queue, keys, ids(2 * i, 2 * i + 1))
  np.testing.assert_array_equal(
    queue.keys, np.concatenate([batches[3], batches[1], batches[2]])
  )
  np.testing.assert_array_equal(queue.ids, [6, 7, 2, 3, 4, 5])
  assert (int(queue.pointer), int(queue.filled)) == (2, 6)


def test_a_batch_that_crosses_the_end_wraps_around():
  queue = empty(6)._replace(pointer=jnp.int32(5))
  keys = unit(2)
  result = contrastive.enqueue(queue, keys, ids(1, 2))
  np.testing.assert_array_equal(result.keys[5], keys[0])
  np.testing.assert_array_equal(result.keys[0], keys[1])
  np.testing.assert_array_equal(result.keys[1:5], queue.keys[1:5])


def test_own_positive_is_among_the_logits_once():
  keys, queries = unit(3), unit(3, seed=1)
  queue = empty(6)
  for in_batch in (False, True):
    logits = contrastive.logits(
      queries, keys, ids(0, 1, 2), queue, 1.0, in_batch=in_batch
    )
    own = np.sum(queries * keys, axis=1)
    hits = np.isclose(logits, own[:, None], rtol=0, atol=1e-6).sum(axis=1)
    np.testing.assert_array_equal(hits, 1)
    assert logits.shape == (3, 10 if in_batch else 7)
    near(logits[:, 1:7], queries @ queue.keys.T, 1e-6)


def test_no_gradient_reaches_the_queue():
  queries, keys = unit(3), unit(3, seed=1)

  def loss(rows):
    queue = empty(6)._replace(keys=rows)
    return contrastive.logits(queries, keys, ids(0, 1, 2), queue, 1.0).sum()

  assert not np.any(jax.grad(loss)(unit(6, seed=2)))
  pushed = jax.grad(
    lambda keys: contrastive.enqueue(empty(6), keys, ids(0, 1, 2)).keys.sum()
  )(keys)
  assert not np.any(pushed)


def test_masked_ids_take_no_part():
  queue = contrastive.enqueue(empty(4), unit(2), ids(7, 8))
  queries, keys = unit(2, seed=1), unit(2, seed=2)
  logits = contrastive.logits(
    queries, keys, ids(8, 0), queue, 1.0, mask_ids=True, in_batch=True
  )
  share = jax.nn.softmax(logits)
  assert share[0, 2] == 0  # Row 1 of the queue holds place 8.
  # Noise has no id, though its rows say 0; own keys are no negatives.
  np.testing.assert_array_equal(
    share == 0,
    [
      [False, False, True, False, False, True, False],
      [False, False, False, False, False, False, True],
    ],
  )


def test_noise_can_be_left_out_until_the_queue_is_filled():
  queries, keys = unit(2), unit(2, seed=1)
  queue = empty(4)

  def loss(queue):
    return contrastive.info_nce(
      contrastive.logits(queries, keys, ids(0, 1), queue, 1.0, skip_noise=True)
    )

  np.testing.assert_array_equal(loss(queue), 0)
  queue = contrastive.enqueue(queue, unit(2, seed=2), ids(2, 3))
  by_hand = [
    np.log1p(np.sum(np.exp(q @ queue.keys[:2].T - q @ k)))
    for q, k in zip(queries, keys)
  ]
  near(loss(queue), by_hand, 1e-6)


def test_reverse_loss_is_that_of_the_transposed_batch():
  queries, keys = unit(3), unit(3, seed=1)
  cosines = 5 * keys @ queries.T
  by_hand = jax.nn.logsumexp(cosines, axis=1) - jnp.diag(cosines)
  near(
    contrastive.reverse_info_nce(queries, keys, ids(0, 1, 2), 5.0),
    by_hand,
    1e-6,
  )


def test_zero_vectors_stay_zero():
  np.testing.assert_array_equal(contrastive.normalise(np.zeros((2, 3))), 0)


def test_queue_must_hold_whole_batches():
  contrastive.check_queue_size(2048, 1024)
  contrastive.check_queue_size(65_536, 1024)
  with pytest.raises(
    ValueError,
    match=r'of 100 does not hold whole batches of '
    r'32; set config.loss.queue_size to 96\.',
  ):
    contrastive.check_queue_size(100, 32)
  with pytest.raises(
    ValueError,
    match=r'batches of 8 \(a micro-batch: 32 / 4\)'
    '; set config.loss.queue_size to 16',
  ):
    contrastive.check_queue_size(17, 32, 4)
  with pytest.raises(ValueError, match='set config.loss.queue_size to 32'):
    contrastive.check_queue_size(16, 32)
