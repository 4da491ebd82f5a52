"""The windows of a data set as training examples of a series tokenizer."""

import dataclasses

import grain
import numpy as np
from absl import logging

from fusion_jax import modalities


class Windows:
  """One split's series in memory, one example a window and series.

  A window has a few hundred bytes, so a million of them fit; decoding a record
  would take longer than a training step does for it.

  Attributes:
    names: of the series, as the examples count them.
  """

  def __init__(self, records, names):
    """Reads everything; a series without a single value is left out.

    Args:
      records: `data.records.Examples`.
      names: series to take.

    Raises:
      ValueError: if the data set has not what is asked for, or if everything
        is missing.
    """
    lacking = sorted(set(names) - set(records.fields))
    if lacking:
      raise ValueError(
        f'{records} has no {lacking}; its fields are {sorted(records.fields)}.'
      )
    self.names = tuple(names)
    self._steps = num_steps(names)
    rows, self._series = [], []
    total = len(records) * len(names)
    for i in range(len(records)):
      record = records[i]
      for number, name in enumerate(names):
        if not np.isnan(record[name]).all():
          rows.append(self._pad(record[name]))
          self._series.append(number)
    if not rows:
      raise ValueError(
        f'Every one of the {total} series in {records} is '
        'missing throughout; prepare it with weather of its '
        'places and times.'
      )
    if len(rows) < total:
      logging.warning(
        '%s: left out %d of %d series, missing throughout.',
        records,
        total - len(rows),
        total,
      )
    self._values = np.stack(rows)

  def __len__(self):
    return len(self._values)

  def __getitem__(self, index):
    """{'raw': [T] float32, K or mm, NaN = missing; 'series': int32}."""
    return {'raw': self._values[index], 'series': np.int32(self._series[index])}

  def _pad(self, values):
    return np.pad(
      values, (0, self._steps - len(values)), constant_values=np.nan
    )


def num_steps(names):
  """Steps of the longest of some series."""
  return max(len(modalities.MODALITIES[name].leads) for name in names)


@dataclasses.dataclass(frozen=True, eq=False)
class Standardise(grain.transforms.Map):
  """Subtracts the mean, divides by the deviation; says what is there.

  Reads `raw`. Adds `values` and, bool [T], `present` and `inside`: not
  missing, and not after the end of a series shorter than T.
  """

  mean: np.ndarray  # [number of series]
  std: np.ndarray
  steps: np.ndarray  # Length of each series.

  def map(self, example):
    number, values = example['series'], example['raw']
    return example | {
      'values': standardise(values, self.mean[number], self.std[number]),
      'present': np.isfinite(values),
      'inside': np.arange(len(values)) < self.steps[number],
    }


def standardise(values, mean, std):
  """(values - mean) / std as float32, 0 where missing."""
  return np.where(np.isfinite(values), (values - mean) / std, 0).astype(
    np.float32
  )


@dataclasses.dataclass(frozen=True)
class Vary(grain.transforms.RandomMap):
  """Moves and stretches standardised windows, so that none is out of range.

  A training split covers few places and days; the next heat wave lies outside.
  Each window is stretched about its mean by `stretch`^u and moved by u^3
  `shift`, u uniform in -1..1: most windows a little, some far.
  """

  shift: float  # Standard deviations.
  stretch: float  # At least 1.

  def random_map(self, example, rng):
    present, values = example['present'], example['values']
    mean = values[present].mean()
    factor = self.stretch ** rng.uniform(-1, 1)
    moved = (
      (values - mean) * factor + mean + rng.uniform(-1, 1) ** 3 * self.shift
    )
    return example | {'values': np.where(present, moved, 0).astype(np.float32)}
