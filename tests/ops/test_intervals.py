"""Bootstrap intervals against what is known of them."""

import numpy as np
import pytest
import scipy.stats

from fusion_jax.ops import intervals


def test_interval_of_a_share_is_that_of_the_binomial():
  hits = np.arange(400) < 100
  low, high = intervals.of_share(hits, num_resamples=20_000)
  expected = scipy.stats.binom.ppf([0.025, 0.975], 400, 0.25) / 400
  np.testing.assert_allclose([low, high], expected, atol=0.003)


def test_share_of_nothing_has_no_interval():
  assert np.isnan(intervals.of_share([])).all()


def test_interval_of_a_mean_is_as_wide_as_its_standard_error():
  values = np.random.default_rng(0).normal(size=300)
  low, high = intervals.of_score(
    lambda i: values[i].mean(), np.arange(300), num_resamples=2_000
  )
  expected = 2 * 1.96 * values.std() / np.sqrt(300)
  assert high - low == pytest.approx(expected, rel=0.1)


def test_groups_are_drawn_whole():
  values, groups = np.repeat([0.0, 1.0], 50), np.repeat([3, 7], 50)
  seen = set()

  def score(i):
    seen.add(float(values[i].mean()))
    return values[i].mean()

  intervals.of_score(score, groups, num_resamples=50)
  assert seen == {0.0, 0.5, 1.0}


def test_scores_that_are_not_numbers_do_not_count():
  low, high = intervals.of_score(
    lambda i: np.nan if i[0] else 5.0, np.arange(2), num_resamples=40
  )
  assert low == high == 5
