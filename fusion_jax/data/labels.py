"""Classes of places: what LUCAS surveyed, and where the place lies.

A label is stored as the index into `classes(task)`, or -1 for none. The
tables are in `labels/`.
Differs from the paper (TimeSenCLIP): 16 land uses and 40 crops, as the public
code and the published labels have, not 18 and 36.
"""

import csv
import functools
import pathlib
import re

TASKS = ('land_cover', 'land_use', 'crops', 'eunis', 'bioregion', 'country')
NONE = -1
# Field of an example that holds a task's label, int32.
FIELDS = {task: f'label/{task}' for task in TASKS}

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
# Spellings of the second list that circulates.
_OTHERWISE = {
  'transport, communication, storage, protection': (
    'Transport, Communication Networks, Storage, Protection Works'
  )
}


def classes(task):
  """Names of a task's classes, in the order of their indices.

  Args:
    task: one of `TASKS`.

  Returns:
    tuple of str: 8, 16, 40, 44, 12 and 28 names.

  Raises:
    ValueError: if there is no such task.
  """
  return tuple(row['name'] for row in _rows(task))


def in_paper(task):
  """Names of the classes that TimeSenCLIP's paper has as candidates.

  Differs from `classes` for bioregions: the public code asks for 12, the
  paper's places lie in 8, and 8 is the default of evaluations.
  """
  return tuple(
    row['name']
    for row in _rows(task)
    if row.get('present_in_paper', 'yes') == 'yes'
  )


@functools.cache
def codes(task):
  """{code: index}: LC1, LU1, LC1, number, number and NUTS 0 of the task."""
  _rows(task)
  if task in _CODES:
    return {
      row['code']: int(row['level0_index']) for row in _read(_CODES[task])
    }
  return {row['code']: int(row['index']) for row in _rows(task)}


def of_code(task, code):
  """Index of the class with a code; -1 where the code belongs to none.

  So the crop of 'C10' (woodland) is -1, as is the land use of '8', LUCAS' way
  to write that something does not apply.
  """
  return codes(task).get(str(code).strip().upper(), NONE)


def of_name(task, name):
  """Index of the class with a name, in either published spelling.

  Args:
    task: one of `TASKS`.
    name: capitals and spaces do not matter; 'NA' and '' are no class.

  Returns:
    int, -1 for no class.

  Raises:
    ValueError: if the task has no such class; the message lists them.
  """
  key = _key(name)
  if key in _NO_NAME:
    return NONE
  found = _by_key(task).get(_key(_OTHERWISE.get(str(name).lower(), name)))
  if found is None:
    raise ValueError(
      f'{name!r} is no class of {task}; there are {", ".join(classes(task))}.'
    )
  return found


def pretty(name):
  """A class name as one would write it: 'BlackSea' is 'Black Sea'."""
  return re.sub('(?<=[a-z])(?=[A-Z])', ' ', name)


def _key(name):
  """'Bare Land' and 'Bareland' alike."""
  return re.sub(r'\s', '', str(name)).lower()


@functools.cache
def _by_key(task):
  return {_key(name): i for i, name in enumerate(classes(task))}


def _rows(task):
  if task not in _CLASSES:
    raise ValueError(
      f'There is no task {task!r}; there are {", ".join(TASKS)}.'
    )
  return _read(_CLASSES[task])


@functools.cache
def _read(name):
  with open(_FOLDER / name, newline='', encoding='utf-8') as file:
    return tuple(csv.DictReader(file))
