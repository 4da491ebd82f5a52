"""What a data set's statistics say: standardisation and value bins."""

import json
import pathlib
from collections.abc import Mapping

import numpy as np

from fusion_jax.ops import quantize


def load_statistics(path):
  """The content of `statistics.json` in a data set's folder.

  Raises:
    FileNotFoundError: if the folder has none.
  """
  path = pathlib.Path(path) / 'statistics.json'
  if not path.exists():
    raise FileNotFoundError(
      f'{path} is missing; `python -m fusion_jax.prepare` writes it with '
      'the examples.'
    )
  return json.loads(path.read_text())


def standards(selected, statistics=None):
  """Mean and standard deviation of every band of the raw images.

  Args:
    selected: modalities.
    statistics: of a data set; None for TerraMind's own, which its weights
      need.

  Returns:
    {modality name: (mean, std)}, both [C] float32, in the stored unit.

  Raises:
    ValueError: if the statistics lack an image.
  """
  found = {}
  for modality in selected:
    if modality.kind != 'image':
      continue
    mean, std = modality.mean, modality.std
    if statistics is not None:
      images = statistics['images']
      if modality.field not in images:
        raise ValueError(
          f'There are no statistics of {modality.field}, only '
          f'of {sorted(images)}.'
        )
      mean, std = (images[modality.field][key] for key in ('mean', 'std'))
    std = np.asarray(std, np.float32)
    found[modality.name] = (
      np.asarray(mean, np.float32),
      np.where(std > 0, std, np.float32(1)),
    )
  return found


def quantizers(selected, statistics, scheme='uniform'):
  """The value bins of every series: {modality name: Quantizer}.

  Args:
    selected: modalities.
    statistics: of the training split, as `load_statistics` returns them.
    scheme: 'uniform' or 'quantile', for all or as {modality name: scheme}.

  Raises:
    ValueError: if the statistics lack a series, or the scheme is neither.
  """
  found = {}
  for modality in selected:
    if modality.kind != 'series':
      continue
    series = statistics['series']
    if modality.name not in series:
      raise ValueError(
        f'There are no statistics of {modality.name}, only of {sorted(series)}.'
      )
    mine = scheme[modality.name] if isinstance(scheme, Mapping) else scheme
    found[modality.name] = quantize.from_statistics(
      series[modality.name], mine, has_zero=is_precipitation(modality)
    )
  return found


def is_precipitation(modality):
  """Whether the series knows dry steps, [ZERO]."""
  return modality.unit == 'mm'
