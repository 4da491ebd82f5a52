"""Bootstrap intervals of scores over held-out places; NumPy, float64."""

from collections.abc import Callable

import numpy as np
from numpy import typing as npt


def of_share(
  hits: npt.ArrayLike,
  level: float = 0.95,
  num_resamples: int = 2_000,
  seed: int = 0,
) -> tuple[float, float]:
  """Returns the bootstrap interval of the fraction of places that are right.

  Args:
    hits: [P] bool, whether each place is right; each is drawn on its own.
    level: probability that the interval should cover, in (0, 1).
    num_resamples: number of bootstrap resamples.
    seed: seed of the random draws.

  Returns:
    Lower and upper end, percentiles of the resamples; NaN if there are no
    places.
  """
  hits = np.asarray(hits, bool)
  if not hits.size:
    return np.nan, np.nan
  rng = np.random.default_rng(seed)
  # Hits of a resample of 0s and 1s are binomial: no need to draw the places.
  drawn = rng.binomial(hits.size, hits.mean(), num_resamples) / hits.size
  return _bounds(drawn, level)


def of_score(
  score: Callable[[np.ndarray], float],
  groups: npt.ArrayLike,
  level: float = 0.95,
  num_resamples: int = 1_000,
  seed: int = 0,
) -> tuple[float, float]:
  """Returns the bootstrap interval of any score; groups are drawn whole.

  Args:
    score: function from indices of places, [N] int with repetitions, to the
      score of these places.
    groups: [P] int or str, group of each place, such as its spatial cell. The
      places of a group are drawn together; `np.arange(P)` draws each place on
      its own.
    level: probability that the interval should cover, in (0, 1).
    num_resamples: number of bootstrap resamples.
    seed: seed of the random draws.

  Returns:
    Lower and upper end, percentiles of the resamples. Resamples whose score is
    NaN are left out.
  """
  _, group_of_place = np.unique(groups, return_inverse=True)
  members = [
    np.flatnonzero(group_of_place == i) for i in range(group_of_place.max() + 1)
  ]
  rng = np.random.default_rng(seed)
  drawn = []
  for _ in range(num_resamples):
    chosen = rng.integers(len(members), size=len(members))
    drawn.append(score(np.concatenate([members[i] for i in chosen])))
  drawn = np.asarray(drawn, np.float64)
  return _bounds(drawn[~np.isnan(drawn)], level)


def _bounds(scores: np.ndarray, level: float) -> tuple[float, float]:
  """Returns the central percentiles of the scores of resamples."""
  if not scores.size:
    return np.nan, np.nan
  tail = (1 - level) / 2
  low, high = np.quantile(scores, [tail, 1 - tail])
  return float(low), float(high)
