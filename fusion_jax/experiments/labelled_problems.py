"""Labelled pixels of WorldCereal and Presto, ready for every method."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats
from sklearn import metrics, model_selection

from fusion_jax.configs import worldcereal as config_lib
from fusion_jax.data.sources import labelled_pixels
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.types import Config

_NUM_FOLDS = 5
_NUM_PIECES = 16
# Chosen on validation groups inside the training folds.
REGRESSIONS = {
  'fuel_moisture': dict(
    inputs='pieces',
    num_steps=400,
    peak_lr=2e-3,
    weight_decay=0.5,
    noise=0.0,
    drop=0.0,
  ),
  'algae_blooms': dict(
    inputs='normal',
    num_steps=150,
    peak_lr=1e-3,
    weight_decay=0.05,
    noise=0.3,
    drop=0.1,
  ),
}
Fold = tuple[np.ndarray, np.ndarray]  # Known and held-out places.


@dataclasses.dataclass(frozen=True)
class Problem:
  """One data set of P places with T time steps of C bands.

  Attributes:
    name: name in the rows of results.
    values: float32 [P, T, C], NaN = missing, as the forest reads them.
    inputs: function from the known places of a fold to float32
      [P, T, C, 1, 1], finite, as the encoder reads them in that fold.
    keep: bool [P, T], time steps that the encoder sees.
    months: int [P, T], months of the time steps.
    target: int [P] classes, or float [P] of a regression.
    classes: names of the classes; () of a regression.
    groups: [P], labels of what is held out together.
    grouped_by: what the groups are: 'cell', 'data set' or 'site'.
  """

  name: str
  values: np.ndarray
  inputs: Callable[[np.ndarray], np.ndarray]
  keep: np.ndarray
  months: np.ndarray
  target: np.ndarray
  classes: tuple[str, ...]
  groups: np.ndarray
  grouped_by: str


def read(
  worldcereal: str | pathlib.Path,
  presto: str | pathlib.Path,
  only: Sequence[str] = (),
) -> list[tuple[Problem, Config]]:
  """Reads the problems and the configuration of each.

  Args:
    worldcereal: folder of WorldCereal's files.
    presto: folder of Presto's files.
    only: names of the problems to read; () for all.

  Returns:
    (problem, configuration of its encoder) in the order of the names.

  Raises:
    ValueError: for a name that is no problem.
  """
  cereal, presto = pathlib.Path(worldcereal), pathlib.Path(presto)
  config: Config = config_lib.get_config('data=flanders')
  general: Config = config_lib.get_config('data=east_africa')
  flanders = functools.partial(
    labelled_pixels.read_long,
    cereal / 'flanders_lpis_2021_100px_long.parquet',
    cereal / 'class_mappings.json',
  )
  africa = functools.partial(
    labelled_pixels.read_wide,
    cereal / 'public_extractions_east_africa_500px.parquet',
  )
  make: dict[str, Callable[[], tuple[Problem, Config]]] = {
    'flanders': lambda: (
      _classification('flanders', flanders(), config),
      config,
    ),
    'east_africa': lambda: (
      _classification('east_africa', africa(), general),
      general,
    ),
    'east_africa_by_data_set': lambda: (
      _classification('east_africa', africa(), general, 'data set'),
      general,
    ),
  }
  for name, recipe in REGRESSIONS.items():
    make[name] = functools.partial(_regression, name, presto / name, recipe)
  unknown = sorted(set(only) - set(make))
  if unknown:
    raise ValueError(f'{unknown} are no problems; choose among {sorted(make)}.')
  return [make[name]() for name in only or make]


def make_folds(problem: Problem) -> list[Fold]:
  """Returns the folds: groups whole, classes spread as groups allow."""
  count = min(_NUM_FOLDS, len(np.unique(problem.groups)))
  if problem.grouped_by == 'data set':
    count = len(np.unique(problem.groups))
  if problem.classes and problem.grouped_by != 'data set':
    folds = model_selection.StratifiedGroupKFold(
      count, shuffle=True, random_state=0
    )
  else:
    folds = model_selection.GroupKFold(count)
  return list(folds.split(problem.values, problem.target, problem.groups))


def score(problem: Problem, predicted: np.ndarray, places: np.ndarray) -> float:
  """Returns macro-F1 over the classes, or R2 of a regression.

  Args:
    problem: the data set.
    predicted: [P, classes] probabilities, or [P, 1] values.
    places: indices of the places that count.
  """
  truth = problem.target[places]
  if not problem.classes:
    return metrics.r2_score(truth, predicted[places, 0])
  return float(
    metrics.f1_score(
      truth,
      predicted[places].argmax(axis=1),
      average='macro',
      labels=np.arange(len(problem.classes)),
      zero_division=0,  # pyright: ignore[reportArgumentType]  # A number.
    )
  )


def transformed(values: np.ndarray, known: np.ndarray, kind: str) -> np.ndarray:
  """Spreads bands evenly, by the values of the known places.

  Args:
    values: [P, T, C], finite.
    known: indices of the known places.
    kind: 'normal', quantiles of the normal distribution for ranks; or
      'pieces', _NUM_PIECES shares of each band, how far a value is through
      each piece between quantiles, less a half. Source: Gorishniy et al.
      2022, arXiv:2203.05556, Sec. 3.2.

  Returns:
    [P, T, C], or [P, T, C * _NUM_PIECES].

  Raises:
    ValueError: for another kind.
  """
  if kind not in ('normal', 'pieces'):
    raise ValueError(f"kind={kind!r} is neither 'normal' nor 'pieces'.")
  spread = []
  for band in np.moveaxis(values, -1, 0).astype(np.float64):
    if kind == 'pieces':
      edges = np.quantile(band[known], np.linspace(0, 1, _NUM_PIECES + 1))
      lengths = np.maximum(np.diff(edges), 1e-9)  # Equal values are a step.
      shares = (band[..., None] - edges[:-1]) / lengths
      spread.append(shares.clip(0, 1) - 0.5)
    else:
      ordered = np.sort(band[known], axis=None)
      ranks = np.searchsorted(ordered, band, 'left') + np.searchsorted(
        ordered, band, 'right'
      )
      quantiles = (ranks / 2 / len(ordered)).clip(0.001, 0.999)
      spread.append(stats.norm.ppf(quantiles)[..., None])
  return np.concatenate(spread, axis=-1)


def _classification(
  name: str,
  pixels: labelled_pixels.LabelledPixels,
  config: Config,
  grouped_by: str = 'cell',
) -> Problem:
  """Returns the problem of WorldCereal's pixels that have a label."""
  pixels = pixels.take(pixels.target >= 0)
  scale = pixel_transforms.Scale(config.scaling, tuple(config.missing_bands))
  inputs, keep = scale.prepare(pixels.values[..., None, None], True, name)
  measured = [b not in config.missing_bands for b in pixel_transforms.BANDS]
  return Problem(
    name,
    pixels.values[:, :, measured],
    lambda known: inputs,
    keep,
    pixels.months,
    pixels.target,
    pixels.classes,
    pixels.cells() if grouped_by == 'cell' else pixels.sites,
    grouped_by,
  )


def _regression(
  name: str, folder: pathlib.Path, recipe: dict
) -> tuple[Problem, Config]:
  """Returns the problem of one of Presto's regressions and its config."""
  pixels = labelled_pixels.read_presto(folder)
  angle = pixels.months[..., None] * np.pi / 6

  def inputs(known: np.ndarray) -> np.ndarray:
    bands = transformed(pixels.values, known, recipe['inputs'])
    features = np.concatenate([bands, np.sin(angle), np.cos(angle)], axis=-1)
    return features[..., None, None].astype(np.float32)

  problem = Problem(
    name,
    pixels.values,
    inputs,
    np.ones(pixels.months.shape, bool),
    pixels.months,
    pixels.target,
    (),
    pixels.sites,
    'site' if name == 'fuel_moisture' else 'cell',
  )
  config: Config = config_lib.get_config('data=east_africa')
  config.num_steps = recipe['num_steps']
  config.augment = dict(noise=recipe['noise'], drop=recipe['drop'])
  config.optimizer.update(
    peak_lr=recipe['peak_lr'],
    weight_decay=recipe['weight_decay'],
    warmup_steps=recipe['num_steps'] // 10,
  )
  return problem, config
