"""Scores of series as sums that can be added; NumPy, float64.

Every score of a prediction is a pair (sum, count) over the places, one entry a
lead, so parts of a data set add up exactly. Missing values (NaN in the truth)
count nowhere.
"""

import numpy as np
import scoringrules


def _sums(values, valid):
  """(sum, count) of values [P, T] over the places where valid [P, T]."""
  values = np.where(valid, values, 0.0)
  return values.sum(axis=0), valid.sum(axis=0)


def squared_error(prediction, truth):
  """(sum, count), each [T], of squared errors of [P, T] against [P, T]."""
  truth = np.asarray(truth, np.float64)
  return _sums((prediction - truth) ** 2, ~np.isnan(truth))


def absolute_error(prediction, truth):
  """(sum, count), each [T], of absolute errors of [P, T] against [P, T]."""
  truth = np.asarray(truth, np.float64)
  return _sums(np.abs(prediction - truth), ~np.isnan(truth))


def crps(samples, truth):
  """(sum, count), each [T], of the continuous ranked probability score.

  Args:
    samples: [P, S, T] draws of the prediction.
    truth: [P, T].

  Source: the fair estimator of `scoringrules` (Ferro 2014), which does not
  punish a small number of samples.
  """
  samples = np.moveaxis(np.asarray(samples, np.float64), 1, -1)
  truth = np.asarray(truth, np.float64)
  valid = ~np.isnan(truth)
  scores = scoringrules.crps_ensemble(
    np.where(valid, truth, 0.0), samples, estimator='fair'
  )
  return _sums(scores, valid)


def interval(samples, level=0.9):
  """Central interval [P, T], [P, T] of the samples [P, S, T].

  Bounds are order statistics at Weibull's plotting positions k / (S + 1), so
  that the interval of a calibrated forecast covers `level`, as far as S samples
  can: 16 samples reach 15 / 17 = 0.88 with their whole range.
  """
  tail = (1 - level) / 2
  return tuple(
    np.quantile(
      np.asarray(samples, np.float64),
      [tail, 1 - tail],
      axis=1,
      method='weibull',
    )
  )


def coverage(samples, truth, level=0.9):
  """(hits, count), each [T]: how often the interval holds the truth [P, T]."""
  truth = np.asarray(truth, np.float64)
  low, high = interval(samples, level)
  inside = (low <= truth) & (truth <= high)  # False where the truth is NaN.
  return _sums(inside.astype(np.float64), ~np.isnan(truth))


def mean(total):
  """The mean of (sum, count); NaN where nothing was counted."""
  sums, counts = np.asarray(total[0], np.float64), np.asarray(total[1])
  return np.divide(
    sums, counts, where=counts > 0, out=np.full(np.shape(sums), np.nan)
  )


def pooled(total):
  """Adds the leads of a pair (sum [T], count [T])."""
  return np.sum(total[0]), np.sum(total[1])


def moments(prediction, truth):
  """What R2 needs of each place, additive over places.

  Args:
    prediction: [P, T] or, the same for every place, [T].
    truth: [P, T].

  Returns:
    [4, P, T] float64: squared error, truth, squared truth, presence. Truth is
    taken about its mean over all places and leads, for the digits' sake.
  """
  truth = np.asarray(truth, np.float64)
  prediction = np.broadcast_to(prediction, truth.shape)
  valid = ~np.isnan(truth)
  about = truth - np.nanmean(truth) if valid.any() else truth
  parts = (prediction - truth) ** 2, about, about**2, np.ones_like(truth)
  return np.stack([np.where(valid, part, 0.0) for part in parts])


def _r2_of_sums(sums):
  """1 - SSE / SST of sums [4, ...] over places; NaN where SST is 0."""
  sse, total, squares, count = sums
  safe = np.maximum(count, 1)
  sst = squares - total**2 / safe
  enough = (count > 1) & (sst > 0)
  return np.where(enough, 1 - sse / np.where(enough, sst, 1.0), np.nan)


def r2_by_lead(prediction, truth):
  """R2 = 1 - SSE / SST at each lead, pooled over places. Returns [T]."""
  return _r2_of_sums(moments(prediction, truth).sum(axis=1))


def r2(prediction, truth):
  """R2 = 1 - SSE / SST pooled over places and leads. Returns a float."""
  return float(_r2_of_sums(moments(prediction, truth).sum(axis=(1, 2))))


def r2_interval(prediction, truth, level=0.95, num_resamples=2_000, seed=0):
  """Percentile bootstrap of R2 over places, at each lead.

  A place is drawn with all its leads, since they are not independent.

  Returns:
    (low, high), each [T + 1]: one entry a lead, then all leads pooled.
  """
  parts = moments(prediction, truth)
  parts = np.concatenate([parts, parts.sum(-1, keepdims=True)], axis=-1)
  num_places = parts.shape[1]
  rng = np.random.default_rng(seed)
  times = rng.multinomial(
    num_places, np.full(num_places, 1 / num_places), size=num_resamples
  )
  drawn = _r2_of_sums(np.einsum('rp,kpt->krt', times, parts, optimize=True))
  tail = (1 - level) / 2
  bounds = np.full((2, drawn.shape[1]), np.nan)
  known = ~np.isnan(drawn).all(axis=0)
  bounds[:, known] = np.nanquantile(drawn[:, known], [tail, 1 - tail], axis=0)
  return tuple(bounds)
