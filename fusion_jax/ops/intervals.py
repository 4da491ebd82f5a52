"""Bootstrap intervals of scores over held-out places; NumPy, float64."""

import numpy as np


def of_share(hits, level=0.95, num_resamples=2_000, seed=0):
  """Percentile bootstrap of a share of places, (low, high).

  Args:
    hits: bool [P]; each place is drawn on its own.
    level: of the interval.
    num_resamples: draws.
    seed: of the draws.

  Returns:
    Two floats; NaN without places.
  """
  hits = np.asarray(hits, bool)
  if not hits.size:
    return np.nan, np.nan
  rng = np.random.default_rng(seed)
  # Hits of a resample of 0s and 1s are binomial: no need to draw the places.
  drawn = rng.binomial(hits.size, hits.mean(), num_resamples) / hits.size
  return _bounds(drawn, level)


def of_score(score, groups, level=0.95, num_resamples=1_000, seed=0):
  """Percentile bootstrap of any score, (low, high); groups stay together.

  Args:
    score: from int indices [N] of places, some of them more than once, to a
      float.
    groups: [P], what each place is drawn with, such as its spatial cell;
      `np.arange(P)` to draw each on its own.
    level: of the interval.
    num_resamples: draws.
    seed: of the draws.

  Returns:
    Two floats. Resamples whose score is NaN are left out.
  """
  _, of_place = np.unique(groups, return_inverse=True)
  members = [np.flatnonzero(of_place == i) for i in range(of_place.max() + 1)]
  rng = np.random.default_rng(seed)
  drawn = []
  for _ in range(num_resamples):
    chosen = rng.integers(len(members), size=len(members))
    drawn.append(score(np.concatenate([members[i] for i in chosen])))
  drawn = np.asarray(drawn, np.float64)
  return _bounds(drawn[~np.isnan(drawn)], level)


def _bounds(drawn, level):
  if not drawn.size:
    return np.nan, np.nan
  tail = (1 - level) / 2
  return tuple(float(x) for x in np.quantile(drawn, [tail, 1 - tail]))
