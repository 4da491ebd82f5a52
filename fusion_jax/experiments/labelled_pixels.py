"""Supervised encoder, random forest and majority class on real pixels.

All methods read the same values and are judged on the same folds: spatial
cells of 0.25 degrees, data sets or sites are held out whole. The encoder is
that of configs/worldcereal.py, in regressions with the changes in
`labelled_problems.REGRESSIONS`; it is the mean of several runs with other
seeds, since a forest is a mean as well. Intervals are bootstraps over the
groups that are held out.
"""

import dataclasses
import functools
import time
from collections.abc import Mapping

import numpy as np
from absl import logging

from fusion_jax import extras
from fusion_jax.experiments import pages
from fusion_jax.ops import intervals

with extras.needed('eval', 'The study of labelled pixels'):
  from fusion_jax.experiments import labelled_methods as methods
  from fusion_jax.experiments import labelled_problems as problems_lib

_HEADER = (
  'data and method',
  'places',
  'classes',
  'score',
  'value',
  '95 % interval',
  'encoder - forest',
  'processor s',
)


@dataclasses.dataclass(frozen=True)
class LabelledPixels:
  """Three methods on labelled pixels of WorldCereal and Presto.

  Attributes:
    worldcereal: folder of the files of
      github.com/WorldCereal/worldcereal-classification.
    presto: folder with fuel_moisture and algae_blooms of
      github.com/nasaharvest/presto.
    only: names of the problems to solve; () for all of them.
    members: encoders, trained with other seeds, whose mean counts.
  """

  worldcereal: str
  presto: str
  only: tuple[str, ...] = ()
  members: int = 3

  def run(self) -> list[pages.Table]:
    """Solves the problems with every method; returns the table of scores."""
    rows = []
    for problem, config in problems_lib.read(
      self.worldcereal, self.presto, self.only
    ):
      logging.info('Solving %s.', problem.name)
      folds = problems_lib.make_folds(problem)
      predictions, seconds = {}, {}
      for name, predict in methods.METHODS.items():
        start = time.process_time()
        predictions[name] = predict(problem, folds, config, self.members)
        seconds[name] = time.process_time() - start
      rows += _rows(problem, len(folds), predictions, seconds)
    return [
      pages.Table(
        'Scores',
        _HEADER,
        tuple(rows),
        'Values are those of the places that were held out, intervals '
        'bootstraps over cells, data sets or sites. Majority and mean are '
        'those of the training folds.',
      )
    ]


def _rows(
  problem: problems_lib.Problem,
  num_folds: int,
  predictions: Mapping[str, np.ndarray],
  seconds: Mapping[str, float],
) -> list[tuple[pages.Cell, ...]]:
  """Returns the rows of one problem, one for each method."""
  everyone = np.arange(len(problem.target))
  rows = []
  for name, predicted in predictions.items():
    score = functools.partial(problems_lib.score, problem, predicted)
    low, high = intervals.of_score(score, problem.groups)
    difference = '–'
    if name == 'encoder':
      difference = _difference(problem, predicted, predictions['random forest'])
    rows.append(
      (
        f'{problem.name}, {name}',
        f'{len(everyone)} in {num_folds} folds by {problem.grouped_by}',
        str(len(problem.classes) or '–'),
        'macro-F1' if problem.classes else 'R2',
        f'{score(everyone):.3f}',
        f'[{low:.3f}, {high:.3f}]',
        difference,
        f'{seconds[name]:.0f}',
      )
    )
  return rows


def _difference(
  problem: problems_lib.Problem, encoder: np.ndarray, forest: np.ndarray
) -> str:
  """Returns encoder minus forest with its interval, as text."""

  def difference(places: np.ndarray) -> float:
    return problems_lib.score(problem, encoder, places) - problems_lib.score(
      problem, forest, places
    )

  low, high = intervals.of_score(difference, problem.groups)
  value = difference(np.arange(len(problem.target)))
  return f'{value:+.3f} [{low:+.3f}, {high:+.3f}]'
