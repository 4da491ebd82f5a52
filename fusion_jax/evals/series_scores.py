"""Scores of series that tokens give back, and the bins to compare with."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fusion_jax import modalities
from fusion_jax.data import normalize
from fusion_jax.ops import fsq as fsq_lib
from fusion_jax.ops import metrics, quantize
from fusion_jax.types import Statistics

# {approach: name in a table}.
NAMES = {
  'uniform_fixed': 'uniform, {low:g} .. {high:g} {unit}',
  'uniform': 'uniform, training range',
  'quantile': 'quantile',
  'fsq': 'FSQ {levels}',
}


@dataclasses.dataclass(frozen=True)
class Scores:
  """How well held-out values come back.

  Attributes:
    mse: mean squared error, squared unit.
    mae: mean absolute error.
    r2: 1 - SSE / SST over all values.
    used: tokens that occur.
    perplexity: exp of the entropy of the tokens.
    clipped: share of the values outside all bins.
  """

  mse: float
  mae: float
  r2: float
  used: int
  perplexity: float
  clipped: float = 0.0

  @classmethod
  def from_values(
    cls,
    truth: np.ndarray,
    restored: np.ndarray,
    counts: np.ndarray,
    clipped: float = 0.0,
  ) -> 'Scores':
    """Compares values that came back from tokens with the truth.

    Args:
      truth: [P, T] in the series' unit, NaN where a value is missing.
      restored: [P, T] in the series' unit.
      counts: [tokens], how often each token occurs.
      clipped: share of the values outside all bins.
    """
    use = fsq_lib.codebook_use(np.asarray(counts))
    squares = metrics.pooled(metrics.squared_error(restored, truth))
    return cls(
      float(metrics.mean(squares)),
      float(
        metrics.mean(metrics.pooled(metrics.absolute_error(restored, truth)))
      ),
      metrics.r2(restored, truth),
      int(use['used']),
      float(use['perplexity']),
      float(clipped),
    )


def bins_of(
  name: str, statistics: Statistics, uniform_range: Sequence[float]
) -> dict[str, quantize.Quantizer]:
  """Makes the plain bins of one series, fitted on the training split.

  Args:
    name: name of the series.
    statistics: statistics of the training split.
    uniform_range: (low, high) of the fixed bins in K, for temperatures only.

  Returns:
    {approach: quantizer}.
  """
  modality = modalities.MODALITIES[name]
  bins = {
    scheme: normalize.quantizers([modality], statistics, scheme)[name]
    for scheme in ('uniform', 'quantile')
  }
  if normalize.is_precipitation(modality):
    return bins
  low, high = uniform_range
  return {'uniform_fixed': quantize.uniform(low, high)} | bins


def score_bins(
  quantizer: quantize.Quantizer, truth: np.ndarray
) -> tuple[Scores, np.ndarray]:
  """Scores plain bins.

  Args:
    quantizer: the bins.
    truth: [P, T] in the series' unit, NaN where a value is missing.

  Returns:
    (scores, counts): counts [ids] tell how often each id occurred.
  """
  ids = np.asarray(quantizer.encode(truth))
  counts = np.bincount(ids.ravel(), minlength=quantizer.vocab_size)
  counts[modalities.NULL] = 0  # A missing value is not counted.
  present = np.isfinite(truth)
  return Scores.from_values(
    truth,
    np.asarray(quantizer.decode(ids)),
    counts,
    float(np.asarray(quantizer.clipped(truth))[present].mean()),
  ), counts
