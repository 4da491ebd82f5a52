"""What a loaded model knows of its training: the data, and their range."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from fusion_jax import modalities
from fusion_jax.data import normalize
from fusion_jax.data.builders import mean_ranges
from fusion_jax.types import Statistics

UNKNOWN = 'trained on data that it does not name'


class TrainingRanges:
  """The range in which the means of the training examples lie.

  Between `low` and `high` lie the means of nearly all training examples, as
  `data.builders.mean_ranges` counts them: the mean of each band of an image, of
  each band of a place's pixels over the year, or of a series. An input outside
  is unlike nearly all that a model has learned from; its answer may mean
  nothing.
  """

  def __init__(self, statistics: Statistics):
    """Takes the ranges of the content of `statistics.json`, if it has any."""
    self._ranges: Mapping[str, Any] = statistics.get(mean_ranges.NAME, {})

  @classmethod
  def read(cls, folder: str | os.PathLike[str]) -> 'TrainingRanges':
    """Reads the ranges from `statistics.json` of a folder, if it has any."""
    path = pathlib.Path(folder) / 'statistics.json'
    return cls(normalize.load_statistics(folder) if path.exists() else {})

  def of(self, field: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns (low [C], high [C]) of a field; None where they are not known.

    Args:
      field: name of an image or series, or 'pixels'. An end that is not known
        is infinite.
    """
    if field not in self._ranges:
      return None
    low, high = (
      [end if end is None else float(end) for end in self._ranges[field][name]]
      for name in ('low', 'high')
    )
    return (
      np.array([-np.inf if x is None else x for x in low]),
      np.array([np.inf if x is None else x for x in high]),
    )

  def warn(self, field: str, means: np.ndarray, bands: Sequence[str]) -> None:
    """Warns, in one line, of inputs unlike the training data.

    Args:
      field: name of the field.
      means: [B, C] means of B inputs, in the stored unit; NaN where an input
        has no value.
      bands: names of the C bands; () for a series.
    """
    for line in self.describe(field, means, bands):
      logging.warning('%s', line)

  def describe(
    self, field: str, means: np.ndarray, bands: Sequence[str]
  ) -> list[str]:
    """Returns what `warn` says: a line, or nothing.

    Args:
      field: name of the field.
      means: [B, C] means of B inputs.
      bands: names of the C bands; () for a series.
    """
    ends = self.of(field)
    if ends is None or means.shape[-1] != len(ends[0]):
      return []
    low, high = (end[None] for end in ends)
    outside = (means < low) | (means > high)
    if not outside.any():
      return []
    # The band that is furthest outside, by the width of its range; that of a
    # range that is not known is infinite.
    excess = np.full(means.shape, -np.inf)
    distance = np.maximum(low - means, means - high)
    width = np.broadcast_to(np.maximum(high - low, 1e-6), means.shape)
    excess[outside] = distance[outside] / width[outside]
    place, band = divmod(int(np.argmax(excess)), means.shape[-1])
    named = f' of {bands[band]}' if len(bands) else ''
    which = f' (place {place})' if len(means) > 1 else ''
    return [
      f'{field} is unlike the training data in {int(outside.any(-1).sum())} of '
      f'{len(means)} input(s): the mean{named}{which} is '
      f'{means[place, band]:.6g}, and nearly all training examples have '
      f'{ends[0][band]:.6g} to {ends[1][band]:.6g}. The results may mean '
      'nothing.'
    ]


class Trained:
  """A model that tells what it was trained on.

  Attributes:
    trained_on: words that go on after 'a model ', such as 'trained on the
      simulated Earth (no measured data), 6,000 examples of 2026-11-30'.
    ranges: range of its training data.
  """

  trained_on: str = UNKNOWN
  ranges: TrainingRanges = TrainingRanges({})


def warn_of_inputs(
  ranges: TrainingRanges,
  arrays: Mapping[str, np.ndarray],
  num_axes: Mapping[str, int],
) -> None:
  """Warns of images and series of B places unlike the training data.

  Args:
    ranges: range of the training data.
    arrays: inputs, [B, ...] by name; what is neither is left out.
    num_axes: number of axes of one place, by name.
  """
  for name, values in arrays.items():
    modality = modalities.MODALITIES.get(name)
    if modality is not None and modality.kind in ('image', 'series'):
      means = means_of(values, num_axes[name])
      ranges.warn(modality.field or name, means, modality.bands)


def means_of(values: np.ndarray, num_axes: int) -> np.ndarray:
  """Returns the means [B, C] of images [B, ..., C] or series [B, T].

  Args:
    values: the inputs; NaN are left out.
    num_axes: 1 for series, else the number of axes of one image.
  """
  values = np.asarray(values, np.float64)
  flat = (
    values[..., None]
    if num_axes == 1
    else values.reshape(len(values), -1, values.shape[-1])
  )
  finite = np.isfinite(flat)
  count = finite.sum(1)
  total = np.where(finite, flat, 0).sum(1)
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)
