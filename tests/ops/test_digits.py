"""Digits of numbers: place values, ranges, the way through FSQ."""

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.ops import digits, fsq

LEVELS = (8, 6, 5)


def test_digits_of_a_hundred_count_tens_and_ones():
  found = digits.Digits(0.0, 100.0, (10, 10)).split(
    jnp.array([0.0, 37.5, 99.9])
  )
  np.testing.assert_array_equal(found, [[0, 0], [3, 7], [9, 9]])


def test_numbers_come_back_to_half_a_step():
  places = digits.Digits(-1.2, 8.8, LEVELS)
  numbers = np.random.default_rng(0).uniform(-1.2, 8.8, 500).astype('f')
  codes = np.array(places.split(numbers)) / (np.array(LEVELS) - 1)
  back = places.join(codes.astype('f'))
  assert np.abs(back - numbers).max() <= places.step / 2 + 1e-5
  assert np.abs(back - numbers).max() > 0.4 * places.step


def test_rounding_is_digits_and_back():
  found = digits.Digits(0.0, 100.0, (10, 10)).round(
    jnp.array([0.0, 37.2, 99.9])
  )
  np.testing.assert_allclose(found, [0.5, 37.5, 99.5], rtol=1e-6)


def test_numbers_outside_become_the_ends():
  found = digits.Digits(0.0, 1.0, LEVELS).split(jnp.array([-5.01, 7.01]))
  np.testing.assert_array_equal(found, [[0, 0, 0], [7, 5, 4]])


def test_fsq_snaps_latents_to_the_digits():
  places = digits.Digits(0.0, 240.0, LEVELS)
  numbers = jnp.arange(240) + 0.5  # Every code once.
  codes = fsq.FSQ(LEVELS, **fsq.TERRAMIND).quantize(places.latents(numbers))
  np.testing.assert_allclose(places.join(codes), numbers, atol=1e-3)


def test_an_empty_range_raises():
  with pytest.raises(ValueError, match='from 2.0 to 1.0'):
    digits.Digits(2.0, 1.0, LEVELS)
