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
def read(number: int) -> tuple[dict[str, str], ...]:
  """Reads the rows of a table, {column: text}.

  Args:
    number: number of the table, 2 to 7.
  """
  path = _FOLDER / f'timesenclip_table{number}.csv'
  with open(path, newline='', encoding='utf-8') as file:
    return tuple(csv.DictReader(file))


def value(number: int, column: str, **which: str) -> float:
  """Returns one number of a table; NaN where the paper has none.

  Args:
    number: number of the table.
    column: name of the column.
    **which: {column: text} that the row has, such as model='CLIP'.
  """
  for row in read(number):
    if all(row[name] == text for name, text in which.items()):
      return float(row[column] or 'nan') if column in row else math.nan
  return math.nan


def zero_shot(kind: str, label: str, prompts: str, setting: str) -> float:
  """Returns an accuracy of Table 2, a share in 0..1.

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


def recall(kind: str, label: str, direction: str, setting: str) -> float:
  """Returns Recall@1 of Table 3, a share in 0..1.

  Args:
    kind: key of `MODELS`.
    label: key of `COLUMNS`.
    direction: 's2g' or 'g2s'.
    setting: key of `SETTINGS`.
  """
  return value(
    3,
    f'{COLUMNS[label]}_{direction}',
    model=MODELS.get(kind, kind),
    temporal=SETTINGS[setting],
  )


def scenicness(kind: str, column: str, what: str, setting: str) -> float:
  """Returns a correlation of Table 4.

  Args:
    kind: key of `MODELS`, or a model's name in the table.
    column: 'early', 'late_min2', 'late_min5', 'late_min8', 'late_min10' or
      'average'.
    what: 'pearson_r' or 'kendall_tau'.
    setting: key of `SETTINGS`.
  """
  return value(
    4,
    f'{column}_{what}',
    model=MODELS.get(kind, kind),
    temporal=SETTINGS[setting],
  )


def ablation(number: int, kind: str, label: str) -> float:
  """Returns a mean of Table 5 or 6 in percent; NaN where the paper has none.

  Args:
    number: 5 (zero-shot) or 6 (retrieval).
    kind: what was dropped in training, such as 'tsmixaug'.
    label: key of `COLUMNS`.
  """
  column = 'bioregion' if label == 'bioregion' else COLUMNS[label]
  drops = ABLATION.get(kind)
  if drops is None:
    return math.nan
  return value(number, column, ms_drop=drops[0], ts_drop=drops[1])
