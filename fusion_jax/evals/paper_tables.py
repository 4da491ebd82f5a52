"""Numbers of the TimeSenCLIP paper's tables, to stand beside ours.

Source: arXiv:2508.11919, Tables 2 to 7; the files are in `paper_tables/`.
"""

import csv
import functools
import math
import pathlib

_FOLDER = pathlib.Path(__file__).with_name('paper_tables')
# Our names of labels, and those of the columns.
COLUMNS = {
  'land_cover': 'land_cover',
  'land_use': 'land_use',
  'eunis': 'eunis',
  'bioregion': 'bio_regions',
  'crops': 'crops',
  'country': 'country',
}
SETTINGS = {'single': 'Single', 'quarterly': 'Quarterly', 'monthly': 'Monthly'}
MODELS = {
  'tsdrop': 'TimeSenCLIP Random TSDrop',
  'tsmsdrop': 'TimeSenCLIP TSMsDrop',
  'tsmixaug': 'TimeSenCLIP TSMixAug',
  'supervised': 'Supervised Upper Bound',
  'clip': 'CLIP',
}
# Whether bands and months are dropped, as the rows of Tables 5 and 6. Their
# "TS" is TSMixAug: Table 6 is the mean of Table 3's rows of that name.
ABLATION = {
  'none': ('no', 'no'),
  'msdrop': ('yes', 'no'),
  'tsmixaug': ('no', 'yes'),
  'tsmsdrop': ('yes', 'yes'),
}


@functools.cache
def read(number):
  """Rows of Table `number`, 2 to 7: {column: text}."""
  path = _FOLDER / f'timesenclip_table{number}.csv'
  with open(path, newline='', encoding='utf-8') as file:
    return tuple(csv.DictReader(file))


def value(number, column, **which):
  """One number of a table; NaN where the paper has none.

  Args:
    number: of the table.
    column: its name.
    **which: {column: text} of the row, such as model='CLIP'.
  """
  for row in read(number):
    if all(row[name] == text for name, text in which.items()):
      return float(row[column] or 'nan') if column in row else math.nan
  return math.nan


def zero_shot(kind, label, prompts, setting):
  """Share of Table 2, 0..1.

  Args:
    kind: key of `MODELS`.
    label: key of `COLUMNS`.
    prompts: 'class', 'gen' or 'desc'.
    setting: key of `SETTINGS`.
  """
  if (label, prompts) == ('bioregion', 'gen') and kind in (
    'tsdrop',
    'tsmsdrop',
    'tsmixaug',
  ):
    return math.nan  # The column repeats that of EUNIS, digit for digit.
  return (
    value(
      2,
      f'{COLUMNS[label]}_{prompts}',
      model=MODELS.get(kind, kind),
      temporal=SETTINGS[setting],
    )
    / 100
  )


def recall(kind, label, direction, setting):
  """Recall@1 of Table 3; `direction` is 's2g' or 'g2s', else as above."""
  return value(
    3,
    f'{COLUMNS[label]}_{direction}',
    model=MODELS.get(kind, kind),
    temporal=SETTINGS[setting],
  )


def scenicness(kind, column, what, setting):
  """Correlation of Table 4: 'early', 'late_min2', ...; 'pearson_r', ..."""
  return value(
    4,
    f'{column}_{what}',
    model=MODELS.get(kind, kind),
    temporal=SETTINGS[setting],
  )


def ablation(number, kind, label):
  """Mean of Table 5 or 6 in the paper's unit, percent."""
  column = 'bioregion' if label == 'bioregion' else COLUMNS[label]
  drops = ABLATION.get(kind)
  if drops is None:
    return math.nan
  return value(number, column, ms_drop=drops[0], ts_drop=drops[1])
