"""Tables of an alignment run in the layout of TimeSenCLIP's, with its numbers.

Every function takes {path: number} as in metrics.json. Cells are '62.1 (63.3)':
ours, and the paper's in brackets, of the run with the same augmentation.
"""

import math

from fusion_jax.evals import paper_tables, retrieval, scenicness, tables
from fusion_jax.evals import zero_shot as zero_shot_lib

_SETTINGS = ('single', 'quarterly', 'monthly')
NAMES = {
  'land_cover': 'land cover',
  'land_use': 'land use',
  'eunis': 'EUNIS',
  'bioregion': 'bioregions',
  'crops': 'crops',
  'country': 'country',
}


def zero_shot(numbers, split, labels, kinds, augment):
  """Table 2: accuracy in percent, a row a setting."""
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


def zero_shot_details(numbers, split, labels):
  """Of the prompts that select models: every way to count."""
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


def recall(numbers, split, labels, augment):
  """Table 3: class-level Recall@1 with the own pair, a row a setting."""
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


def recall_details(numbers, split, labels, setting='monthly'):
  """Without the own pair: recall at 1, 5 and 10 beside chance."""
  rows = []
  for label in labels:
    path = recall_path(split, setting, label, own=False)
    for direction in retrieval.DIRECTIONS:
      if f'{path}_{direction}@1' in numbers:
        one = f'{path}_{direction}@1'
        rows.append(
          [
            NAMES[label],
            direction.upper(),
            tables.with_interval(
              numbers[one], (numbers[f'{one}_low'], numbers[f'{one}_high'])
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


def scenic(numbers, split, model, settings=_SETTINGS):
  """Table 4: Pearson r and Kendall tau-b, a row a setting.

  Args:
    numbers: {path: number}.
    split: name.
    model: augmentation of ours, or name of a model in the paper.
    settings: keys of `calendar.SETTINGS`.
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


def zero_shot_path(split, setting, label, kind=''):
  """'test/zero_shot_single/crops.descriptive'; the monthly one is plain."""
  suffix = '' if setting == 'monthly' else f'_{setting}'
  kind = f'.{kind}' if kind else ''
  return f'{split}/zero_shot{suffix}/{label}{kind}'


def recall_path(split, setting, label, *, own=True):
  """'test/recall_single/crops', or '..._own_excluded_...'."""
  suffix = '' if setting == 'monthly' else f'_{setting}'
  which = '' if own else '_own_excluded'
  return f'{split}/recall{which}{suffix}/{label}'


def scenic_path(split, setting):
  """'test/scenicness_single'; the monthly one is plain."""
  return f'{split}/scenicness' + ('' if setting == 'monthly' else f'_{setting}')


def beside(ours, paper, factor=1, digits=3):
  """'0.621 (0.633)'; without brackets where the paper has no number."""
  text = '–' if ours is None else tables.number(factor * ours, digits)
  if math.isnan(paper):
    return text
  return f'{text} ({tables.number(factor * paper, digits)})'
