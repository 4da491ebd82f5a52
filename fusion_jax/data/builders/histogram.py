"""Counts of values in fixed bins, from which quantiles are read."""

from typing import Any

import numpy as np


class Histogram:
  """Counts of positive values in fixed bins, an equal number in each octave.

  All values of a bin have the same leading bits as float32. Counts are
  integers, so merging is exact in any order.

  Attributes:
    dropped_bits: number of trailing bits that are dropped; there are
      2^(23 - dropped_bits) bins in an octave.
    bins: [n] int64, numbers of the bins that are not empty, ascending.
    counts: [n] int64, number of values in each of them.
  """

  def __init__(self, dropped_bits: int, bins: Any = (), counts: Any = ()):
    self.dropped_bits = dropped_bits
    self.bins = np.asarray(bins, np.int64)
    self.counts = np.asarray(counts, np.int64)

  @classmethod
  def from_values(cls, values: np.ndarray, dropped_bits: int) -> 'Histogram':
    """The histogram of positive finite values [n]."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return cls(
      dropped_bits, *np.unique(bits >> dropped_bits, return_counts=True)
    )

  def merge(self, other: 'Histogram') -> 'Histogram':
    """The histogram of both samples together."""
    bins, where = np.unique(
      np.concatenate([self.bins, other.bins]), return_inverse=True
    )
    counts = np.zeros(len(bins), np.int64)
    np.add.at(counts, where, np.concatenate([self.counts, other.counts]))
    return Histogram(self.dropped_bits, bins, counts)

  def quantiles(self, shares: np.ndarray) -> np.ndarray:
    """Quantiles of the values, exact to within one bin.

    Args:
      shares: [Q], shares 0..1 of all values that lie below each quantile.

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

  def _edge(self, bins: np.ndarray) -> np.ndarray:
    """The lower edges [n] of bins [n], in the unit of the values."""
    bits = (bins << self.dropped_bits).astype(np.uint32)
    return bits.view(np.float32).astype(np.float64)

  def state(self) -> list[Any]:
    """The arguments that make this histogram again, as JSON."""
    return [self.dropped_bits, self.bins.tolist(), self.counts.tolist()]
