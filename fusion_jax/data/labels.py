"""Classes of places: what LUCAS surveyed, and where the place lies.

A label is stored as its index in `classes(task)`, or -1 for no class. The
tables are in `labels/`.
Differs from the paper (TimeSenCLIP): there are 16 land uses and 40 crops, as
in the public code and the published labels, not 18 and 36.
"""

import csv
import functools
import pathlib
import re

TASKS = ('land_cover', 'land_use', 'crops', 'eunis', 'bioregion', 'country')
NONE = -1  # Label of a place without a class.
# Name of the field of an example that holds the label of a task, int32.
FIELDS: dict[str, str] = {task: f'label/{task}' for task in TASKS}

_FOLDER = pathlib.Path(__file__).with_name('labels')
_CLASSES = {
  'land_cover': 'land_cover_level0.csv',
  'land_use': 'land_use_level0.csv',
  'crops': 'crops.csv',
  'eunis': 'eunis_level2.csv',
  'bioregion': 'bioregions.csv',
  'country': 'countries_nuts0.csv',
}
_CODES = {
  'land_cover': 'lucas_lc1_codes.csv',
  'land_use': 'lucas_lu1_codes.csv',
}
_NO_NAME = ('', 'na', 'nan', 'none')
# Codes of ISO 3166 whose countries have another one in NUTS.
_ISO = {'GR': 'EL', 'GB': 'UK'}
# Names as a second published list spells them.
_OTHER_SPELLINGS = {
  'transport, communication, storage, protection': (
    'Transport, Communication Networks, Storage, Protection Works'
  )
}


def classes(task: str) -> tuple[str, ...]:
  """Returns the names of the classes of a task, in the order of their indices.

  Args:
    task: one of `TASKS`.

  Returns:
    8, 16, 40, 44, 12 and 28 names for the six tasks.

  Raises:
    ValueError: if there is no such task.
  """
  return tuple(row['name'] for row in _rows(task))


def in_paper(task: str) -> tuple[str, ...]:
  """Returns the names of the classes that TimeSenCLIP's paper scores.

  They differ from `classes` for bioregions: the public code scores 12, but the
  places of the paper lie in 8, and these 8 are the default of evaluations.

  Args:
    task: one of `TASKS`.

  Raises:
    ValueError: if there is no such task.
  """
  return tuple(
    row['name']
    for row in _rows(task)
    if row.get('present_in_paper', 'yes') == 'yes'
  )


@functools.cache
def codes(task: str) -> dict[str, int]:
  """Returns the index of the class of each code of a task.

  Args:
    task: one of `TASKS`. Their codes are LUCAS LC1 for 'land_cover' and
      'crops', LUCAS LU1 for 'land_use', numbers for 'eunis' and 'bioregion',
      and NUTS 0 for 'country'.

  Raises:
    ValueError: if there is no such task.
  """
  _rows(task)
  if task in _CODES:
    return {
      row['code']: int(row['level0_index']) for row in _read(_CODES[task])
    }
  return {row['code']: int(row['index']) for row in _rows(task)}


def of_code(task: str, code: str | int) -> int:
  """Returns the index of the class with a code, or -1 if no class has it.

  So the crop of 'C10' (woodland) is -1, as is the land use of '8', which is
  LUCAS' code for "not applicable".

  Args:
    task: one of `TASKS`.
    code: code of the task, in upper or lower case; that of a country may be
      the one of ISO 3166.

  Raises:
    ValueError: if there is no such task.
  """
  if task == 'country':
    code = nuts0(str(code))
  return codes(task).get(str(code).strip().upper(), NONE)


def nuts0(code: str) -> str:
  """Returns the NUTS 0 code of a country: 'EL' for the 'GR' of ISO 3166.

  Args:
    code: code in either list, in upper or lower case.
  """
  code = code.strip().upper()
  return _ISO.get(code, code)


def of_name(task: str, name: str) -> int:
  """Returns the index of the class with a name, in either published spelling.

  Args:
    task: one of `TASKS`.
    name: name of the class; case and spaces do not matter. 'NA', 'nan', 'none'
      and '' mean no class.

  Returns:
    Index of the class, or -1 for no class.

  Raises:
    ValueError: if there is no such task, or if it has no such class; the
      message lists its classes.
  """
  key = _key(name)
  if key in _NO_NAME:
    return NONE
  spelling = _OTHER_SPELLINGS.get(str(name).lower(), name)
  index = _by_key(task).get(_key(spelling))
  if index is None:
    raise ValueError(
      f'{name!r} is no class of {task}; choose one of '
      f'{", ".join(classes(task))}.'
    )
  return index


def pretty(name: str) -> str:
  """Returns the name of a class with spaces: 'Black Sea' for 'BlackSea'."""
  return re.sub('(?<=[a-z])(?=[A-Z])', ' ', name)


def _key(name: str) -> str:
  """Returns a name without spaces and case: 'bareland' for 'Bare Land'."""
  return re.sub(r'\s', '', str(name)).lower()


@functools.cache
def _by_key(task: str) -> dict[str, int]:
  return {_key(name): i for i, name in enumerate(classes(task))}


def _rows(task: str) -> tuple[dict[str, str], ...]:
  """Returns the rows of a task's table of classes."""
  if task not in _CLASSES:
    raise ValueError(
      f'There is no task {task!r}; choose one of {", ".join(TASKS)}.'
    )
  return _read(_CLASSES[task])


@functools.cache
def _read(name: str) -> tuple[dict[str, str], ...]:
  with open(_FOLDER / name, newline='', encoding='utf-8') as file:
    return tuple(csv.DictReader(file))
