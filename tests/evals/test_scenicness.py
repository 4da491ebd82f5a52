"""Scenicness from prompts, by hand and by SciPy."""

import numpy as np
import pytest

from fusion_jax.data.sources import scenicness as sources
from fusion_jax.evals import scenicness

AXES = np.eye(3, dtype=np.float32)
PROMPTS = sources.RatedPrompts(
  ('lake', 'road', 'field'),
  np.array([9.0, 1.0, 5.0]),
  np.array([0, 0, 1]),
  AXES,
)


def softmax(x):
  e = np.exp(x - np.max(x))
  return e / e.sum()


def test_early_weighs_all_prompts_at_once():
  vector = np.array([[3.0, 4.0, 0.0]], np.float32)
  weights = softmax(2 * np.array([0.6, 0.8, 0]))
  assert scenicness.early(vector, PROMPTS, 2.0) == pytest.approx(
    [weights @ [9, 1, 5]]
  )


def test_late_averages_raters_with_enough_prompts():
  vector = np.array([[3.0, 4.0, 0.0]], np.float32)
  first = softmax(2 * np.array([0.6, 0.8])) @ [9, 1]
  assert scenicness.late(vector, PROMPTS, 2, 2.0) == pytest.approx([first])
  assert scenicness.late(vector, PROMPTS, 1, 2.0) == pytest.approx(
    [(first + 5) / 2]
  )


def test_nobody_with_so_many_prompts_is_an_error():
  with pytest.raises(ValueError, match='No rater has written 3'):
    scenicness.late(AXES, PROMPTS, 3)


def test_kendall_is_tau_b():
  result = scenicness.correlation(
    np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
  )
  # Five pairs agree, none disagrees, one is tied on one side.
  assert result.kendall_tau == pytest.approx(5 / np.sqrt(6 * 5))
  assert np.isnan(scenicness.correlation(np.ones(3), np.arange(3.0))).all()


def test_places_without_votes_do_not_count_and_the_average_is_of_all():
  rng = np.random.default_rng(0)
  prompts = sources.RatedPrompts(
    tuple('abcdefghijk'),
    rng.uniform(1, 10, 11),
    np.zeros(11, int),
    rng.normal(size=(11, 3)).astype(np.float32),
  )
  vectors = rng.normal(size=(20, 3)).astype(np.float32)
  votes = scenicness.early(vectors, prompts) + rng.normal(0, 0.1, 20)
  missing = np.append(votes, np.nan)
  result = scenicness.evaluate(
    np.concatenate([vectors, AXES[:1]]), missing, prompts
  )
  assert result['early'].pearson_r > 0.9
  assert result == scenicness.evaluate(vectors, votes, prompts)
  # One rater: all settings are the same.
  assert result['late_min10'] == pytest.approx(result['early'])
  assert result['average'] == pytest.approx(result['early'])
  numbers = scenicness.metrics('test/scenicness', result)
  assert numbers['test/scenicness_early/pearson_r'] == (
    result['early'].pearson_r
  )
