"""The range of the means of a data set's examples, field by field.

A model answers for any input. Whether an input is like its training data shows
first in the mean of its bands, or of its series: `MeanRanges` counts these for
every example, and `statistics.json` keeps their 0.1 and 99.9 percentiles, or
the whole range with a margin where there are too few to tell these.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax.data.builders import histogram as histogram_lib

SHARES = (0.001, 0.999)
# Examples from which these percentiles are told; of fewer, the ends are the
# least and the largest mean, moved out by a tenth of the distance.
FEWEST = 2_000
_MARGIN = 0.1
NAME = 'mean_ranges'  # In `statistics.json`.
PIXELS = 'pixels'  # A field of examples: [T, C, k, k], bands second.
_NAMES_OF_CLASSES = ('LULC',)  # Their values are numbers of classes.
_DROPPED_BITS = 12  # Bins of 0.05 to 0.1 % of a mean.
_BATCH = 256  # Examples counted at once: a histogram merges slowly.


class MeanRanges:
  """Counts of the means of examples, by field and band.

  Counts are integers, so merging is exact in any order.

  Attributes:
    counts: {field: histograms, one for each of its C bands; one of a series}.
  """

  def __init__(
    self, counts: Mapping[str, Sequence[histogram_lib.Histogram]] | None = None
  ):
    self.counts = dict(counts or {})
    self._waiting: dict[str, list[np.ndarray]] = {}

  def add(self, field: str, values: np.ndarray) -> None:
    """Adds the values of one example.

    Args:
      field: name of an image, of a series, or 'pixels'.
      values: [n, C] values of the bands; NaN are left out.
    """
    if field in _NAMES_OF_CLASSES:
      return
    waiting = self._waiting.setdefault(field, [])
    waiting.append(means(values))
    if len(waiting) >= _BATCH:
      self._count(field)

  def add_pixels(self, values: np.ndarray, valid: np.ndarray) -> None:
    """Adds the pixels of one place.

    Args:
      values: [T, C, k, k] values of the bands at T time steps.
      valid: bool [T], which time steps exist.
    """
    taken = values[valid].swapaxes(0, 1)
    if taken.size:
      self.add(PIXELS, taken.reshape(len(taken), -1).T)

  def merge(self, other: 'MeanRanges') -> 'MeanRanges':
    """Returns the counts of both samples together."""
    merged = dict(self._all())
    for field, counts in other._all().items():
      merged[field] = (
        [a.merge(b) for a, b in zip(merged[field], counts, strict=True)]
        if field in merged
        else counts
      )
    return MeanRanges(merged)

  def state(self) -> dict[str, list[Any]]:
    """The argument of `from_state` for these counts, as JSON."""
    return {
      field: [band.state() for band in counts]
      for field, counts in self._all().items()
    }

  @classmethod
  def from_state(cls, state: Mapping[str, Sequence[Any]]) -> 'MeanRanges':
    """Returns the counts of a `state()`."""
    return cls(
      {
        field: [histogram_lib.Histogram(*band) for band in counts]
        for field, counts in state.items()
      }
    )

  def summary(self) -> dict[str, dict[str, list[float | None]]]:
    """Returns {field: {'low': [C], 'high': [C]}}, null without a value."""
    return {
      field: {
        end: [ends[i] for ends in map(_ends, counts)]
        for i, end in enumerate(('low', 'high'))
      }
      for field, counts in sorted(self._all().items())
    }

  def _all(self) -> dict[str, Sequence[histogram_lib.Histogram]]:
    """Returns the counts of all examples that were added."""
    for field in [*self._waiting]:
      self._count(field)
    return self.counts

  def _count(self, field: str) -> None:
    """Counts the means of a field that wait."""
    columns = np.stack(self._waiting.pop(field), axis=1)
    added = [
      histogram_lib.Histogram.from_values(
        column[np.isfinite(column)], _DROPPED_BITS
      )
      for column in columns
    ]
    counted = self.counts.get(field)
    self.counts[field] = (
      [a.merge(b) for a, b in zip(counted, added, strict=True)]
      if counted
      else added
    )


def _ends(
  band: histogram_lib.Histogram,
) -> tuple[float, float] | tuple[None, None]:
  """Returns the ends of the range of one band; none without a value.

  They are edges of bins, so that a mean in the same bin as the percentile, such
  as the 0 of a dry place, lies inside.
  """
  count = int(band.counts.sum())
  if not count:
    return None, None
  if count >= FEWEST:
    low, high = band.bounds(SHARES[0])[0], band.bounds(SHARES[1])[1]
    return low, high
  low, high = band.bounds(0.0)[0], band.bounds(1.0)[1]
  margin = _MARGIN * (high - low)
  return low - margin, high + margin


def means(values: np.ndarray) -> np.ndarray:
  """Returns the means [C] of values [n, C]; NaN where a column has none."""
  values = np.asarray(values, np.float64)
  finite = np.isfinite(values)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', RuntimeWarning)  # 0 / 0 is NaN.
    return np.where(finite, values, 0).sum(0) / finite.sum(0)
