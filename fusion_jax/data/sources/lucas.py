"""LUCAS 2018: survey records, and Sen4Map's test labels.

The micro-data are one CSV with 97 columns (Eurostat, CC BY 4.0). The harmonised
table of all years (d'Andrimont et al. 2020) is read as well: of its rows, those
of 2018.
"""

import csv
import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from fusion_jax import geo
from fusion_jax.data import labels, lucas_grid
from fusion_jax.untrusted.reading import reading_text

_COLUMNS = ('POINT_ID', 'NUTS0', 'TH_LAT', 'TH_LONG', 'LC1', 'LU1')
_LABEL_COLUMNS = {
  'land_cover': 'lc_label',
  'land_use': 'lu_label',
  'crops': 'crop_label',
  'country': 'nuts_label',
  'bioregion': 'bioregion_class',
  'eunis': 'eunis_class',
}
YEAR = 2018  # Of the survey, as of Sen4Map's images.
# A year of four digits, or the last two of a date such as 14/06/18.
_YEAR = re.compile(
  r'(?<!\d)(20\d\d)(?!\d)|^(20\d\d)[01]\d[0-3]\d$|[/.-](\d\d)(?=$|[ T])'
)
_NEAR_KM = 2.0  # Published coordinates agree with the identifier to 0.3 m.


class Point(NamedTuple):
  """Codes of LUCAS for a surveyed point: land cover, land use and country."""

  lc1: str
  lu1: str
  nuts0: str


def read_survey(path: str | os.PathLike[str]) -> dict[int, Point]:
  """Reads the points of the micro-data, {identifier: point}.

  Args:
    path: CSV with at least the columns POINT_ID, NUTS0, TH_LAT, TH_LONG, LC1,
      LU1, in any order and either case. Where it has YEAR or SURVEY_DATE, rows
      of other years than 2018 are left out, with a warning.

  Raises:
    ValueError: if columns are missing, a row has too few or too many fields,
      no row is of 2018, a point occurs twice with other codes, a country is
      unknown, or places disagree with the identifiers, even with latitude and
      longitude swapped.
  """
  rows = _surveyed(path, _rows(path, _COLUMNS, str.upper))
  ids = _point_ids(path, [row['POINT_ID'] for row in rows])
  _check_places(
    path,
    ids,
    [row['TH_LAT'] for row in rows],
    [row['TH_LONG'] for row in rows],
    ('TH_LAT', 'TH_LONG'),
  )
  points = {}
  for point, row in zip(ids.tolist(), rows):
    entry = Point(row['LC1'], row['LU1'], row['NUTS0'])
    if labels.of_code('country', entry.nuts0) == labels.NONE:
      raise ValueError(
        f'{path} has point {point} in the country {entry.nuts0!r}; NUTS0 is '
        f'one of {", ".join(labels.codes("country"))}.'
      )
    if points.setdefault(point, entry) != entry:
      raise ValueError(
        f'{path} has point {point} twice, as {points[point]} '
        f'and as {entry}; keep one.'
      )
  return points


def read_labels(path: str | os.PathLike[str]) -> dict[int, dict[str, int]]:
  """Reads a published file of Sen4Map labels.

  In the file, `crop_label` is 'NA' without a crop, and the columns named lat
  and lon are swapped: the identifiers show it, and a warning says so.

  Args:
    path: CSV with the columns im_id, lat, lon, lc_label, lu_label, crop_label,
      nuts_label, bioregion_class, eunis_class.

  Raises:
    ValueError: if columns are missing, a class is unknown, or the places are
      those of other points.
  """
  rows = _rows(path, ('im_id', 'lat', 'lon', *_LABEL_COLUMNS.values()), str)
  ids = _point_ids(path, [row['im_id'].rpartition('_')[2] for row in rows])
  _check_places(
    path,
    ids,
    [row['lat'] for row in rows],
    [row['lon'] for row in rows],
    ('lat', 'lon'),
  )
  labels_of_points = {}
  for point, row in zip(ids.tolist(), rows):
    try:
      labels_of_points[point] = {
        task: labels.of_name(task, row[column])
        for task, column in _LABEL_COLUMNS.items()
      }
    except ValueError as error:
      raise ValueError(f'{path}, {row["im_id"]}: {error}') from error
  return labels_of_points


def survey_labels(point: Point) -> dict[str, int]:
  """Returns {task: class index} of a point, from its codes in the survey."""
  return {
    'land_cover': labels.of_code('land_cover', point.lc1),
    'land_use': labels.of_code('land_use', point.lu1),
    'crops': labels.of_code('crops', point.lc1),
    'country': labels.of_code('country', point.nuts0),
  }


def _surveyed(
  path: str | os.PathLike[str], rows: list[dict[str, str]]
) -> list[dict[str, str]]:
  """Returns the rows of the year of the survey, of a table of several years."""
  name = next((x for x in ('YEAR', 'SURVEY_DATE') if x in rows[0]), '')
  if not name:
    return rows
  kept, undated = [], 0
  for row in rows:
    if not row[name].strip():  # It does not say another year.
      kept.append(row)
      undated += 1
      continue
    match = _YEAR.search(row[name].strip())
    if not match:
      raise ValueError(
        f'{path} has point {row["POINT_ID"]} with {name}={row[name]!r}, which '
        'is no year and no date; correct it, or leave the column out.'
      )
    if int(match[1] or match[2] or f'20{match[3]}') == YEAR:
      kept.append(row)
  if not kept:
    raise ValueError(
      f'{path} has no row of {YEAR}: {name} is {rows[0][name]!r} in the '
      f'first; give the survey of {YEAR}.'
    )
  if undated:
    logging.warning(
      '%s: %d rows have no %s and are taken.', path, undated, name
    )
  if len(kept) < len(rows):
    logging.warning(
      '%s: %d of %d rows are of other years than %d, by their %s, and are left '
      'out.',
      path,
      len(rows) - len(kept),
      len(rows),
      YEAR,
      name,
    )
  return kept


def _rows(
  path: str | os.PathLike[str],
  columns: Sequence[str],
  case: Callable[[str], str],
) -> list[dict[str, str]]:
  """Rows of a CSV, with the names of the columns in one case."""
  with (
    open(path, newline='', encoding='utf-8-sig') as file,
    reading_text(path, 'table'),
  ):
    reader = csv.DictReader(file)
    names = [case(name.strip()) for name in reader.fieldnames or ()]
    reader.fieldnames = names
    rows = []
    for row in reader:
      if None in row or None in row.values():
        count = sum(value is not None for value in row.values())
        count += len(row.get(None, ())) - (None in row)
        raise ValueError(
          f'{path}, line {reader.line_num}: {count} fields where the header '
          f'has {len(names)}. If the file was cut short, copy it again.'
        )
      rows.append(row)
  if missing := [name for name in columns if name not in names]:
    raise ValueError(
      f'{path} lacks the columns {missing}; it has {names[:12]}.'
    )
  if not rows:
    raise ValueError(f'{path} has no rows.')
  return rows


def _point_ids(path, texts):
  try:
    ids = np.array([int(text) for text in texts])
    lucas_grid.coordinates(ids)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  return ids


def _check_places(path, ids, lats, lons, names):
  """Checks that latitude and longitude are those of the points.

  Raises:
    ValueError: if they are not, even if they are swapped; the message names
      rows.
  """
  try:
    lat, lon = np.array(lats, float), np.array(lons, float)
  except ValueError as error:
    raise ValueError(
      f'{path}: {names[0]} and {names[1]} must be degrees ({error}).'
    ) from error
  expected = lucas_grid.coordinates(ids)
  straight = geo.distance_km(lat, lon, *expected) < _NEAR_KM
  swapped = geo.distance_km(lon, lat, *expected) < _NEAR_KM
  if straight.all():
    return
  if (straight | swapped).all() and swapped.mean() > 0.5:
    logging.warning(
      '%s has latitude and longitude swapped: its column %s holds '
      'longitudes, as the identifiers of the points show. The places are '
      'taken from the identifiers.',
      path,
      names[0],
    )
    return
  bad = np.flatnonzero(~straight)
  raise ValueError(
    f'{path}: {len(bad)} of {len(ids)} rows lie elsewhere than their '
    f'identifiers say, such as point {ids[bad[0]]}: {names[0]}={lat[bad[0]]:g}'
    f', {names[1]}={lon[bad[0]]:g}, but it lies at '
    f'{expected[0][bad[0]]:.4f}, {expected[1][bad[0]]:.4f}. Correct the file, '
    'or check that its rows were not mixed up.'
  )
