"""Plain bins on real hourly temperature and precipitation."""

import pathlib

import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.configs import series_tokenizer as config_lib
from fusion_jax.data.builders import blocks as blocks_lib
from fusion_jax.data.builders import series as builder
from fusion_jax.data.builders import statistics
from fusion_jax.data.sources import gridded, stations
from fusion_jax.evals import series_plots, series_scores

ROOT = pathlib.Path(__file__).parents[2]
WIDTH = (318 - 225) / 500


def split_values(weather, blocks, name, split, **changes):
  """[P, T] of every window of a split."""
  block = blocks_lib.Block(**blocks[split] | changes)
  source = builder.Windows(weather, {split: block}, (name,))
  return np.stack(
    [
      example[name]
      for part in source.parts()[split]
      for example in source.read(split, part)
    ]
  )


def fit(name, values):
  """Statistics of a training split."""
  counted = statistics.Series(name)
  counted.add(values)
  return {'series': {name: counted.summary()}}


@pytest.fixture(scope='module')
def rain():
  """Training and held-out precipitation of the New York airports."""
  weather = stations.Stations(
    **config_lib.STATIONS
    | {'paths': [ROOT / path for path in config_lib.STATIONS['paths']]}
  )
  return tuple(
    split_values(weather, config_lib.AIRPORTS, 'tp_hourly', split)
    for split in ('train', 'test')
  )


@pytest.fixture(scope='module')
def era5():
  path = config_lib.DATA['era5']['prepare']['weather'][0]
  return gridded.Weather((str(ROOT / path),))


@pytest.fixture(scope='module')
def temperature(era5):
  """The same of ERA5's temperature, few windows."""
  few = dict(every_h=60, lat=(50.0, 52.0))
  return tuple(
    split_values(era5, config_lib.ERA5, 't2m_hourly', split, **few)
    for split in ('train', 'test')
  )


def test_uniform_bins_err_as_theory_says_on_real_temperature(temperature):
  train, test = temperature
  bins = series_scores.bins_of(
    't2m_hourly', fit('t2m_hourly', train), (225.0, 318.0)
  )
  scores, counts = series_scores.score_bins(bins['uniform_fixed'], test)
  assert scores.mse == pytest.approx(WIDTH**2 / 12, rel=0.05)
  assert scores.mae == pytest.approx(WIDTH / 4, rel=0.05)
  assert scores.clipped == 0 and counts.sum() == test.size
  assert scores.used == (counts > 0).sum()


def test_the_splits_share_no_hour_and_no_neighbouring_cell(era5):
  lat, lon = era5.cells
  blocks = {
    split: blocks_lib.Block(**block) for split, block in config_lib.ERA5.items()
  }
  inside = {split: block.contains(lat, lon) for split, block in blocks.items()}
  spans = {}
  for split, block in blocks.items():
    hours = builder.times(block, ('t2m_hourly',)) // 3600
    spans[split] = hours.min() - 47, hours.max() + 12
    assert inside[split].sum() >= 99
  for one, two in ('train', 'val'), ('train', 'test'), ('val', 'test'):
    assert spans[one][1] < spans[two][0]
    apart = [
      np.abs(x[inside[one]][:, None] - x[inside[two]][None]) for x in (lat, lon)
    ]
    assert np.maximum(*apart).min() >= 2 * 0.25  # A cell lies in between.


@pytest.mark.parametrize('scheme', ['uniform', 'quantile'])
def test_bins_do_not_collapse_on_real_precipitation(rain, scheme):
  train, test = rain
  bins = series_scores.bins_of(
    'tp_hourly', fit('tp_hourly', train), (225.0, 318.0)
  )
  assert set(bins) == {'uniform', 'quantile'}
  ids = bins[scheme].encode(test)
  restored = bins[scheme].decode(ids)
  dry, wet = test < 0.01, test >= 0.01
  assert dry.mean() > 0.9  # Mostly zero, the hard case.
  np.testing.assert_array_equal(ids == modalities.ZERO, dry)
  np.testing.assert_array_equal(ids == modalities.NULL, np.isnan(test))
  assert np.isnan(test).any()
  np.testing.assert_array_equal(restored[dry], 0)
  amounts = len(np.unique(test[wet]))
  assert len(np.unique(ids[wet])) > 0.6 * amounts > 10
  scores, counts = series_scores.score_bins(bins[scheme], test)
  assert scores.r2 > 0.98
  assert counts[modalities.ZERO] == dry.sum()
  assert counts[modalities.NULL] == 0  # No value, so none of the tokens used.


def test_scores_of_reconstructions_by_hand():
  truth = np.array([[1.0, 2.0, np.nan], [3.0, 6.0, 3.0]])
  scores = series_scores.Scores.from_values(
    truth, truth + np.array([[1.0, 1.0, 9.0], [0.0, -2.0, 0.0]]), [2, 2, 0, 1]
  )
  assert scores.mse == pytest.approx(6 / 5)
  assert scores.mae == pytest.approx(4 / 5)
  assert scores.r2 == pytest.approx(1 - 6 / 14)
  assert scores.used == 3


def test_pictures_are_drawn(tmp_path):
  leads = modalities.HOURLY_LEADS
  truth = np.random.default_rng(0).normal(size=(3, 60))
  truth[0, :9] = np.nan
  series_plots.reconstructions(
    tmp_path / 'a.png', leads, truth, truth + 0.1, 'K'
  )
  series_plots.token_histograms(
    tmp_path / 'b.png', {'FSQ': np.array([0, 5, 7]), 'x': np.zeros(4, int)}
  )
  for name in 'ab':
    assert (tmp_path / f'{name}.png').stat().st_size > 5_000
