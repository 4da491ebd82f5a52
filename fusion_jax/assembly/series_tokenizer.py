"""Builds the tokenizer of weather series with its standardisation."""

import dataclasses
import os
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from fusion_jax import modalities
from fusion_jax.data import normalize
from fusion_jax.models import series_codes, series_tokenizer
from fusion_jax.types import Config, Params, Statistics


@dataclasses.dataclass(frozen=True)
class SeriesAssembly:
  """A series tokenizer together with the standardisation of its series.

  Attributes:
    names: names of the series that share the tokenizer.
    model: the tokenizer.
    mean: mean of each series in the training split, [n] float32, K or mm.
    std: standard deviation of each series in the training split, [n] float32,
      K or mm.
    statistics: statistics of the training split, as stored with the data.
  """

  names: tuple[str, ...]
  model: series_tokenizer.SeriesTokenizer
  mean: np.ndarray
  std: np.ndarray
  statistics: Statistics

  def codes(self, params: Params) -> dict[str, series_codes.SeriesCodes]:
    """Returns the codes of every series by a trained tokenizer, by name.

    Args:
      params: parameters of the tokenizer.
    """
    return {
      name: series_codes.SeriesCodes(name, self.model, params, mean, std)
      for name, mean, std in zip(self.names, self.mean, self.std)
    }


def assemble(config: Config, folder: str | os.PathLike[str]) -> SeriesAssembly:
  """Builds a series tokenizer and reads the standardisation of its series.

  Args:
    config: configuration with the task 'series_tokenizer', up to date.
    folder: folder of the prepared data set or of a finished run, with
      `statistics.json`.

  Raises:
    ValueError: if a series does not exist, or is missing or constant in the
      training split.
    FileNotFoundError: if the statistics are missing.
  """
  names = check_names(config.series)
  model = make_model(config.model)
  statistics = normalize.load_statistics(folder)
  mean, std = make_standards(names, statistics)
  return SeriesAssembly(names, model, mean, std, statistics)


def check_names(names: Iterable[str]) -> tuple[str, ...]:
  """Returns the names of series, checked.

  Raises:
    ValueError: if one is no series or is named twice, or if there is none.
  """
  known = {n for n, m in modalities.MODALITIES.items() if m.kind == 'series'}
  names = tuple(names)
  if not names or len(set(names)) < len(names) or set(names) - known:
    raise ValueError(
      f'config.series={names} should name each of one or more '
      f'series once, out of {sorted(known)}.'
    )
  return names


def make_model(
  settings: Config,
) -> series_tokenizer.SeriesTokenizer:
  """Returns the tokenizer of the section `model` of a configuration."""
  fields = dict(settings, dtype=jnp.dtype(settings.dtype))
  for name in ('levels', 'dilations'):
    fields[name] = tuple(fields[name])
  return series_tokenizer.SeriesTokenizer(**fields)


def make_standards(
  names: Iterable[str], statistics: Statistics
) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation of series in the training split.

  Args:
    names: names of n series.
    statistics: statistics of the training split.

  Returns:
    Mean and standard deviation, both [n] float32, in K or mm.

  Raises:
    ValueError: if a series is not in the data, has no value, or is constant.
  """
  standards = []
  for name in names:
    if name not in statistics['series']:
      raise ValueError(
        f'There are no statistics of {name}, only of '
        f'{sorted(statistics["series"])}.'
      )
    series = statistics['series'][name]
    if not series['count']:
      raise ValueError(
        f'{name} has no value in the training split; leave it '
        'out of config.series, or prepare data that have it.'
      )
    if not series['std'] > 1e-6 * max(1, abs(series['mean'])):
      raise ValueError(
        f'{name} is {series["mean"]:g} throughout the training split: there '
        'is nothing to learn. Leave it out of config.series.'
      )
    standards.append((series['mean'], series['std']))
  mean, std = np.array(standards, np.float32).T
  return mean, std
