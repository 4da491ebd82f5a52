"""Statistics of a training split in one pass, by parts that add up.

`Statistics` holds one accumulator a field. Each has `add(array)`,
`merge(other)` and a plain `state`, so that every shard keeps its own and the
number of processes changes nothing but the last digits of the moments.
"""

import numpy as np

from fusion_jax import modalities
from fusion_jax.data.builders import examples

NUM_BINS = modalities.SERIES_BINS
_BATCH = 256  # Series counted at once: a histogram merges slowly.
WET_MM = 0.01  # ops.quantize.DRY_MM; importing it would import JAX.

# Of `Histogram`: bins of 0.016 K at 300 K, and of 0.05 % of an amount.
_DROPPED_BITS = {'K': 9, 'mm': 12}

# Bins of a series without a single value: they keep the vocabulary's size.
_UNFITTED = {'K': (200.0, 320.0), 'mm': (WET_MM, 100.0)}


class Moments:
  """Count, mean and variance of each of C columns, NaN left out.

  Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise
  algorithm for computing sample variances".
  """

  def __init__(self, count, mean, scatter):
    self.count = np.asarray(count, np.int64)  # [C]
    self.mean = np.asarray(mean, np.float64)  # [C]
    self.scatter = np.asarray(scatter, np.float64)  # [C] sum of (x - mean)^2.

  @classmethod
  def of(cls, values):
    """The moments of values [n, C]."""
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    count = finite.sum(0)
    safe = np.maximum(count, 1)
    mean = np.where(finite, values, 0).sum(0) / safe
    deviation = np.where(finite, values - mean[None], 0)
    return cls(count, mean, (deviation**2).sum(0))

  def merge(self, other):
    count = self.count + other.count
    safe = np.maximum(count, 1)
    shift = other.mean - self.mean
    return Moments(
      count,
      self.mean + shift * other.count / safe,
      self.scatter + other.scatter + shift**2 * self.count * other.count / safe,
    )

  @property
  def std(self):
    return np.sqrt(self.scatter / np.maximum(self.count, 1))

  def state(self):
    return [self.count.tolist(), self.mean.tolist(), self.scatter.tolist()]


class Histogram:
  """Counts of positive values in fixed bins, so many to the octave.

  A bin is what the leading bits of a float32 leave open. Counts are integers,
  so merging is exact in any order.
  """

  def __init__(self, dropped_bits, bins=(), counts=()):
    self.dropped_bits = dropped_bits  # 2^(23 - dropped_bits) bins an octave.
    self.bins = np.asarray(bins, np.int64)  # [n], ascending.
    self.counts = np.asarray(counts, np.int64)  # [n]

  @classmethod
  def of(cls, values, dropped_bits):
    """The histogram of positive finite values [n]."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return cls(
      dropped_bits, *np.unique(bits >> dropped_bits, return_counts=True)
    )

  def merge(self, other):
    bins, where = np.unique(
      np.concatenate([self.bins, other.bins]), return_inverse=True
    )
    counts = np.zeros(len(bins), np.int64)
    np.add.at(counts, where, np.concatenate([self.counts, other.counts]))
    return Histogram(self.dropped_bits, bins, counts)

  def quantiles(self, shares):
    """The values below which `shares` [Q] of all lie, to within one bin."""
    cumulative = np.concatenate([[0], np.cumsum(self.counts)])
    wanted = np.asarray(shares) * cumulative[-1]
    place = np.clip(
      np.searchsorted(cumulative, wanted, side='left') - 1,
      0,
      len(self.bins) - 1,
    )
    inside = (wanted - cumulative[place]) / self.counts[place]
    low, high = self._edge(self.bins[place]), self._edge(self.bins[place] + 1)
    return low + inside * (high - low)

  def _edge(self, bins):
    bits = (bins << self.dropped_bits).astype(np.uint32)
    return bits.view(np.float32).astype(np.float64)

  def state(self):
    return [self.dropped_bits, self.bins.tolist(), self.counts.tolist()]


class Series:
  """What `statistics.json` says of one weather series."""

  def __init__(
    self,
    name,
    leads=None,
    histogram=None,
    low=np.inf,
    high=-np.inf,
    fitted_low=np.inf,
    steps=0,
  ):
    self.modality = modalities.MODALITIES[name]
    num_leads = len(self.modality.leads)
    self.leads = leads or Moments(*np.zeros((3, num_leads)))
    self.histogram = histogram or Histogram(_DROPPED_BITS[self.modality.unit])
    self.low, self.high = low, high
    self.fitted_low = fitted_low  # Of precipitation: the driest wet value.
    self.steps = steps  # Values and gaps together.

  def add(self, values):
    """Counts series [n, T] in."""
    found = values[np.isfinite(values)]
    if self.modality.unit == 'mm':
      fitted = found[found >= np.float32(WET_MM)]
    else:
      fitted = found
    part = Series(
      self.modality.name,
      Moments.of(values),
      Histogram.of(fitted, self.histogram.dropped_bits),
      float(found.min(initial=np.inf)),
      float(found.max(initial=-np.inf)),
      float(fitted.min(initial=np.inf)),
      values.size,
    )
    self.__dict__ = self.merge(part).__dict__

  def merge(self, other):
    return Series(
      self.modality.name,
      self.leads.merge(other.leads),
      self.histogram.merge(other.histogram),
      min(self.low, other.low),
      max(self.high, other.high),
      min(self.fitted_low, other.fitted_low),
      self.steps + other.steps,
    )

  def state(self):
    return [
      self.leads.state(),
      self.histogram.state(),
      self.low,
      self.high,
      self.fitted_low,
      self.steps,
    ]

  @classmethod
  def from_state(cls, name, state):
    leads, histogram, *others = state
    return cls(name, Moments(*leads), Histogram(*histogram), *others)

  def summary(self):
    """The entry of `statistics.json`; numbers without a value are null."""
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

  def _bins(self):
    """Edges of equal width and of equal share, and the latter's medians."""
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
  """Accumulates the examples of a schema."""

  def __init__(self, schema):
    self.schema = schema
    self.images = {}
    self.series = {name: Series(name) for name in schema.series}
    self._waiting = []  # Examples whose series are not yet counted in.

  def add(self, example):
    """Counts a complete example in."""
    for name in self.schema.images:
      values = example[name]
      if values.size:
        values = values.reshape(-1, values.shape[-1])
        if name == 'S2L1C':  # What is left when its offset is subtracted.
          values = values.astype(np.float64) - example['S2L1C_offset']
        self._add_image(name, Moments.of(values))
    self._waiting.append({name: example[name] for name in self.series})
    if len(self._waiting) >= _BATCH:
      self._count()

  def _count(self):
    """Counts in the series that wait."""
    if self._waiting:
      for name, series in self.series.items():
        series.add(np.stack([waiting[name] for waiting in self._waiting]))
    self._waiting = []

  def _add_image(self, name, moments):
    known = self.images.get(name)
    self.images[name] = known.merge(moments) if known else moments

  def merge(self, other):
    self._count()
    other._count()
    for name, moments in other.images.items():
      self._add_image(name, moments)
    for name, series in other.series.items():
      self.series[name] = self.series[name].merge(series)
    return self

  def state(self):
    self._count()
    return {
      'images': {k: v.state() for k, v in self.images.items()},
      'series': {k: v.state() for k, v in self.series.items()},
    }

  @classmethod
  def from_state(cls, schema, state):
    statistics = cls(schema)
    statistics.images = {k: Moments(*v) for k, v in state['images'].items()}
    statistics.series = {
      k: Series.from_state(k, v) for k, v in state['series'].items()
    }
    return statistics

  def summary(self):
    """The 'images' and 'series' entries of `statistics.json`."""
    self._count()
    return {
      'images': {
        name: {'mean': moments.mean.tolist(), 'std': moments.std.tolist()}
        for name, moments in self.images.items()
      },
      'series': {
        name: series.summary() for name, series in self.series.items()
      },
    }


assert set(_UNFITTED) == {
  modalities.MODALITIES[name].unit for name in examples.SERIES
}
