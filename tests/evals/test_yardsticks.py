"""Climatology and linear regression on hand-made places."""

import numpy as np

from fusion_jax.evals import yardsticks


def test_climatology_is_the_mean_of_what_is_there():
  series = np.array([[1.0, np.nan], [3.0, 4.0]])
  predicted = yardsticks.Climatology.fit(series).predict(3)
  np.testing.assert_allclose(predicted, [[2, 4]] * 3)


def test_regression_recovers_a_linear_law():
  rng = np.random.default_rng(0)
  features = rng.normal(size=(50, 12))
  series = features @ rng.normal(size=(12, 3)) + [280, 281, 282]
  regression = yardsticks.LinearRegression.fit(features, series)
  np.testing.assert_allclose(regression.predict(features), series)


def test_regression_leaves_missing_values_out_lead_by_lead():
  features = np.array([[0.0], [1.0], [2.0], [3.0]])
  series = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, 4.0], [7.0, 4.0]])
  regression = yardsticks.LinearRegression.fit(features, series)
  np.testing.assert_allclose(regression.predict([[10.0]]), [[21, 4]], atol=1e-9)


def test_band_means_do_not_overflow_integers():
  image = np.full((64, 64, 2), 20_000, np.int16)
  np.testing.assert_allclose(yardsticks.band_means(image), 20_000)
