"""Keys depend on seed, stream and step, and on nothing else."""

import itertools

import jax
import numpy as np

from fusion_jax.train import rng


def test_keys_differ_by_seed_stream_and_step():
  keys = [
    tuple(np.asarray(jax.random.key_data(rng.key_for(*args))))
    for args in itertools.product((0, 1), ('init', 'train'), (0, 1))
  ]
  assert len(set(keys)) == 8


def test_traced_and_plain_steps_give_the_same_key():
  traced = jax.jit(
    lambda step: jax.random.key_data(rng.key_for(3, 'train', step))
  )(5)
  plain = jax.random.key_data(rng.key_for(3, 'train', 5))
  np.testing.assert_array_equal(traced, plain)


def test_key_is_the_recorded_one():
  """So that a new Python or host does not silently change every run."""
  data = jax.random.key_data(rng.key_for(0, 'train', 0))
  np.testing.assert_array_equal(data, [941276958, 1067884796])
