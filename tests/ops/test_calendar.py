"""Medians over months, with some missing; months of dates."""

import jax
import numpy as np
import pytest

from fusion_jax.ops import calendar


def test_lower_median_is_that_of_sorting():
  values = np.random.default_rng(0).integers(0, 5, (4, 12, 3)).astype(float)
  np.testing.assert_array_equal(
    calendar.lower_median(values), np.sort(values, axis=1)[:, 5]
  )
  valid = np.random.default_rng(1).random((4, 12)) < 0.6
  valid[3] = False
  result = calendar.lower_median(values, valid)
  for row, keep, median in zip(values, valid, result):
    expected = (
      np.zeros(3)
      if not keep.any()
      else np.sort(row[keep], axis=0)[(keep.sum() - 1) // 2]
    )
    np.testing.assert_array_equal(median, expected)


def test_gradient_of_the_median_goes_to_one_value():
  values = np.array([[[3.0], [1.0], [1.0], [2.0]]])
  grads = jax.grad(lambda x: calendar.lower_median(x).sum())(values)
  np.testing.assert_array_equal(np.ravel(grads), [0, 0, 1, 0])


def test_quarters_and_years_leave_missing_months_out():
  pixels = np.arange(12.0)[None, :, None]
  valid = np.ones((1, 12), bool)
  valid[0, [0, 3, 4, 5]] = False
  result, known = calendar.summarise(pixels, valid, 'quarterly')
  np.testing.assert_array_equal(np.ravel(result), [1, 0, 7, 10])
  np.testing.assert_array_equal(known, [[True, False, True, True]])
  result, known = calendar.summarise(pixels, valid, 'single')
  np.testing.assert_array_equal(np.ravel(result), [7])
  assert known.all()
  assert calendar.summarise(pixels, valid, 'monthly')[0] is pixels


def test_bad_settings_are_errors():
  pixels, valid = np.zeros((1, 6, 1)), np.ones((1, 6), bool)
  with pytest.raises(ValueError, match="setting='daily' is not one of"):
    calendar.summarise(pixels, valid, 'daily')
  with pytest.raises(ValueError, match='6 time steps, not the 12'):
    calendar.summarise(pixels, valid, 'single')


def test_days_run_through_their_months():
  np.testing.assert_allclose(
    calendar.months_of_days([1, 16, 31, 32, 365]),
    [-0.5 + 0.5 / 31, 0, 0.5 - 0.5 / 31, 0.5 + 0.5 / 28, 11.5 - 0.5 / 31],
    atol=1e-6,
  )


def test_shares_of_months_are_linear_and_go_around_the_year():
  result = calendar.shares_of_months(np.array([[2.0, 2.25], [-0.25, 11.5]]))
  expected = np.zeros((2, 2, 12))
  expected[0, 0, 2] = 1
  expected[0, 1, 2:4] = 0.75, 0.25
  expected[1, 0, [11, 0]] = 0.25, 0.75
  expected[1, 1, [11, 0]] = 0.5
  np.testing.assert_allclose(result, expected, atol=1e-7)
