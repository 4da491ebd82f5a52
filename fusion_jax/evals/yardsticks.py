"""Simple predictions of weather series, to compare a model with."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Climatology:
  """Predicts the training mean at each lead for every place.

  Attributes:
    series: [T], in the series' unit.
  """

  series: np.ndarray

  @classmethod
  def fit(cls, series: np.ndarray) -> 'Climatology':
    """Averages training series over places.

    Args:
      series: [P, T], NaN where a value is missing.
    """
    return cls(_mean_over_places(np.asarray(series, np.float64)))

  def predict(self, num_places: int) -> np.ndarray:
    """Returns [num_places, T], one series for all places.

    Args:
      num_places: number of places.
    """
    return np.broadcast_to(self.series, (num_places, len(self.series)))


@dataclasses.dataclass(frozen=True)
class LinearRegression:
  """Least squares from features of a place to its series, lead by lead.

  Attributes:
    weights: [F + 1, T]; the last row is the intercept.
  """

  weights: np.ndarray

  @classmethod
  def fit(cls, features: np.ndarray, series: np.ndarray) -> 'LinearRegression':
    """Fits the weights to a training split.

    Args:
      features: [P, F], features of places.
      series: [P, T]. A place whose value is missing (NaN) at a lead is left out
        at that lead.
    """
    design = _with_intercept(features)
    series = np.asarray(series, np.float64)
    weights = np.empty((design.shape[1], series.shape[1]))
    complete = ~np.isnan(series)
    if complete.all():
      return cls(np.linalg.lstsq(design, series, rcond=None)[0])
    for lead, keep in enumerate(complete.T):
      weights[:, lead] = np.linalg.lstsq(
        design[keep], series[keep, lead], rcond=None
      )[0]
    return cls(weights)

  def predict(self, features: np.ndarray) -> np.ndarray:
    """Returns series [P, T].

    Args:
      features: [P, F], features of places.
    """
    return _with_intercept(features) @ self.weights


def band_means(image: np.ndarray) -> np.ndarray:
  """Returns the mean of each band, [C] float64.

  Args:
    image: [Y, X, C].
  """
  return np.asarray(image, np.float64).mean(axis=(0, 1))


def _mean_over_places(series: np.ndarray) -> np.ndarray:
  valid = ~np.isnan(series)
  counts = valid.sum(axis=0)
  return np.divide(
    np.where(valid, series, 0).sum(axis=0),
    counts,
    where=counts > 0,
    out=np.full(series.shape[1], np.nan),
  )


def _with_intercept(features: np.ndarray) -> np.ndarray:
  features = np.asarray(features, np.float64)
  return np.concatenate([features, np.ones((len(features), 1))], axis=1)
