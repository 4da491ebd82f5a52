"""Scenicness of places from rated prompts, against people's votes (Table 4).

Source: Levering et al. 2024, 10.1371/journal.pone.0307083, as used in
TimeSenCLIP, Sec. 4.4. The columns "2, 5, 8, 10" of its table are the least
number of prompts that a rater must have written, not numbers of prompts.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from fusion_jax.ops import zero_shot

MINIMA = (2, 5, 8, 10)
# exp(logit scale) of CLIP. That of TimeSenCLIP is not published; the learned
# one is reported beside it.
SCALE = 100.0


class Correlation(NamedTuple):
  """Between predicted and voted scenicness.

  Attributes:
    pearson_r: of the values.
    kendall_tau: tau-b, of the ranks.
  """

  pearson_r: float
  kendall_tau: float


def early(vectors, prompts, scale=SCALE):
  """Mean score of all prompts, weighed by a softmax over them, [P].

  Args:
    vectors: [P, E].
    prompts: `data.sources.scenicness.RatedPrompts` with vectors.
    scale: factor of the cosines.
  """
  weights = scipy.special.softmax(scale * _cosines(vectors, prompts), axis=1)
  return weights @ prompts.values


def late(vectors, prompts, minimum, scale=SCALE):
  """Mean over raters of each one's own `early`, [P].

  Args:
    vectors: as of `early`.
    prompts: as of `early`.
    minimum: least number of prompts of a rater that counts.
    scale: as of `early`.

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
  found = []
  for rater in chosen:
    mine = prompts.raters == rater
    weights = scipy.special.softmax(logits[:, mine], axis=1)
    found.append(weights @ prompts.values[mine])
  return np.mean(found, axis=0)


def evaluate(vectors, votes, prompts, scale=SCALE):
  """{'early' | 'late_min2' ... | 'average': `Correlation`}, as in Table 4.

  Args:
    vectors: [P, E] of places.
    votes: [P] mean votes, NaN where there are none.
    prompts: `RatedPrompts` with vectors.
    scale: factor of the cosines.
  """
  known = ~np.isnan(votes)
  vectors, votes = vectors[known], votes[known]
  predictions = {'early': early(vectors, prompts, scale)} | {
    f'late_min{minimum}': late(vectors, prompts, minimum, scale)
    for minimum in MINIMA
  }
  found = {
    name: correlation(values, votes) for name, values in predictions.items()
  }
  found['average'] = Correlation(*np.mean(list(found.values()), axis=0))
  return found


def correlation(predicted, truth):
  """`Correlation`; NaN for fewer than two places, or a constant."""
  if len(truth) < 2 or np.ptp(predicted) == 0 or np.ptp(truth) == 0:
    return Correlation(np.nan, np.nan)
  return Correlation(
    float(scipy.stats.pearsonr(predicted, truth).statistic),
    float(scipy.stats.kendalltau(predicted, truth, variant='b').statistic),
  )


def metrics(path, found):
  """{path: number} of `evaluate`'s answer."""
  return {
    f'{path}_{name}/{what}': value
    for name, pair in found.items()
    for what, value in pair._asdict().items()
  }


def _cosines(vectors, prompts):
  return np.asarray(
    zero_shot.scores(np.asarray(vectors, np.float32), prompts.vectors),
    np.float64,
  )
