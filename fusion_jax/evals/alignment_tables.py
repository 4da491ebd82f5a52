"""Tables of an alignment run in the layout of TimeSenCLIP's, with its numbers.

Every function takes {path: number} as in metrics.json. Cells are '62.1 (63.3)':
our number, and in brackets the paper's, of the run with the same augmentation.
"""

import math
from collections.abc import Mapping, Sequence

from fusion_jax.evals import paper_tables, retrieval, scenicness, tables
from fusion_jax.evals import zero_shot as zero_shot_lib

_SETTINGS = ('single', 'quarterly', 'monthly')
# {label: name in a table}.
NAMES = {
  'land_cover': 'land cover',
  'land_use': 'land use',
  'eunis': 'EUNIS',
  'bioregion': 'bioregions',
  'crops': 'crops',
  'country': 'country',
}


def zero_shot(
  numbers: Mapping[str, float],
  split: str,
  labels: Sequence[str],
  kinds: Sequence[str],
  augment: str,
) -> str:
  """Makes Table 2: accuracy in percent, a row for each temporal setting.

  Args:
    numbers: {path: number} of a run.
    split: split of the places.
    labels: names of the labels.
    kinds: kinds of prompts.
    augment: augmentation of the run, which chooses the paper's numbers.

  Returns:
    Markdown.
  """
  header = ['temporal'] + [
    f'{NAMES[label]} {zero_shot_lib.KINDS[kind]}'
    for label in labels
    for kind in kinds
  ]
  rows = [
    [paper_tables.SETTINGS[setting]]
    + [
      beside(
        numbers.get(zero_shot_path(split, setting, label, kind)),
        paper_tables.zero_shot(
          augment, label, zero_shot_lib.KINDS[kind], setting
        ),
        100,
        1,
      )
      for label in labels
      for kind in kinds
    ]
    for setting in _SETTINGS
  ]
  return tables.markdown(header, rows)


def zero_shot_details(
  numbers: Mapping[str, float], split: str, labels: Sequence[str]
) -> str:
  """Makes a table of the prompts that select models, in every way to count.

  Args:
    numbers: {path: number} of a run.
    split: split of the places.
    labels: names of the labels.

  Returns:
    Markdown.
  """
  rows = []
  for label in labels:
    for setting in _SETTINGS:
      path = zero_shot_path(split, setting, label)
      if path in numbers:
        rows.append(
          [
            NAMES[label],
            paper_tables.SETTINGS[setting],
            tables.with_interval(
              numbers[path], (numbers[f'{path}_low'], numbers[f'{path}_high'])
            ),
            *(
              numbers[f'{path}_{name}']
              for name in ('normalised', 'by_class', 'by_candidate')
            ),
          ]
        )
  return tables.markdown(
    (
      'label',
      'temporal',
      'top-1 [95 %]',
      'normalised',
      'mean over classes',
      'over all candidates',
    ),
    rows,
  )


def recall(
  numbers: Mapping[str, float],
  split: str,
  labels: Sequence[str],
  augment: str,
) -> str:
  """Makes Table 3: class-level Recall@1, own places included.

  Args:
    numbers: {path: number} of a run.
    split: split of the places.
    labels: names of the labels.
    augment: augmentation of the run, which chooses the paper's numbers.

  Returns:
    Markdown with a row for each temporal setting.
  """
  header = ['temporal'] + [
    f'{NAMES[label]} {direction.upper()}'
    for label in labels
    for direction in ('g2s', 's2g')
  ]
  rows = [
    [paper_tables.SETTINGS[setting]]
    + [
      beside(
        numbers.get(f'{recall_path(split, setting, label)}_{direction}@1'),
        paper_tables.recall(augment, label, direction, setting),
      )
      for label in labels
      for direction in ('g2s', 's2g')
    ]
    for setting in _SETTINGS
  ]
  return tables.markdown(header, rows)


def recall_details(
  numbers: Mapping[str, float],
  split: str,
  labels: Sequence[str],
  setting: str = 'monthly',
) -> str:
  """Makes a table of recall at 1, 5 and 10 beside chance, without own places.

  Args:
    numbers: {path: number} of a run.
    split: split of the places.
    labels: names of the labels.
    setting: temporal setting.

  Returns:
    Markdown.
  """
  rows = []
  for label in labels:
    path = recall_path(split, setting, label, own=False)
    for direction in retrieval.DIRECTIONS:
      if f'{path}_{direction}@1' in numbers:
        first = f'{path}_{direction}@1'
        rows.append(
          [
            NAMES[label],
            direction.upper(),
            tables.with_interval(
              numbers[first],
              (numbers[f'{first}_low'], numbers[f'{first}_high']),
            ),
            numbers[f'{path}_chance@1'],
            retrieval.over_chance(numbers, path, direction),
            *(
              numbers.get(f'{path}_{direction}@{k}', math.nan) for k in (5, 10)
            ),
          ]
        )
  return tables.markdown(
    (
      'label',
      'direction',
      '@1 [95 %]',
      'chance @1',
      'low / chance',
      '@5',
      '@10',
    ),
    rows,
  )


def scenic(
  numbers: Mapping[str, float],
  split: str,
  model: str,
  settings: Sequence[str] = _SETTINGS,
) -> str:
  """Makes Table 4: Pearson r and Kendall tau-b, a row for each setting.

  Args:
    numbers: {path: number} of a run.
    split: split of the places.
    model: augmentation of our run, or name of a model in the paper.
    settings: temporal settings, keys of `calendar.SETTINGS`.

  Returns:
    Markdown.
  """
  names = ('early', *(f'late_min{n}' for n in scenicness.MINIMA), 'average')
  header = ['temporal'] + [
    f'{name.replace("_min", " ")} {what}'
    for name in names
    for what in ('r', 'tau')
  ]
  rows = [
    [paper_tables.SETTINGS[setting]]
    + [
      beside(
        numbers.get(f'{scenic_path(split, setting)}_{name}/{what}'),
        paper_tables.scenicness(model, name, what, setting),
      )
      for name in names
      for what in ('pearson_r', 'kendall_tau')
    ]
    for setting in settings
  ]
  return tables.markdown(header, rows)


def zero_shot_path(split: str, setting: str, label: str, kind: str = '') -> str:
  """Returns a path such as 'test/zero_shot_single/crops.descriptive'.

  Args:
    split: split of the places.
    setting: temporal setting; 'monthly' adds nothing to the path.
    label: name of the label.
    kind: kind of prompts; '' for those that select models.
  """
  suffix = '' if setting == 'monthly' else f'_{setting}'
  kind = f'.{kind}' if kind else ''
  return f'{split}/zero_shot{suffix}/{label}{kind}'


def recall_path(
  split: str, setting: str, label: str, *, own: bool = True
) -> str:
  """Returns a path such as 'test/recall_own_excluded_single/crops'.

  Args:
    split: split of the places.
    setting: temporal setting; 'monthly' adds nothing to the path.
    label: name of the label.
    own: whether a query may find its own place, which adds nothing.
  """
  suffix = '' if setting == 'monthly' else f'_{setting}'
  which = '' if own else '_own_excluded'
  return f'{split}/recall{which}{suffix}/{label}'


def scenic_path(split: str, setting: str) -> str:
  """Returns a path such as 'test/scenicness_single'.

  Args:
    split: split of the places.
    setting: temporal setting; 'monthly' adds nothing to the path.
  """
  return f'{split}/scenicness' + ('' if setting == 'monthly' else f'_{setting}')


def beside(
  ours: float | None, paper: float, factor: float = 1, digits: int = 3
) -> str:
  """Writes two numbers as '0.621 (0.633)'.

  Args:
    ours: our number; None is written as a dash.
    paper: the paper's number; NaN leaves the brackets out.
    factor: both numbers are multiplied by it.
    digits: number of decimals.
  """
  text = '–' if ours is None else tables.number(factor * ours, digits)
  if math.isnan(paper):
    return text
  return f'{text} ({tables.number(factor * paper, digits)})'
