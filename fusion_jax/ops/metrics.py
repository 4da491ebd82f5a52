"""Scores of series as sums that can be added; NumPy, float64.

Every score of a prediction is a pair (sum, count) over the places, with one
entry for each lead time, so the pairs of parts of a data set add up exactly.
Missing values (NaN in the truth) do not count.
"""

import numpy as np
import scoringrules
from numpy import typing as npt

Total = tuple[np.ndarray, np.ndarray]  # (sum, count), each [T].


def _sums(values: np.ndarray, valid: np.ndarray) -> Total:
  """Returns (sum, count), each [T], of values [P, T] where valid [P, T]."""
  values = np.where(valid, values, 0.0)
  return values.sum(axis=0), valid.sum(axis=0)


def squared_error(prediction: np.ndarray, truth: npt.ArrayLike) -> Total:
  """Returns (sum, count) of the squared errors at each lead time.

  Args:
    prediction: [P, T] float, one series for each place.
    truth: [P, T] float in the unit of the prediction; NaN where missing.

  Returns:
    Two arrays [T].
  """
  truth = np.asarray(truth, np.float64)
  return _sums((prediction - truth) ** 2, ~np.isnan(truth))


def absolute_error(prediction: np.ndarray, truth: npt.ArrayLike) -> Total:
  """Returns (sum, count) of the absolute errors at each lead time.

  Args:
    prediction: [P, T] float, one series for each place.
    truth: [P, T] float in the unit of the prediction; NaN where missing.

  Returns:
    Two arrays [T].
  """
  truth = np.asarray(truth, np.float64)
  return _sums(np.abs(prediction - truth), ~np.isnan(truth))


def crps(samples: npt.ArrayLike, truth: npt.ArrayLike) -> Total:
  """Returns (sum, count) of the continuous ranked probability score.

  Args:
    samples: [P, S, T] float, S draws of the predicted series of each place.
    truth: [P, T] float in the unit of the samples; NaN where missing.

  Returns:
    Two arrays [T], one entry for each lead time.

  Source: the fair estimator of `scoringrules` (Ferro 2014), which does not
  punish a small number of samples.
  """
  samples = np.moveaxis(np.asarray(samples, np.float64), 1, -1)
  truth = np.asarray(truth, np.float64)
  valid = ~np.isnan(truth)
  scores = scoringrules.crps_ensemble(
    np.where(valid, truth, 0.0), samples, estimator='fair'
  )
  return _sums(np.asarray(scores), valid)


def interval(
  samples: npt.ArrayLike, level: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the central prediction interval of samples.

  Its ends are order statistics at Weibull's plotting positions k / (S + 1), so
  that the interval of a calibrated forecast covers `level`, as far as S samples
  can: the whole range of 16 samples covers 15 / 17 = 0.88.

  Args:
    samples: [P, S, T] float, S draws of the predicted series of each place.
    level: probability that the interval should cover, in (0, 1).

  Returns:
    Lower and upper ends, [P, T] each, in the unit of the samples.
  """
  tail = (1 - level) / 2
  low, high = np.quantile(
    np.asarray(samples, np.float64),
    [tail, 1 - tail],
    axis=1,
    method='weibull',
  )
  return low, high


def coverage(
  samples: npt.ArrayLike, truth: npt.ArrayLike, level: float = 0.9
) -> Total:
  """Returns how often the prediction interval contains the truth.

  Args:
    samples: [P, S, T] float, S draws of the predicted series of each place.
    truth: [P, T] float in the unit of the samples; NaN where missing.
    level: probability that the interval should cover, in (0, 1).

  Returns:
    (number of hits, count), two arrays [T].
  """
  truth = np.asarray(truth, np.float64)
  low, high = interval(samples, level)
  inside = (low <= truth) & (truth <= high)  # False where the truth is NaN.
  return _sums(inside.astype(np.float64), ~np.isnan(truth))


def mean(total: tuple[npt.ArrayLike, npt.ArrayLike]) -> np.ndarray:
  """Returns the means of a pair (sum [T], count [T]); NaN for a count of 0."""
  sums, counts = np.asarray(total[0], np.float64), np.asarray(total[1])
  return np.divide(
    sums, counts, where=counts > 0, out=np.full(np.shape(sums), np.nan)
  )


def pooled(total: Total) -> tuple[np.number, np.number]:
  """Adds the lead times of a pair (sum [T], count [T]); returns two scalars."""
  return np.sum(total[0]), np.sum(total[1])


def moments(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> np.ndarray:
  """Returns what R2 needs of each place, so that it can be added over places.

  Args:
    prediction: [P, T] float; or [T], one series that serves every place.
    truth: [P, T] float in the unit of the prediction; NaN where missing.

  Returns:
    [4, P, T] float64: squared error, truth, squared truth, and 1 where the
    truth is known. The mean over all places and lead times is subtracted from
    the truth first, which saves digits.
  """
  truth = np.asarray(truth, np.float64)
  prediction = np.broadcast_to(prediction, truth.shape)
  valid = ~np.isnan(truth)
  about = truth - np.nanmean(truth) if valid.any() else truth
  parts = (prediction - truth) ** 2, about, about**2, np.ones_like(truth)
  return np.stack([np.where(valid, part, 0.0) for part in parts])


def _r2_of_sums(sums: np.ndarray) -> np.ndarray:
  """Returns 1 - SSE / SST from sums [4, ...] of moments; NaN if SST is 0."""
  sse, total, squares, count = sums
  safe = np.maximum(count, 1)
  sst = squares - total**2 / safe
  enough = (count > 1) & (sst > 0)
  return np.where(enough, 1 - sse / np.where(enough, sst, 1.0), np.nan)


def r2_by_lead(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> np.ndarray:
  """Returns R2 = 1 - SSE / SST at each lead time, pooled over places.

  Args:
    prediction: [P, T] float; or [T], one series that serves every place.
    truth: [P, T] float in the unit of the prediction; NaN where missing.

  Returns:
    [T] float64; NaN where the truth does not vary.
  """
  return _r2_of_sums(moments(prediction, truth).sum(axis=1))


def r2(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
  """Returns R2 = 1 - SSE / SST, pooled over places and lead times.

  Args:
    prediction: [P, T] float; or [T], one series that serves every place.
    truth: [P, T] float in the unit of the prediction; NaN where missing.
  """
  return float(_r2_of_sums(moments(prediction, truth).sum(axis=(1, 2))))


def r2_interval(
  prediction: npt.ArrayLike,
  truth: npt.ArrayLike,
  level: float = 0.95,
  num_resamples: int = 2_000,
  seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns bootstrap intervals of R2 over places, at each lead time.

  A place is drawn with all its lead times, since they are not independent.

  Args:
    prediction: [P, T] float; or [T], one series that serves every place.
    truth: [P, T] float in the unit of the prediction; NaN where missing.
    level: probability that the interval should cover, in (0, 1).
    num_resamples: number of bootstrap resamples.
    seed: seed of the random draws.

  Returns:
    Lower and upper ends, [T + 1] each: one entry for each lead time, then the
    R2 pooled over all of them. NaN where no resample has an R2.
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
  return bounds[0], bounds[1]
