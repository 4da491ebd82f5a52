"""Values of a weather series <-> the ids of its vocabulary.

Works on NumPy and JAX arrays alike; bins are fitted with NumPy. The
vocabulary: ids 0..3 are [PAD] [UNK] [SOS] [EOS], 4..203 are sentinels, 204 is
[NULL] (missing), 205 is [ZERO] (dry), and from 206 on come the value bins in
ascending order.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from fusion_jax import modalities
from fusion_jax.types import Array

DRY_MM = 0.01  # Precipitation below this amount is [ZERO].

_FIRST = modalities.VALUE_OFFSET


@dataclasses.dataclass(frozen=True, eq=False)
class Quantizer:
  """The value bins of one series.

  Attributes:
    edges: [V + 1] float32 in the unit of the series, never decreasing. Bin i
      contains edges[i] <= x < edges[i + 1]; the last bin also contains its
      upper edge. Two equal edges enclose an empty bin.
    values: [V] float32 in the unit of the series, what each bin decodes to.
    has_zero: whether values below `DRY_MM` become [ZERO], as those of
      precipitation do.
  """

  edges: np.ndarray
  values: np.ndarray
  has_zero: bool = False

  def __post_init__(self) -> None:
    # JAX computes in float32: a float64 edge would not equal its own value.
    object.__setattr__(self, 'edges', np.asarray(self.edges, np.float32))
    object.__setattr__(self, 'values', np.asarray(self.values, np.float32))
    if len(self.edges) != len(self.values) + 1 or not len(self.values):
      raise ValueError(
        f'{len(self.values)} values need one edge more, but there are '
        f'{len(self.edges)} edges; give the lower edge of every bin and the '
        'upper edge of the last one.'
      )
    if not (np.isfinite(self.edges).all() and (np.diff(self.edges) >= 0).all()):
      raise ValueError('Bin edges must be finite and never decrease.')

  @property
  def vocab_size(self) -> int:
    """Number of ids: the special ones and the value bins."""
    return _FIRST + len(self.values)

  @property
  def table(self) -> np.ndarray:
    """[vocab_size] float32, the value of every id; NaN where it has none."""
    table = np.full(self.vocab_size, np.nan, np.float32)
    if self.has_zero:
      table[modalities.ZERO] = 0
    table[_FIRST:] = self.values
    return table

  def encode(self, values: ArrayLike) -> Array:
    """Returns the ids of values.

    Args:
      values: [...] float in the unit of the series. NaN becomes [NULL]; a value
        outside the range of the bins gets the first or last bin. Float64 is
        rounded to float32 first.

    Returns:
      [...] int32; a JAX array if `values` is one, otherwise a NumPy array.
    """
    xp = _namespace(values)
    values = xp.asarray(values, np.float32)
    bins = xp.searchsorted(xp.asarray(self.edges[1:-1]), values, side='right')
    ids = bins.astype(np.int32) + _FIRST
    if self.has_zero:
      ids = xp.where(values < np.float32(DRY_MM), modalities.ZERO, ids)
    return xp.where(xp.isnan(values), modalities.NULL, ids).astype(np.int32)

  def decode(self, ids: ArrayLike) -> Array:
    """Returns the values of ids.

    Args:
      ids: [...] int.

    Returns:
      [...] float32 in the unit of the series; NaN for [NULL], other special ids
      and ids outside the vocabulary. A JAX array if `ids` is one, otherwise a
      NumPy array.
    """
    xp = _namespace(ids)
    rows = xp.asarray(ids)
    inside = (rows >= 0) & (rows < self.vocab_size)
    rows = xp.where(inside, rows, 0)
    return xp.where(inside, xp.asarray(self.table)[rows], np.float32(np.nan))

  def clipped(self, values: ArrayLike) -> Array:
    """Returns which values lie outside all bins, so that `encode` moves them.

    Args:
      values: [...] float in the unit of the series.

    Returns:
      [...] bool; False for missing values and, with `has_zero`, for dry ones.
    """
    xp = _namespace(values)
    values = xp.asarray(values, np.float32)
    outside = (values < self.edges[0]) | (values > self.edges[-1])
    wet = values >= np.float32(DRY_MM) if self.has_zero else True
    return outside & wet


def uniform(
  low: float,
  high: float,
  num_bins: int = modalities.SERIES_BINS,
  has_zero: bool = False,
) -> Quantizer:
  """Returns bins of equal width, which decode to their centres.

  Args:
    low: lower end of the range, in the unit of the series.
    high: upper end of the range. If it equals `low`, which is the range of a
      constant, the range is widened by half a unit to either side.
    num_bins: V, number of bins.
    has_zero: whether values below `DRY_MM` become [ZERO].

  Raises:
    ValueError: if the range is not finite or if `low` is above `high`.
  """
  if not (np.isfinite(low) and np.isfinite(high)) or low > high:
    raise ValueError(
      f'There is no range from {low} to {high} to divide into bins; give two '
      'finite numbers, the lower one first.'
    )
  if np.float32(low) == np.float32(high):
    low, high = low - 0.5, high + 0.5
  edges = np.linspace(low, high, num_bins + 1)
  return Quantizer(edges, centres(edges), has_zero)


def quantile(
  sample: ArrayLike,
  num_bins: int = modalities.SERIES_BINS,
  has_zero: bool = False,
) -> Quantizer:
  """Returns bins with equal numbers of values, which decode to their medians.

  Args:
    sample: [...] float, values to fit the bins on, in any order and in the
      unit of the series. NaN is left out, and with `has_zero` so are values
      below `DRY_MM`.
    num_bins: V, number of bins.
    has_zero: whether values below `DRY_MM` become [ZERO].

  Raises:
    ValueError: if no value is left to fit the bins on.
  """
  fitted = fit_values(sample, has_zero)
  if not fitted.size:
    raise ValueError(
      'Quantiles need at least one value that is not missing'
      f'{" and not dry" if has_zero else ""}.'
    )
  edges = np.quantile(fitted, np.linspace(0, 1, num_bins + 1))
  edges = np.maximum.accumulate(edges.astype(np.float32))
  return Quantizer(edges, medians(fitted, edges), has_zero)


def fit_values(sample: ArrayLike, has_zero: bool = False) -> np.ndarray:
  """Returns the values of a sample that bins are fitted on.

  Args:
    sample: [...] float in the unit of the series.
    has_zero: whether to leave out values below `DRY_MM`.

  Returns:
    [n] float32, without NaN.
  """
  values = np.asarray(sample, np.float32).ravel()
  return values[values >= DRY_MM] if has_zero else values[~np.isnan(values)]


def centres(edges: ArrayLike) -> np.ndarray:
  """Returns the centres [V] float32 of V bins, given their V + 1 edges."""
  edges = np.asarray(edges, np.float64)
  return ((edges[:-1] + edges[1:]) / 2).astype(np.float32)


def medians(sample: ArrayLike, edges: ArrayLike) -> np.ndarray:
  """Returns the median of a sample in each bin.

  Args:
    sample: [...] float without NaN, in the unit of the series.
    edges: [V + 1] float, never decreasing.

  Returns:
    [V] float32. An empty bin has its centre instead, so an empty bin between
    two equal edges has the value of that edge.
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
  series: Mapping[str, Mapping[str, Any]],
  scheme: Literal['uniform', 'quantile'],
  has_zero: bool = False,
) -> Quantizer:
  """Returns the quantizer of one series from its entry in `statistics.json`.

  Args:
    series: {'uniform': {'edges'}, 'quantile': {'edges', 'medians'}}, lists of
      numbers in the unit of the series.
    scheme: which of the two kinds of bins to use.
    has_zero: whether values below `DRY_MM` become [ZERO].

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


def _namespace(array: ArrayLike) -> Any:
  """Returns `jax.numpy` for JAX arrays, and otherwise `numpy`."""
  return jnp if isinstance(array, jax.Array) else np
