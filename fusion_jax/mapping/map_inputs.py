"""How the pixels of a map compare with those that its model was trained on."""

from collections.abc import Mapping

import numpy as np

from fusion_jax.data import bands as bands_lib
from fusion_jax.data.builders import mean_ranges
from fusion_jax.inference import trained

_COUNTED = ('band_sums', 'band_counts', 'band_outside')
NOT_COMPARED = 'not compared: the model does not state the range of its data'
NOT_MEASURED = 'not compared: an earlier version mapped these pixels'
_MANY = 0.05  # Share of the pixels outside that is warned about.


def measure(
  pixels: np.ndarray, ranges: trained.TrainingRanges
) -> dict[str, np.ndarray]:
  """Measures the bands of a block, as means over the year.

  Args:
    pixels: [12, C, Y, X] reflectance x 10,000, NaN = missing.
    ranges: range of the training data.

  Returns:
    Arrays [C], which add up over blocks: 'band_sums' and 'band_counts' of the
    means of the pixels over the year, 'band_outside' pixels whose mean lies
    outside the range of the training data.
  """
  sums, counts, outside = [], [], []
  ends = ranges.of(mean_ranges.PIXELS)
  for i in range(pixels.shape[1]):
    band = pixels[:, i]
    there = np.isfinite(band)
    number = there.sum(0)
    total = np.where(there, band, 0).sum(0, dtype=np.float64)
    means = total[number > 0] / number[number > 0]
    sums.append(means.sum())
    counts.append(len(means))
    outside.append(
      0
      if ends is None
      else int(((means < ends[0][i]) | (means > ends[1][i])).sum())
    )
  return {
    name: np.array(values)
    for name, values in zip(_COUNTED, (sums, counts, outside))
  }


def add(
  total: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Adds the measures of a block to those of others.

  Args:
    total: measures so far, {} at first.
    arrays: arrays of a block; without measures if an earlier version made it.
  """
  if not all(name in arrays for name in _COUNTED):
    return dict(total)
  return {
    name: arrays[name] + (total[name] if total else 0) for name in _COUNTED
  }


def describe(
  total: Mapping[str, np.ndarray], ranges: trained.TrainingRanges
) -> tuple[str, list[str]]:
  """Says whether a map's pixels are like the training data.

  Args:
    total: sum of the measures of all blocks.
    ranges: range of the training data.

  Returns:
    A sentence for the map, and lines to warn with, if any.
  """
  ends = ranges.of(mean_ranges.PIXELS)
  if ends is None or not total:
    return (NOT_COMPARED if ends is None else NOT_MEASURED), []
  counts = np.maximum(total['band_counts'], 1)
  there = total['band_counts'] > 0
  means = np.where(there, total['band_sums'] / counts, np.nan)
  warnings = ranges.describe(mean_ranges.PIXELS, means[None], bands_lib.BANDS)
  shares = np.where(there, total['band_outside'] / counts, 0)
  worst = int(np.argmax(shares))
  band = bands_lib.BANDS[worst]
  text = (
    f'{100 * shares[worst]:.1f} % of {counts[worst]:,} pixels have a mean of '
    f'{band} over the year outside the range of nearly all training data, '
    f'{ends[0][worst]:.4g} to {ends[1][worst]:.4g}; no other band has more'
  )
  described = '; '.join([*warnings, text])
  if shares[worst] > _MANY:
    warnings.append(text)
  return described, warnings
