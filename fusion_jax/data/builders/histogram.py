"""Counts of values in fixed bins, from which quantiles are read."""

from typing import Any

import numpy as np


class Histogram:
  """Counts of values in fixed bins, an equal number in each octave.

  All values of a bin have the same sign and leading bits as float32. Counts are
  integers, so merging is exact in any order.

  Attributes:
    dropped_bits: number of trailing bits that are dropped; there are
      2^(23 - dropped_bits) bins in an octave.
    bins: [n] int64, numbers of the bins that are not empty, ascending; those
      of negative values are -1, -2, ...
    counts: [n] int64, number of values in each of them.
  """

  def __init__(self, dropped_bits: int, bins: Any = (), counts: Any = ()):
    self.dropped_bits = dropped_bits
    self.bins = np.asarray(bins, np.int64)
    self.counts = np.asarray(counts, np.int64)

  @classmethod
  def from_values(cls, values: np.ndarray, dropped_bits: int) -> 'Histogram':
    """Counts finite values [n]."""
    values = np.asarray(values, np.float32)
    bins = np.abs(values).view(np.uint32).astype(np.int64) >> dropped_bits
    bins = np.where(values < 0, -1 - bins, bins)
    return cls(dropped_bits, *np.unique(bins, return_counts=True))

  def merge(self, other: 'Histogram') -> 'Histogram':
    """Returns the histogram of both samples together."""
    bins, where = np.unique(
      np.concatenate([self.bins, other.bins]), return_inverse=True
    )
    counts = np.zeros(len(bins), np.int64)
    np.add.at(counts, where, np.concatenate([self.counts, other.counts]))
    return Histogram(self.dropped_bits, bins, counts)

  def quantiles(self, shares: np.ndarray) -> np.ndarray:
    """Returns quantiles of the values, exact to within one bin.

    Args:
      shares: float [Q], share 0..1 of the values that lie below each quantile.

    Returns:
      [Q] float64, in the unit of the values.
    """
    cumulative = np.concatenate([[0], np.cumsum(self.counts)])
    ranks = np.asarray(shares) * cumulative[-1]
    place = np.clip(
      np.searchsorted(cumulative, ranks, side='left') - 1,
      0,
      len(self.bins) - 1,
    )
    inside = (ranks - cumulative[place]) / self.counts[place]
    low, high = self._edge(self.bins[place]), self._edge(self.bins[place] + 1)
    return low + inside * (high - low)

  def bounds(self, share: float) -> tuple[float, float]:
    """Returns the edges of the bin that a quantile lies in.

    Args:
      share: share 0..1 of the values that lie below the quantile.
    """
    cumulative = np.cumsum(self.counts)
    place = int(np.searchsorted(cumulative, share * cumulative[-1]))
    bins = self.bins[[place, place]] + np.array([0, 1])
    low, high = self._edge(bins)
    return float(low), float(high)

  def _edge(self, bins: np.ndarray) -> np.ndarray:
    """Returns the lower edges [n] of bins [n], in the unit of the values."""
    bits = (np.abs(bins) << self.dropped_bits).astype(np.uint32)
    return np.sign(bins) * bits.view(np.float32).astype(np.float64)

  def state(self) -> list[Any]:
    """The arguments from which this histogram can be made again, as JSON."""
    return [self.dropped_bits, self.bins.tolist(), self.counts.tolist()]
