"""Values of a weather series <-> the ids of its vocabulary.

Works on NumPy and JAX arrays alike; bins are fitted with NumPy. The
vocabulary: 0..3 [PAD] [UNK] [SOS] [EOS], 4..203 sentinels,
204 [NULL] missing, 205 [ZERO] dry, from 206 the value bins in ascending order.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import modalities

DRY_MM = 0.01  # Precipitation below this is [ZERO].

_FIRST = modalities.VALUE_OFFSET


@dataclasses.dataclass(frozen=True, eq=False)
class Quantizer:
  """The bins of one series.

  Attributes:
    edges: [V + 1] float32, never decreasing. Bin i holds edges[i] <= x <
      edges[i + 1]; the last bin holds its upper edge too. Equal edges enclose
      an empty bin.
    values: [V] float32, what each bin decodes to.
    has_zero: whether values below `DRY_MM` become [ZERO]: precipitation.
  """

  edges: np.ndarray
  values: np.ndarray
  has_zero: bool = False

  def __post_init__(self):
    # Float32 on both sides, or an edge would not equal the same value in JAX.
    object.__setattr__(self, 'edges', np.asarray(self.edges, np.float32))
    object.__setattr__(self, 'values', np.asarray(self.values, np.float32))
    if len(self.edges) != len(self.values) + 1 or not len(self.values):
      raise ValueError(
        f'{len(self.values)} values need one edge more, but '
        f'there are {len(self.edges)}.'
      )
    if not (np.isfinite(self.edges).all() and (np.diff(self.edges) >= 0).all()):
      raise ValueError('Bin edges must be finite and never decrease.')

  @property
  def vocab_size(self):
    return _FIRST + len(self.values)

  @property
  def table(self):
    """[vocab_size] float32: the value of every id, NaN where it has none."""
    table = np.full(self.vocab_size, np.nan, np.float32)
    if self.has_zero:
      table[modalities.ZERO] = 0
    table[_FIRST:] = self.values
    return table

  def encode(self, values):
    """Ids [...] int32 of values [...] float; outside the range: the end bins.

    NaN becomes [NULL]. Float64 input is rounded to float32 first.
    """
    xp = _namespace(values)
    values = xp.asarray(values, np.float32)
    bins = xp.searchsorted(xp.asarray(self.edges[1:-1]), values, side='right')
    ids = bins.astype(np.int32) + _FIRST
    if self.has_zero:
      ids = xp.where(values < np.float32(DRY_MM), modalities.ZERO, ids)
    return xp.where(xp.isnan(values), modalities.NULL, ids).astype(np.int32)

  def decode(self, ids):
    """Values [...] float32 of ids [...]; NaN for [NULL] and other specials."""
    xp = _namespace(ids)
    ids = xp.asarray(ids)
    inside = (ids >= 0) & (ids < self.vocab_size)
    table = xp.asarray(self.table)
    return xp.where(inside, table[xp.where(inside, ids, 0)], np.float32(np.nan))

  def clipped(self, values):
    """Bool [...]: which values lie outside all bins and were moved inside."""
    xp = _namespace(values)
    values = xp.asarray(values, np.float32)
    outside = (values < self.edges[0]) | (values > self.edges[-1])
    wet = values >= np.float32(DRY_MM) if self.has_zero else True
    return outside & wet


def uniform(low, high, num_bins=modalities.SERIES_BINS, has_zero=False):
  """Bins of equal width over [low, high], decoded to their centres.

  `low == high`, the range of a constant, is widened by half a unit each way.

  Raises:
    ValueError: if the range is not finite or runs backwards.
  """
  if not (np.isfinite(low) and np.isfinite(high)) or low > high:
    raise ValueError(f'There is no range from {low} to {high} to divide.')
  if np.float32(low) == np.float32(high):
    low, high = low - 0.5, high + 0.5
  edges = np.linspace(low, high, num_bins + 1)
  return Quantizer(edges, centres(edges), has_zero)


def quantile(sample, num_bins=modalities.SERIES_BINS, has_zero=False):
  """Bins that each hold the same share of `sample`, decoded to its medians.

  Args:
    sample: [...] float, any order; NaN is left out, and so is what [ZERO]
      stands for if `has_zero`.
    num_bins: V.
    has_zero: as in `Quantizer`.

  Raises:
    ValueError: if nothing is left to fit.
  """
  sample = fit_values(sample, has_zero)
  if not sample.size:
    raise ValueError(
      'Quantiles need at least one value that is not missing'
      f'{" and not dry" if has_zero else ""}.'
    )
  edges = np.quantile(sample, np.linspace(0, 1, num_bins + 1))
  edges = np.maximum.accumulate(edges.astype(np.float32))
  return Quantizer(edges, medians(sample, edges), has_zero)


def fit_values(sample, has_zero=False):
  """[n] float32: the values of a sample that bins are fitted on."""
  sample = np.asarray(sample, np.float32).ravel()
  return sample[sample >= DRY_MM] if has_zero else sample[~np.isnan(sample)]


def centres(edges):
  """[V] float32: the middle of each of V bins, given their V + 1 edges."""
  edges = np.asarray(edges, np.float64)
  return ((edges[:-1] + edges[1:]) / 2).astype(np.float32)


def medians(sample, edges):
  """[V] float32: the median of the sample in each bin, centres where empty.

  An empty bin between two equal edges thus decodes to that edge.
  """
  edges = np.asarray(edges, np.float32)
  sample = np.sort(np.asarray(sample, np.float32).ravel())
  bins = np.searchsorted(edges[1:-1], sample, side='right')  # As `encode`.
  values = centres(edges)
  starts = np.searchsorted(bins, np.arange(len(values) + 1))
  for i in np.flatnonzero(np.diff(starts)):
    values[i] = np.median(sample[starts[i] : starts[i + 1]])
  return values


def from_statistics(
  series, scheme: Literal['uniform', 'quantile'], has_zero=False
):
  """The quantizer of one series, from its entry in `statistics.json`.

  Args:
    series: {'uniform': {'edges'}, 'quantile': {'edges', 'medians'}}.
    scheme: which of the two.
    has_zero: as in `Quantizer`.

  Raises:
    ValueError: if there is no such scheme.
  """
  if scheme == 'uniform':
    edges = series['uniform']['edges']
    return Quantizer(edges, centres(edges), has_zero)
  if scheme == 'quantile':
    fitted = series['quantile']
    return Quantizer(fitted['edges'], fitted['medians'], has_zero)
  raise ValueError(
    f"There is no quantizer {scheme!r}; choose 'uniform' or 'quantile'."
  )


def _namespace(array):
  return jnp if isinstance(array, jax.Array) else np
