"""Filtering and drawing of codes, against the reference and by counting."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from fusion_jax.ops import decoding

TESTDATA = pathlib.Path(__file__).parents[1] / 'testdata'


@pytest.fixture(scope='module')
def golden():
  return safetensors_numpy.load_file(
    TESTDATA / 'generation' / 'generation.safetensors'
  )


@pytest.mark.parametrize(
  'top_k, top_p',
  [(5, 0.0), (0.1, 0.0), (0, 0.3), (0, 0.8), (0, 0.999), (10, 0.5)],
)
def test_filtered_logits_equal_the_reference(golden, top_k, top_p):
  logits = jnp.asarray(golden['inputs/filter_logits'])
  if top_k:
    logits = decoding.keep_top_k(logits, top_k)
  if top_p:
    logits = decoding.keep_top_p(logits, top_p)
  np.testing.assert_array_equal(
    logits, golden[f'outputs/filter_k{top_k}_p{top_p}']
  )


def test_top_p_keeps_the_first_code_over_the_threshold():
  logits = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
  kept = decoding.keep_top_p(logits, 0.6)
  assert np.isfinite(kept).tolist() == [[True, True, False]]


def test_top_p_never_removes_every_code():
  logits = jnp.array([[20.0, 0.0, 0.0]])
  assert np.isfinite(decoding.keep_top_p(logits, 1e-6)).sum() == 1


def test_a_fraction_of_few_codes_keeps_at_least_one():
  kept = decoding.keep_top_k(jnp.arange(4.0), 0.1)
  assert np.isfinite(kept).tolist() == [False, False, False, True]


def test_temperature_zero_is_the_most_probable_code():
  logits = jnp.array([[0.0, 3.0, 1.0], [2.0, 1.0, 0.0]])
  codes = decoding.sample(jax.random.key(0), logits, temperature=0.0)
  assert codes.tolist() == [1, 0]
  assert codes.dtype == jnp.int32


def test_draws_follow_the_tempered_softmax_of_the_kept_codes():
  logits = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
  many = jnp.broadcast_to(logits, (40_000, 4))
  codes = decoding.sample(jax.random.key(0), many, temperature=0.5, top_k=3)
  expected = np.array([16, 9, 4, 0]) / 29  # Squares of the kept shares.
  observed = np.bincount(codes, minlength=4) / len(codes)
  np.testing.assert_allclose(observed, expected, atol=0.01)


def test_top_p_looks_at_the_untempered_softmax():
  # Tempered by 0.1 the first code alone would hold more than 0.6.
  logits = jnp.broadcast_to(jnp.log(jnp.array([0.5, 0.4, 0.1])), (2_000, 3))
  codes = decoding.sample(
    jax.random.key(0), logits, temperature=10.0, top_p=0.6
  )
  assert set(np.unique(codes)) == {0, 1}


@pytest.mark.parametrize('temperature', [0.0, 1.0])
def test_forbidden_codes_never_come_out(temperature):
  logits = jnp.zeros((500, 4)).at[:, 2].set(9.0)
  allowed = jnp.array([True, False, False, True])
  codes = decoding.sample(
    jax.random.key(0), logits, temperature, allowed=allowed
  )
  assert set(np.unique(codes)) <= {0, 3}


def test_impossible_settings_raise():
  logits = jnp.zeros((1, 3))
  with pytest.raises(ValueError, match='negative'):
    decoding.sample(jax.random.key(0), logits, temperature=-1.0)
  with pytest.raises(ValueError, match='probability'):
    decoding.sample(jax.random.key(0), logits, top_p=1.5)
