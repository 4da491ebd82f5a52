"""Scenicness of places from rated prompts, against people's votes (Table 4).

Source: Levering et al. 2024, 10.1371/journal.pone.0307083, as used in
TimeSenCLIP, Sec. 4.4. The columns "2, 5, 8, 10" of its table are the least
number of prompts that a rater must have written, not numbers of prompts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from fusion_jax.data.sources import scenicness as prompts_lib
from fusion_jax.ops import zero_shot

MINIMA = (2, 5, 8, 10)
# exp(logit scale) of CLIP. That of TimeSenCLIP is not published; the scale
# that a run has learned is reported beside it.
SCALE = 100.0


class Correlation(NamedTuple):
  """How well predicted scenicness agrees with people's votes.

  Attributes:
    pearson_r: Pearson's correlation of the values.
    kendall_tau: Kendall's tau-b of the ranks.
  """

  pearson_r: float
  kendall_tau: float


def early(
  vectors: np.ndarray, prompts: prompts_lib.RatedPrompts, scale: float = SCALE
) -> np.ndarray:
  """Averages the ratings of all prompts, weighed by a softmax over them.

  Args:
    vectors: [P, E], vectors of places.
    prompts: rated prompts with vectors.
    scale: factor of the cosines.

  Returns:
    [P], scenicness from 1 to 10.
  """
  weights = scipy.special.softmax(scale * _cosines(vectors, prompts), axis=1)
  return weights @ prompts.values


def late(
  vectors: np.ndarray,
  prompts: prompts_lib.RatedPrompts,
  minimum: int,
  scale: float = SCALE,
) -> np.ndarray:
  """Averages over raters what `early` gives with the prompts of each alone.

  Args:
    vectors: [P, E], vectors of places.
    prompts: rated prompts with vectors.
    minimum: least number of prompts that a rater must have written to count.
    scale: factor of the cosines.

  Returns:
    [P], scenicness from 1 to 10.

  Raises:
    ValueError: if no rater has written so many.
  """
  raters, counts = np.unique(prompts.raters, return_counts=True)
  chosen = raters[counts >= minimum]
  if not len(chosen):
    raise ValueError(
      f'No rater has written {minimum} prompts; the most are {counts.max()}.'
    )
  logits = scale * _cosines(vectors, prompts)
  predictions = []
  for rater in chosen:
    written = prompts.raters == rater
    weights = scipy.special.softmax(logits[:, written], axis=1)
    predictions.append(weights @ prompts.values[written])
  return np.mean(predictions, axis=0)


def evaluate(
  vectors: np.ndarray,
  votes: np.ndarray,
  prompts: prompts_lib.RatedPrompts,
  scale: float = SCALE,
) -> dict[str, Correlation]:
  """Compares predicted scenicness with people's votes, as in Table 4.

  Args:
    vectors: [P, E], vectors of places.
    votes: [P], mean votes from 1 to 10; NaN where there are none.
    prompts: rated prompts with vectors.
    scale: factor of the cosines.

  Returns:
    {'early' | 'late_min2' ... | 'average': correlation}.
  """
  voted = ~np.isnan(votes)
  vectors, votes = vectors[voted], votes[voted]
  predictions = {'early': early(vectors, prompts, scale)} | {
    f'late_min{minimum}': late(vectors, prompts, minimum, scale)
    for minimum in MINIMA
  }
  correlations = {
    name: correlation(values, votes) for name, values in predictions.items()
  }
  pearson_r, kendall_tau = np.mean(list(correlations.values()), axis=0)
  correlations['average'] = Correlation(pearson_r, kendall_tau)
  return correlations


def correlation(predicted: np.ndarray, truth: np.ndarray) -> Correlation:
  """Correlates two series of values; NaN for a constant or a single place.

  Args:
    predicted: [P].
    truth: [P].
  """
  if len(truth) < 2 or np.ptp(predicted) == 0 or np.ptp(truth) == 0:
    return Correlation(np.nan, np.nan)
  pearson: Any = scipy.stats.pearsonr(predicted, truth)
  kendall: Any = scipy.stats.kendalltau(predicted, truth, variant='b')
  return Correlation(float(pearson.statistic), float(kendall.statistic))


def metrics(
  path: str, correlations: Mapping[str, Correlation]
) -> dict[str, float]:
  """Turns the result of `evaluate` into {path: number}.

  Args:
    path: start of the paths.
    correlations: {name: correlation}.
  """
  return {
    f'{path}_{name}/{what}': value
    for name, pair in correlations.items()
    for what, value in pair._asdict().items()
  }


def _cosines(
  vectors: np.ndarray, prompts: prompts_lib.RatedPrompts
) -> np.ndarray:
  """Cosines [P, N] of places and prompts, which must have vectors."""
  assert prompts.vectors is not None
  return np.asarray(
    zero_shot.scores(np.asarray(vectors, np.float32), prompts.vectors),
    np.float64,
  )
