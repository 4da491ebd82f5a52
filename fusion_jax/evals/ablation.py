"""What dropping months and bands while training does (Tables 5 and 6).

From the metrics.json of runs that differ in `config.augment.kind` only.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fusion_jax.evals import alignment_tables, paper_tables, retrieval, tables
from fusion_jax.evals import zero_shot as zero_shot_lib

KINDS = ('none', 'msdrop', 'tsdrop', 'tsmixaug', 'tsmsdrop')
# {kind: name in a table}.
NAMES = {
  'none': 'none',
  'msdrop': 'bands (MS)',
  'tsdrop': 'Random TSDrop',
  'tsmixaug': 'TSMixAug (TS)',
  'tsmsdrop': 'TSMsDrop (MS + TS)',
}


def zero_shot_mean(
  numbers: Mapping[str, float],
  split: str,
  label: str,
  settings: Sequence[str] = tuple(paper_tables.SETTINGS),
  kinds: Sequence[str] = tuple(zero_shot_lib.KINDS),
) -> float:
  """Averages the accuracy over prompts and temporal settings, as in Table 5.

  Differs from the paper: no mean of its Table 2 gives its Table 5; ours is the
  plain mean over all that the run has of `kinds`.

  Args:
    numbers: {path: number} of a run.
    split: split of the places.
    label: name of the label.
    settings: temporal settings, some of 'single', 'quarterly', 'monthly'.
    kinds: kinds of prompts.

  Returns:
    A share, or NaN if the run has none of the numbers.
  """
  return _mean(
    numbers,
    [
      alignment_tables.zero_shot_path(split, setting, label, kind)
      for setting in settings
      for kind in kinds
    ],
  )


def recall_mean(numbers: Mapping[str, float], split: str, label: str) -> float:
  """Averages Recall@1 over directions and temporal settings, as in Table 6.

  Args:
    numbers: {path: number} of a run.
    split: split of the places.
    label: name of the label.

  Returns:
    A share, or NaN if the run has none of the numbers.
  """
  return _mean(
    numbers,
    [
      f'{alignment_tables.recall_path(split, setting, label)}_{direction}@1'
      for setting in paper_tables.SETTINGS
      for direction in retrieval.DIRECTIONS
    ],
  )


def table(
  runs: Mapping[str, Sequence[Mapping[str, float]]],
  split: str,
  labels: Sequence[str],
  number: int,
) -> str:
  """Writes the rows of Table 5 or 6 as Markdown.

  Args:
    runs: {kind: [{path: number}]}, one entry for each seed.
    split: split of the places.
    labels: names of the labels, the columns.
    number: 5 (zero-shot) or 6 (retrieval).
  """
  return tables.markdown(*rows(runs, split, labels, number))


def rows(
  runs: Mapping[str, Sequence[Mapping[str, float]]],
  split: str,
  labels: Sequence[str],
  number: int,
) -> tuple[tuple[str, ...], list[list[str]]]:
  """Makes the rows of Table 5 or 6, in percent, with the paper's in brackets.

  Args:
    runs: {kind: [{path: number}]}, one entry for each seed.
    split: split of the places.
    labels: names of the labels, the columns.
    number: 5 (zero-shot) or 6 (retrieval).

  Returns:
    (header, rows) of cells.
  """
  measure = {5: zero_shot_mean, 6: recall_mean}[number]
  cells_of_kinds = []
  for kind in [kind for kind in KINDS if kind in runs]:
    cells = [NAMES[kind]]
    for label in labels:
      values = [100 * measure(numbers, split, label) for numbers in runs[kind]]
      cells.append(
        with_spread(values, paper_tables.ablation(number, kind, label), 1)
      )
    cells_of_kinds.append(cells)
  header = (
    'dropped in training',
    *(alignment_tables.NAMES[label] for label in labels),
  )
  return header, cells_of_kinds


def with_spread(
  values: Sequence[float], paper: float = np.nan, digits: int = 3
) -> str:
  """Writes mean and standard deviation over seeds, as '58.1 ± 0.4 (60.6)'.

  Args:
    values: one number for each seed.
    paper: the paper's number, in brackets; NaN leaves it out.
    digits: decimals.
  """
  text = tables.number(float(np.mean(values)), digits)
  if len(values) > 1:
    text += f' ± {tables.number(float(np.std(values, ddof=1)), digits)}'
  if np.isnan(paper):
    return text
  return f'{text} ({tables.number(paper, digits)})'


def _mean(numbers: Mapping[str, float], paths: Sequence[str]) -> float:
  values = [numbers[path] for path in paths if path in numbers]
  return float(np.mean(values)) if values else np.nan
