"""Computes statistics of a training split in one pass, by parts.

`Statistics` holds one accumulator per field. Each has `add(array)`,
`merge(other)` and a plain `state`, so that every shard has its own statistics
and the number of processes changes only the last digits of the moments.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from fusion_jax import modalities
from fusion_jax.data import examples, readers
from fusion_jax.data.builders import histogram as histogram_lib
from fusion_jax.data.builders import mean_ranges

NUM_BINS = modalities.SERIES_BINS
_BATCH = 256  # Series counted at once: a histogram merges slowly.
WET_MM = 0.01  # ops.quantize.DRY_MM; importing it would import JAX.

# Dropped bits of histograms: bins of 0.016 K at 300 K, and 0.05 % of an amount.
_DROPPED_BITS = {'K': 9, 'mm': 12}

# Bins of a series without a single value: they keep the vocabulary's size.
_UNFITTED = {'K': (200.0, 320.0), 'mm': (WET_MM, 100.0)}


class Moments:
  """Count, mean and variance of each of C columns, NaN left out.

  Attributes:
    count: [C] int64, number of values.
    mean: [C] float64, in the unit of the values.
    scatter: [C] float64, sum of the squared deviations from the mean.

  Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise
  algorithm for computing sample variances".
  """

  def __init__(self, count: Any, mean: Any, scatter: Any):
    self.count = np.asarray(count, np.int64)
    self.mean = np.asarray(mean, np.float64)
    self.scatter = np.asarray(scatter, np.float64)

  @classmethod
  def from_values(cls, values: np.ndarray) -> 'Moments':
    """Computes the moments of values [n, C]."""
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    count = finite.sum(0)
    safe = np.maximum(count, 1)
    mean = np.where(finite, values, 0).sum(0) / safe
    deviation = np.where(finite, values - mean[None], 0)
    return cls(count, mean, (deviation**2).sum(0))

  def merge(self, other: 'Moments') -> 'Moments':
    """Returns the moments of both samples together."""
    count = self.count + other.count
    safe = np.maximum(count, 1)
    shift = other.mean - self.mean
    return Moments(
      count,
      self.mean + shift * other.count / safe,
      self.scatter + other.scatter + shift**2 * self.count * other.count / safe,
    )

  @property
  def std(self) -> np.ndarray:
    """Standard deviations [C], in the unit of the values."""
    return np.sqrt(self.scatter / np.maximum(self.count, 1))

  def state(self) -> list[Any]:
    """The arguments from which these moments can be made again, as JSON."""
    return [self.count.tolist(), self.mean.tolist(), self.scatter.tolist()]


class Series:
  """The statistics of one weather series.

  Attributes:
    modality: the series, with its unit, K or mm.
    leads: moments of the values at every lead time.
    histogram: counts of the values that quantiles are fitted on: all
      temperatures, and precipitation of wet hours or days.
    low: smallest value.
    high: largest value.
    fitted_low: smallest value that quantiles are fitted on.
    steps: number of values and gaps together.
  """

  def __init__(
    self,
    name: str,
    leads: Moments | None = None,
    histogram: histogram_lib.Histogram | None = None,
    low: float = np.inf,
    high: float = -np.inf,
    fitted_low: float = np.inf,
    steps: int = 0,
  ):
    self.modality = modalities.MODALITIES[name]
    num_leads = len(self.modality.leads)
    self.leads = leads or Moments(*np.zeros((3, num_leads)))
    self.histogram = histogram or histogram_lib.Histogram(
      _DROPPED_BITS[self.modality.unit]
    )
    self.low, self.high = low, high
    self.fitted_low = fitted_low
    self.steps = steps

  def add(self, values: np.ndarray) -> None:
    """Adds series [n, T], in the unit of the modality."""
    finite = values[np.isfinite(values)]
    if self.modality.unit == 'mm':
      fitted = finite[finite >= np.float32(WET_MM)]
    else:
      fitted = finite
    part = Series(
      self.modality.name,
      Moments.from_values(values),
      histogram_lib.Histogram.from_values(fitted, self.histogram.dropped_bits),
      float(finite.min(initial=np.inf)),
      float(finite.max(initial=-np.inf)),
      float(fitted.min(initial=np.inf)),
      values.size,
    )
    self.__dict__ = self.merge(part).__dict__

  def merge(self, other: 'Series') -> 'Series':
    """Returns the statistics of both samples together."""
    return Series(
      self.modality.name,
      self.leads.merge(other.leads),
      self.histogram.merge(other.histogram),
      min(self.low, other.low),
      max(self.high, other.high),
      min(self.fitted_low, other.fitted_low),
      self.steps + other.steps,
    )

  def state(self) -> list[Any]:
    """The argument of `from_state` for these statistics, as JSON."""
    return [
      self.leads.state(),
      self.histogram.state(),
      self.low,
      self.high,
      self.fitted_low,
      self.steps,
    ]

  @classmethod
  def from_state(cls, name: str, state: Sequence[Any]) -> 'Series':
    """Returns the statistics of the series `name` from their `state()`."""
    leads, histogram, *others = state
    return cls(
      name, Moments(*leads), histogram_lib.Histogram(*histogram), *others
    )

  def summary(self) -> dict[str, Any]:
    """Returns the entry of `statistics.json`; unknown numbers are null."""
    total = Moments(*np.zeros((3, 1)))
    for lead in zip(self.leads.count, self.leads.mean, self.leads.scatter):
      total = total.merge(Moments(*([x] for x in lead)))
    count = int(total.count[0])
    return {
      'count': count,
      'missing': self.steps - count,
      'mean': float(total.mean[0]) if count else None,
      'std': float(total.std[0]) if count else None,
      'min': self.low if count else None,
      'max': self.high if count else None,
      'mean_by_lead': [
        float(mean) if n else None
        for n, mean in zip(self.leads.count, self.leads.mean)
      ],
      'fitted_on': int(self.histogram.counts.sum()),
    } | self._bins()

  def _bins(self) -> dict[str, dict[str, list[float]]]:
    """Returns edges of bins of equal width, and edges and medians of shares."""
    fitted = len(self.histogram.bins) > 0
    low, high = (
      (self.fitted_low, self.high) if fitted else _UNFITTED[self.modality.unit]
    )
    if low == high:
      low, high = low - 0.5, high + 0.5
    uniform = np.linspace(low, high, NUM_BINS + 1)
    shares = np.linspace(0, 1, 2 * NUM_BINS + 1)
    values = (
      self.histogram.quantiles(shares)
      if fitted
      else np.linspace(low, high, len(shares))
    )
    values = np.clip(values, low, high)
    values[0], values[-1] = low, high
    return {
      'uniform': {'edges': uniform.tolist()},
      'quantile': {
        'edges': values[::2].tolist(),
        'medians': values[1::2].tolist(),
      },
    }


class Statistics:
  """Statistics of the examples of a schema.

  Attributes:
    schema: fields of the examples.
    images: moments of the bands of every image, by its name.
    series: statistics of every weather series, by its name.
    ranges: means of the examples' fields; None where a part was counted by an
      earlier version, which did not take them.
  """

  def __init__(self, schema: readers.Schema):
    self.schema = schema
    self.images: dict[str, Moments] = {}
    self.ranges: mean_ranges.MeanRanges | None = mean_ranges.MeanRanges()
    self.series = {name: Series(name) for name in schema.series}
    self._waiting = []  # Examples whose series are not counted yet.

  def add(self, example: readers.Example) -> None:
    """Adds a complete example."""
    for name in self.schema.images:
      values = example[name]
      if values.size:
        values = values.reshape(-1, values.shape[-1])
        if name == 'S2L1C':  # The values without their offset.
          values = values.astype(np.float64) - example['S2L1C_offset']
        self._add_image(name, Moments.from_values(values))
        if self.ranges is not None:
          self.ranges.add(name, values)
    if self.ranges is not None and mean_ranges.PIXELS in example:
      pixels = example[mean_ranges.PIXELS]
      valid = example.get('valid', np.ones(len(pixels), bool))
      self.ranges.add_pixels(pixels, valid)
    self._waiting.append({name: example[name] for name in self.series})
    if len(self._waiting) >= _BATCH:
      self._count()

  def _count(self) -> None:
    """Adds the series that are not counted yet."""
    if self._waiting:
      for name, series in self.series.items():
        series.add(np.stack([waiting[name] for waiting in self._waiting]))
        if self.ranges is not None:
          for waiting in self._waiting:
            self.ranges.add(name, waiting[name][:, None])
    self._waiting = []

  def _add_image(self, name: str, moments: Moments) -> None:
    """Adds the values of an image."""
    previous = self.images.get(name)
    self.images[name] = previous.merge(moments) if previous else moments

  def merge(self, other: 'Statistics') -> Self:
    """Adds the statistics of another part of the same split."""
    self._count()
    other._count()
    for name, moments in other.images.items():
      self._add_image(name, moments)
    for name, series in other.series.items():
      self.series[name] = self.series[name].merge(series)
    self.ranges = (
      self.ranges.merge(other.ranges)
      if self.ranges is not None and other.ranges is not None
      else None
    )
    return self

  def state(self) -> dict[str, dict[str, list[Any]]]:
    """The argument of `from_state` for these statistics, as JSON."""
    self._count()
    state = {
      'images': {k: v.state() for k, v in self.images.items()},
      'series': {k: v.state() for k, v in self.series.items()},
    }
    if self.ranges is not None:
      state[mean_ranges.NAME] = self.ranges.state()
    return state

  @classmethod
  def from_state(
    cls, schema: readers.Schema, state: dict[str, dict[str, list[Any]]]
  ) -> Self:
    """Returns the statistics of a `state()`."""
    statistics = cls(schema)
    statistics.images = {k: Moments(*v) for k, v in state['images'].items()}
    statistics.series = {
      k: Series.from_state(k, v) for k, v in state['series'].items()
    }
    statistics.ranges = (
      mean_ranges.MeanRanges.from_state(state[mean_ranges.NAME])
      if mean_ranges.NAME in state
      else None
    )
    return statistics

  def summary(self) -> dict[str, dict[str, Any]]:
    """Returns the entries of `statistics.json` about the values."""
    self._count()
    ranges = self.ranges.summary() if self.ranges is not None else {}
    return {
      'images': {
        name: {'mean': moments.mean.tolist(), 'std': moments.std.tolist()}
        for name, moments in self.images.items()
      },
      'series': {
        name: series.summary() for name, series in self.series.items()
      },
      mean_ranges.NAME: ranges,
    }


assert set(_UNFITTED) == {
  modalities.MODALITIES[name].unit for name in examples.SERIES
}
