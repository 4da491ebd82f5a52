"""Statistics of several data sets together, each counted by its weight.

Standardisation and bins belong to what a model sees. In a mixture that is a
stream of examples in which a part has its weight, not its number of examples.
`statistics.json` has what this needs: moments merge exactly, smallest and
largest values too, and quantiles to within one of the 1,000 steps of which the
file has the borders.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax.data.builders import mean_ranges
from fusion_jax.types import Statistics

_PROVENANCE = ('version', 'command', 'created', 'num_examples', 'skipped')
_RANGES = mean_ranges.NAME
_MERGED = ('images', 'series', _RANGES)


def merge(
  statistics: Mapping[str, Statistics], weights: Mapping[str, float]
) -> dict[str, Any]:
  """Merges the statistics of parts.

  Args:
    statistics: {name of a part: content of its `statistics.json`}.
    weights: {name of a part: its weight}, more than 0.

  Returns:
    The content of the `statistics.json` of the mixture; 'parts' has the share
    of each part. An image that a part lacks altogether counts by the other
    parts alone, whole images of a part as if all its examples had them.

  Raises:
    ValueError: if the parts differ in something that cannot be merged; names
      part and entry.
  """
  total = sum(weights.values())
  shares = {name: weights[name] / total for name in sorted(statistics)}
  ordered = {name: statistics[name] for name in shares}
  merged = _others(ordered) | {'parts': shares}
  merged['images'] = {
    image: _image(ordered, shares, image) for image in _names(ordered, 'images')
  }
  _check_series(ordered)
  merged['series'] = {
    series: _series(
      [part['series'][series] for part in ordered.values()],
      list(shares.values()),
    )
    for series in _names(ordered, 'series')
  }
  if all(_RANGES in part for part in ordered.values()):
    merged[_RANGES] = {
      field: _range(
        [p[_RANGES][field] for p in ordered.values() if field in p[_RANGES]]
      )
      for field in _names(ordered, _RANGES)
    }
  return merged


def _range(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
  """Returns the widest range of the means of a field.

  What is usual in one part is usual in the mixture, however small its weight.
  """
  return {
    end: [
      furthest([x for x in band if x is not None], default=None)
      for band in zip(*(part[end] for part in parts))
    ]
    for end, furthest in (('low', min), ('high', max))
  }


def _names(statistics: Mapping[str, Statistics], kind: str) -> list[str]:
  """Returns the names of all images or series, sorted."""
  return sorted({name for part in statistics.values() for name in part[kind]})


def _others(statistics: Mapping[str, Statistics]) -> dict[str, Any]:
  """Returns where the data are from, and what all parts have alike."""
  first, *_ = statistics
  merged: dict[str, Any] = {}
  for name, part in statistics.items():
    for entry in sorted({*part, *statistics[first]} - set(_PROVENANCE[1:])):
      if entry in _MERGED:
        continue
      if part.get(entry) != statistics[first].get(entry):
        raise ValueError(
          f'statistics.json of config.data.parts.{name} and {first} differ in '
          f'{entry!r}; prepare both with the same version and settings.'
        )
      merged[entry] = part[entry]
  sizes: dict[str, int] = {}
  for part in statistics.values():
    for split, size in part.get('num_examples', {}).items():
      sizes[split] = sizes.get(split, 0) + size
  merged['num_examples'] = sizes
  merged['skipped'] = [
    entry for part in statistics.values() for entry in part.get('skipped', [])
  ]
  return merged


def _check_series(statistics: Mapping[str, Statistics]) -> None:
  """Raises unless all parts have the same series."""
  every = set(_names(statistics, 'series'))
  for name, part in statistics.items():
    if missing := sorted(every - set(part['series'])):
      raise ValueError(
        f'config.data.parts.{name} has no statistics of {missing[0]}; prepare '
        'it with the same series as the other parts.'
      )


def _moments(
  shares: Sequence[float], means: Any, stds: Any
) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation of a mixture.

  Args:
    shares: [n] weights of the parts, of any sum above 0.
    means: [n, ...] means of the parts.
    stds: [n, ...] standard deviations of the parts.
  """
  means, stds = np.asarray(means, float), np.asarray(stds, float)
  weights = np.asarray(shares, float) / np.sum(shares)
  mean = np.tensordot(weights, means, 1)
  variance = np.tensordot(weights, stds**2 + (means - mean[None]) ** 2, 1)
  return mean, np.sqrt(variance)


def _image(
  statistics: Mapping[str, Statistics],
  shares: Mapping[str, float],
  image: str,
) -> dict[str, list[float]]:
  """Returns mean and standard deviation of the bands of one image."""
  having = {
    n: p['images'] for n, p in statistics.items() if image in p['images']
  }
  mean, std = _moments(
    [shares[name] for name in having],
    [images[image]['mean'] for images in having.values()],
    [images[image]['std'] for images in having.values()],
  )
  return {'mean': mean.tolist(), 'std': std.tolist()}


def _series(
  parts: Sequence[Mapping[str, Any]], shares: Sequence[float]
) -> dict[str, Any]:
  """Returns the entry of one series, which every part has."""
  merged: dict[str, Any] = {
    name: sum(part[name] for part in parts)
    for name in ('count', 'missing', 'fitted_on')
  }
  # A part counts by its weight times the share of its values that are there.
  present = [
    share * part['count'] / max(part['count'] + part['missing'], 1)
    for part, share in zip(parts, shares)
  ]
  known = [(p, w) for p, w in zip(parts, present) if w]
  for name in ('mean', 'std', 'min', 'max'):
    merged[name] = None
  if known:
    weights = [weight for _, weight in known]
    mean, std = _moments(
      weights, [p['mean'] for p, _ in known], [p['std'] for p, _ in known]
    )
    merged |= {'mean': float(mean), 'std': float(std)}
    merged['min'] = min(part['min'] for part, _ in known)
    merged['max'] = max(part['max'] for part, _ in known)
  merged['mean_by_lead'] = [
    _mean(values, present)
    for values in zip(*(part['mean_by_lead'] for part in parts))
  ]
  return merged | _bins(parts, present)


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> Any:
  """Returns the weighed mean of the values that are known, None if none is."""
  known = [(v, w) for v, w in zip(values, weights) if v is not None and w]
  if not known:
    return None
  return sum(v * w for v, w in known) / sum(w for _, w in known)


def _bins(
  parts: Sequence[Mapping[str, Any]], present: Sequence[float]
) -> dict[str, dict[str, list[float]]]:
  """Returns edges of bins of equal width, and edges and medians of shares.

  Args:
    parts: [n] entries of one series.
    present: [n] weight of each part.
  """
  fitted = [
    (part, weight * part['fitted_on'] / part['count'])
    for part, weight in zip(parts, present)
    if part['fitted_on']
  ]
  if not fitted:
    return {name: dict(parts[0][name]) for name in ('uniform', 'quantile')}
  edges = [part['uniform']['edges'] for part, _ in fitted]
  low, high = min(e[0] for e in edges), max(e[-1] for e in edges)
  uniform = np.linspace(low, high, len(edges[0]))
  values = quantiles(
    [_borders(part['quantile']) for part, _ in fitted],
    [weight for _, weight in fitted],
  )
  values[0], values[-1] = low, high
  return {
    'uniform': {'edges': uniform.tolist()},
    'quantile': {
      'edges': values[::2].tolist(),
      'medians': values[1::2].tolist(),
    },
  }


def _borders(quantile: Mapping[str, Sequence[float]]) -> np.ndarray:
  """Returns edges and medians in one ascending array [2 n + 1]."""
  borders = np.empty(len(quantile['edges']) + len(quantile['medians']))
  borders[::2], borders[1::2] = quantile['edges'], quantile['medians']
  return borders


def quantiles(
  borders: Sequence[np.ndarray], weights: Sequence[float]
) -> np.ndarray:
  """Returns the quantiles of a mixture from those of its parts.

  Args:
    borders: arrays [n + 1], ascending: the values below which 0, 1/n, .. 1 of
      a part lie. Between two of them a part is taken to be uniform.
    weights: weight of each part, of any sum above 0.

  Returns:
    [n + 1] float64: the same of the mixture.
  """
  shares = np.asarray(weights, float) / np.sum(weights)
  points = np.unique(np.concatenate(borders))
  # Below each point, without and with what is exactly there.
  below = sum(s * _below(b, points, 'left') for b, s in zip(borders, shares))
  up_to = sum(s * _below(b, points, 'right') for b, s in zip(borders, shares))
  levels = np.stack([below, up_to], axis=1).ravel()
  return np.interp(
    np.linspace(0, 1, len(borders[0])),
    np.maximum.accumulate(levels),
    np.repeat(points, 2),
  )


def _below(borders: np.ndarray, points: np.ndarray, side: Any) -> np.ndarray:
  """Returns the share [p] of a part below points [p], or up to them."""
  last = len(borders) - 1
  place = np.searchsorted(borders, points, side) - 1
  inside = np.clip(place, 0, last - 1)
  width = borders[inside + 1] - borders[inside]
  part = (points - borders[inside]) / np.where(width > 0, width, 1)
  share = (inside + np.where(width > 0, np.clip(part, 0, 1), 0)) / last
  return np.where(place < 0, 0.0, np.where(place >= last, 1.0, share))
