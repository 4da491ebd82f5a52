"""Every figure is drawn, and what is computed for it is right."""

import matplotlib.image
import numpy as np
import pytest

from fusion_jax.evals import forecast_plots, plots

LEADS = tuple(range(-47, 13))


@pytest.fixture
def places():
  rng = np.random.default_rng(0)
  truth = 280 + rng.normal(size=(5, 60)).cumsum(1)
  samples = truth[:, None] + rng.normal(size=(5, 16, 60))
  return truth, samples


def assert_has_ink(path):
  picture = matplotlib.image.imread(path)
  assert picture[..., :3].std() > 0.05


def test_profiles_are_drawn_also_for_an_odd_number_of_places(tmp_path, places):
  truth, samples = places
  images = np.random.default_rng(1).random((5, 8, 8, 3))
  path = tmp_path / 'profiles.png'
  forecast_plots.profiles(
    path, images, LEADS, truth, samples, oracle=truth, titles=['a place'] * 5
  )
  assert_has_ink(path)


def test_one_series_is_drawn(tmp_path, places):
  path = tmp_path / 'series.png'
  forecast_plots.series(path, LEADS, places[1][0], np.zeros((4, 4, 3)), 'scene')
  assert_has_ink(path)


def test_parity_is_drawn_with_missing_truth(tmp_path, places):
  truth = places[0].ravel().copy()
  truth[3] = np.nan
  path = tmp_path / 'parity.png'
  forecast_plots.parity(
    path,
    truth,
    {'model': truth + 1, 'oracle': truth},
    {'model': 0.5, 'oracle': 1.0},
  )
  assert_has_ink(path)


def test_error_by_lead_is_drawn(tmp_path):
  path = tmp_path / 'errors.png'
  forecast_plots.error_by_lead(
    path, LEADS, {'model': np.ones(60), 'climatology': np.full(60, 2.0)}
  )
  assert_has_ink(path)


def test_learning_curve_is_drawn(tmp_path):
  path = tmp_path / 'curve.png'
  steps = np.arange(100)
  plots.learning_curve(
    path,
    (steps, 5 * np.exp(-steps / 30)),
    {'t2m_hourly': ([50, 99], [3.0, 2.0])},
  )
  assert_has_ink(path)


def test_the_running_mean_keeps_constants_and_shortens_at_the_ends():
  np.testing.assert_allclose(plots._running_mean(np.ones(50)), 1)
  np.testing.assert_allclose(
    plots._running_mean(np.arange(5.0), share=0.6), [0.5, 1, 2, 3, 3.5]
  )


def test_pictures_are_stretched_over_all_bands_alike():
  counts = np.zeros((10, 10, 3))
  counts[..., 0] = 3_000
  assert plots.stretch(counts)[0, 0].tolist() == [1, 0, 0]
