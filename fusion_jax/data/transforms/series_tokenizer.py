"""The windows of a data set as training examples of a series tokenizer."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from fusion_jax import modalities
from fusion_jax.data import records as records_lib
from fusion_jax.data.transforms import steps
from fusion_jax.types import Example


class Windows:
  """The series of one split in memory, one example for each window and series.

  A window has a few hundred bytes, so a million of them fit into memory;
  decoding a record takes longer than a training step on its windows.

  Attributes:
    names: names of the series; 'series' in an example is an index into them.
  """

  names: tuple[str, ...]

  def __init__(
    self, records: records_lib.Examples, names: Sequence[str]
  ) -> None:
    """Reads all windows; a series without a single value is left out.

    Args:
      records: examples of one split of a data set.
      names: names of the series to take.

    Raises:
      ValueError: if the data set lacks one of the series, or if every value of
        all of them is missing.
    """
    absent = sorted(set(names) - set(records.fields))
    if absent:
      raise ValueError(
        f'{records} has no {absent}; its fields are {sorted(records.fields)}. '
        'Leave these series out of the config, or prepare the data with them.'
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
        'missing throughout; prepare the data set with weather of its places '
        'and times.'
      )
    if len(rows) < total:
      logging.warning(
        '%s: left out %d of %d series, which are missing throughout.',
        records,
        total - len(rows),
        total,
      )
    self._values = np.stack(rows)

  def __len__(self) -> int:
    """Returns the number of windows."""
    return len(self._values)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Returns window number `index`.

    Returns:
      'raw' [T] float32 in K or mm, NaN where missing; and 'series' int32, the
      index of its name.
    """
    return {'raw': self._values[index], 'series': np.int32(self._series[index])}

  def _pad(self, values: np.ndarray) -> np.ndarray:
    """Appends NaN up to the length of the longest series."""
    return np.pad(
      values, (0, self._steps - len(values)), constant_values=np.nan
    )


def num_steps(names: Sequence[str]) -> int:
  """Returns the number of time steps of the longest of some series."""
  return max(len(modalities.MODALITIES[name].leads) for name in names)


@dataclasses.dataclass(frozen=True, eq=False)
class Standardise(steps.Map):
  """Subtracts the mean, divides by the deviation, and marks what exists.

  Reads 'raw' and 'series'. Adds 'values' [T] float32, 'present' [T] bool (not
  missing) and 'inside' [T] bool (not after the end of a series shorter than T).

  Attributes:
    mean: [number of series] float, mean of each series in K or mm.
    std: [number of series] float, standard deviation of each series in K or mm.
    steps: [number of series] int, number of time steps of each series.
  """

  mean: np.ndarray
  std: np.ndarray
  steps: np.ndarray

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with 'values', 'present' and 'inside'."""
    number, values = example['series'], example['raw']
    return {
      **example,
      'values': standardise(values, self.mean[number], self.std[number]),
      'present': np.isfinite(values),
      'inside': np.arange(len(values)) < self.steps[number],
    }


def standardise(
  values: np.ndarray,
  mean: np.ndarray | np.floating | float,
  std: np.ndarray | np.floating | float,
) -> np.ndarray:
  """Returns (values - mean) / std as float32, and 0 where missing.

  Args:
    values: [...] float in K or mm; NaN where missing.
    mean: mean in the unit of the values, of a shape that broadcasts.
    std: standard deviation in the unit of the values, of a shape that
      broadcasts.

  Returns:
    [...] float32.
  """
  return np.where(np.isfinite(values), (values - mean) / std, 0).astype(
    np.float32
  )


@dataclasses.dataclass(frozen=True)
class Vary(steps.RandomMap):
  """Shifts and stretches standardised windows, so that none is out of range.

  A training split covers few places and days; the next heat wave lies outside.
  Each window is stretched about its mean by `stretch`^u and moved by u^3
  `shift`, with u uniform in -1..1 and drawn twice: most windows are changed a
  little, some of them far.

  Attributes:
    shift: largest shift in standard deviations.
    stretch: largest factor, at least 1.
  """

  shift: float
  stretch: float

  def random_map(
    self, example: Example, rng: np.random.Generator
  ) -> dict[str, Any]:
    """Returns the example with other 'values'."""
    present, values = example['present'], example['values']
    mean = values[present].mean()
    factor = self.stretch ** rng.uniform(-1, 1)
    moved = (
      (values - mean) * factor + mean + rng.uniform(-1, 1) ** 3 * self.shift
    )
    return {**example, 'values': np.where(present, moved, 0).astype(np.float32)}
