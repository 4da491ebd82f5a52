"""What the statistics of a data set say: standardisation and value bins."""

import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from fusion_jax import modalities
from fusion_jax.ops import quantize
from fusion_jax.types import Statistics
from fusion_jax.untrusted import memory, nested

# Name of a quantizer's kind of bins.
Scheme = Literal['uniform', 'quantile']


def load_statistics(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads `statistics.json` in the folder of a data set.

  Args:
    path: folder of the data set.

  Raises:
    FileNotFoundError: if the folder has no such file.
    ValueError: if it is damaged.
  """
  file = pathlib.Path(path) / 'statistics.json'
  if not file.exists():
    raise FileNotFoundError(
      f'{file} is missing; `python -m fusion_jax.prepare` writes it with '
      'the examples.'
    )
  try:
    return nested.read_table(file)
  except memory.MemoryLimitError:
    raise
  except ValueError as error:
    raise ValueError(
      f'{file} is damaged ({error}); copy it again, or prepare the data anew.'
    ) from error


def standards(
  selected: Iterable[modalities.Modality],
  statistics: Statistics | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Returns the mean and standard deviation of every band of raw images.

  Args:
    selected: modalities of the model; those that are not raw images are
      skipped.
    statistics: statistics of a data set; None for TerraMind's own, which its
      weights need.

  Returns:
    {name of a modality: (mean, standard deviation)}, [C] float32 each, in the
    stored unit. A deviation of 0 is replaced by 1.

  Raises:
    ValueError: if the statistics lack an image.
  """
  standards_of = {}
  for modality in selected:
    if modality.kind != 'image':
      continue
    mean, std = modality.mean, modality.std
    if statistics is not None:
      images = statistics['images']
      if modality.field not in images:
        raise ValueError(
          f'There are no statistics of {modality.field}, only of '
          f'{sorted(images)}; leave it out of the config, or prepare the data '
          'with it.'
        )
      mean, std = (images[modality.field][key] for key in ('mean', 'std'))
    std = np.asarray(std, np.float32)
    standards_of[modality.name] = (
      np.asarray(mean, np.float32),
      np.where(std > 0, std, np.float32(1)),
    )
  return standards_of


def quantizers(
  selected: Iterable[modalities.Modality],
  statistics: Statistics,
  scheme: Scheme | Mapping[str, Scheme] = 'uniform',
) -> dict[str, quantize.Quantizer]:
  """Returns the value bins of every series.

  Args:
    selected: modalities of the model; those that are no series are skipped.
    statistics: statistics of the training split, as `load_statistics` returns
      them.
    scheme: 'uniform' or 'quantile', for all series or as {name of a series:
      scheme}.

  Returns:
    {name of a series: its quantizer}.

  Raises:
    ValueError: if the statistics lack a series, or if there is no such scheme.
  """
  quantizer_of = {}
  for modality in selected:
    if modality.kind != 'series':
      continue
    series = statistics['series']
    if modality.name not in series:
      raise ValueError(
        f'There are no statistics of {modality.name}, only of '
        f'{sorted(series)}; leave it out of the config, or prepare the data '
        'with it.'
      )
    quantizer_of[modality.name] = quantize.from_statistics(
      series[modality.name],
      scheme[modality.name] if isinstance(scheme, Mapping) else scheme,
      has_zero=is_precipitation(modality),
    )
  return quantizer_of


def is_precipitation(modality: modalities.Modality) -> bool:
  """Returns whether a series has dry steps, which become [ZERO]."""
  return modality.unit == 'mm'
