"""What dropping months and bands while training does (Tables 5 and 6).

From the metrics.json of runs that differ in `config.augment.kind` only.
"""

import numpy as np

from fusion_jax.evals import alignment_tables, paper_tables, retrieval, tables
from fusion_jax.evals import zero_shot as zero_shot_lib

KINDS = ('none', 'msdrop', 'tsdrop', 'tsmixaug', 'tsmsdrop')
NAMES = {
  'none': 'none',
  'msdrop': 'bands (MS)',
  'tsdrop': 'Random TSDrop',
  'tsmixaug': 'TSMixAug (TS)',
  'tsmsdrop': 'TSMsDrop (MS + TS)',
}


def zero_shot_mean(
  numbers,
  split,
  label,
  settings=tuple(paper_tables.SETTINGS),
  kinds=tuple(zero_shot_lib.KINDS),
):
  """Mean accuracy over prompts and temporal settings, as Table 5 says.

  Differs from the paper: no mean of its Table 2 gives its Table 5; ours is the
  plain mean over all that the run has of `kinds`.

  Args:
    numbers: {path: number} of a run.
    split: of the places.
    label: name.
    settings: some of 'single', 'quarterly', 'monthly'.
    kinds: of the prompts.
  """
  return _mean(
    numbers,
    [
      alignment_tables.zero_shot_path(split, setting, label, kind)
      for setting in settings
      for kind in kinds
    ],
  )


def recall_mean(numbers, split, label):
  """Mean Recall@1 over directions and temporal settings: Table 6."""
  return _mean(
    numbers,
    [
      f'{alignment_tables.recall_path(split, setting, label)}_{direction}@1'
      for setting in paper_tables.SETTINGS
      for direction in retrieval.DIRECTIONS
    ],
  )


def table(runs, split, labels, number):
  """Table 5 or 6 as Markdown, see `rows`."""
  return tables.markdown(*rows(runs, split, labels, number))


def rows(runs, split, labels, number):
  """Header and rows of Table 5 or 6, in percent; the paper's in brackets.

  Args:
    runs: {kind: list of {path: number}}, one entry a seed.
    split: of the places.
    labels: names, the columns.
    number: 5 (zero-shot) or 6 (retrieval).
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


def with_spread(values, paper=np.nan, digits=3):
  """'58.1 ± 0.4 (60.6)': mean and standard deviation over seeds."""
  text = tables.number(float(np.mean(values)), digits)
  if len(values) > 1:
    text += f' ± {tables.number(float(np.std(values, ddof=1)), digits)}'
  if np.isnan(paper):
    return text
  return f'{text} ({tables.number(paper, digits)})'


def _mean(numbers, paths):
  found = [numbers[path] for path in paths if path in numbers]
  return float(np.mean(found)) if found else np.nan
