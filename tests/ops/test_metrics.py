"""Scores against SciPy, brute force and their definitions."""

import numpy as np
import pytest
from scipy import stats

from fusion_jax.ops import metrics


@pytest.fixture
def drawn():
  rng = np.random.default_rng(0)
  truth = 280 + rng.normal(size=(30, 4)) * [1, 2, 3, 4]
  samples = truth[:, None] + rng.normal(size=(30, 16, 4))
  return samples, truth


def test_r2_is_one_minus_sse_over_sst(drawn):
  samples, truth = drawn
  prediction = samples.mean(1)
  for lead, value in enumerate(metrics.r2_by_lead(prediction, truth)):
    y, f = truth[:, lead], prediction[:, lead]
    expected = 1 - ((y - f) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    np.testing.assert_allclose(value, expected, rtol=1e-9)
  sst = ((truth - truth.mean()) ** 2).sum()
  np.testing.assert_allclose(
    metrics.r2(prediction, truth),
    1 - ((truth - prediction) ** 2).sum() / sst,
    rtol=1e-9,
  )


def test_r2_of_the_mean_is_zero_and_of_the_truth_one(drawn):
  _, truth = drawn
  np.testing.assert_allclose(
    metrics.r2_by_lead(truth.mean(0), truth), 0, atol=1e-12
  )
  np.testing.assert_allclose(metrics.r2_by_lead(truth, truth), 1)


def test_r2_without_spread_is_not_a_number():
  assert np.isnan(metrics.r2_by_lead(np.zeros((3, 1)), np.ones((3, 1))))


def test_missing_truth_counts_nowhere(drawn):
  samples, truth = drawn
  holes = truth.copy()
  holes[:10, 1] = np.nan
  rest = slice(10, None)
  for score in metrics.squared_error, metrics.absolute_error:
    total, count = score(samples.mean(1), holes)
    assert count.tolist() == [30, 20, 30, 30]
    np.testing.assert_allclose(
      total[1], score(samples.mean(1)[rest], truth[rest])[0][1]
    )
  np.testing.assert_allclose(
    metrics.r2_by_lead(samples.mean(1), holes)[1],
    metrics.r2_by_lead(samples.mean(1)[rest], truth[rest])[1],
  )
  for score in metrics.crps, metrics.coverage:
    np.testing.assert_allclose(
      metrics.mean(score(samples, holes))[1],
      metrics.mean(score(samples[rest], truth[rest]))[1],
    )


def test_sums_of_parts_are_the_sum_of_the_whole(drawn):
  samples, truth = drawn
  for score in metrics.crps, metrics.coverage:
    whole = score(samples, truth)
    first, second = score(samples[:7], truth[:7]), score(samples[7:], truth[7:])
    for total, a, b in zip(whole, first, second):
      np.testing.assert_allclose(total, a + b)


def test_crps_equals_the_double_sum(drawn):
  samples, truth = drawn
  size = samples.shape[1]
  near = np.abs(samples - truth[:, None]).mean(1)
  pairs = np.abs(samples[:, :, None] - samples[:, None]).sum((1, 2))
  expected = near - pairs / (2 * size * (size - 1))
  np.testing.assert_allclose(
    metrics.mean(metrics.crps(samples, truth)), expected.mean(0)
  )


def test_crps_of_many_samples_is_that_of_the_distribution():
  rng = np.random.default_rng(1)
  samples = rng.normal(size=(20, 400, 1))
  z = 0.7
  expected = (
    z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
  )  # Gneiting and Raftery 2007, Eq. (21).
  np.testing.assert_allclose(
    metrics.mean(metrics.crps(samples, np.full((20, 1), z))),
    expected,
    atol=0.01,
  )


def test_interval_of_a_calibrated_forecast_covers_what_its_samples_can():
  rng = np.random.default_rng(2)
  samples, truth = (
    rng.normal(size=(20_000, 16, 1)),
    rng.normal(size=(20_000, 1)),
  )
  np.testing.assert_allclose(
    metrics.mean(metrics.coverage(samples, truth)), 15 / 17, atol=0.01
  )
  samples, truth = rng.normal(size=(5_000, 99, 1)), rng.normal(size=(5_000, 1))
  np.testing.assert_allclose(
    metrics.mean(metrics.coverage(samples, truth)), 0.9, atol=0.015
  )


def test_bootstrap_interval_equals_scipys(drawn):
  samples, truth = drawn
  prediction = samples.mean(1) + 0.5
  low, high = metrics.r2_interval(prediction, truth, num_resamples=4_000)

  def statistic(index):
    return metrics.r2(prediction[index], truth[index])

  result = stats.bootstrap(
    (np.arange(30),),
    statistic,
    vectorized=False,
    n_resamples=4_000,
    method='percentile',
    rng=np.random.default_rng(3),
  )
  interval = result.confidence_interval
  np.testing.assert_allclose(
    [low[-1], high[-1]], [interval.low, interval.high], atol=4e-3
  )
  assert (low <= high).all() and low.shape == (5,)


def test_means_of_nothing_are_not_numbers():
  assert np.isnan(metrics.mean((np.zeros(1), np.zeros(1, int))))
