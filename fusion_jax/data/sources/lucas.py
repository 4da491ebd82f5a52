"""LUCAS 2018: survey records, ground photos, and Sen4Map's test labels.

The micro-data are one CSV with 97 columns (Eurostat, CC BY 4.0); photos are
`{NUTS 0}/{id[:3]}/{id[3:6]}/{id}{N|E|S|W}.jpg`, as on Eurostat's server.
"""

import csv
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from fusion_jax import geo
from fusion_jax.data import labels, lucas_grid

_COLUMNS = ('POINT_ID', 'NUTS0', 'TH_LAT', 'TH_LONG', 'LC1', 'LU1')
_LABEL_COLUMNS = {
  'land_cover': 'lc_label',
  'land_use': 'lu_label',
  'crops': 'crop_label',
  'country': 'nuts_label',
  'bioregion': 'bioregion_class',
  'eunis': 'eunis_class',
}
_PHOTO_KEY = re.compile('[A-Z]{2}_([1-9][0-9]{7})[NESW]')
_ENDINGS = ('jpg', 'JPG', 'jpeg', 'png')
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
      LU1, in any order and either case.

  Raises:
    ValueError: if columns are missing, a point occurs twice with other codes,
      or places disagree with the identifiers, even with latitude and longitude
      swapped.
  """
  rows = _rows(path, _COLUMNS, str.upper)
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


def photo_key(nuts0: str, point: int, direction: str) -> str:
  """Returns the name of a photo among CLIP vectors: 'NL_40683280W'."""
  return f'{nuts0}_{point}{direction}'


def photo_path(
  root: str | os.PathLike[str], nuts0: str, point: int, direction: str
) -> pathlib.Path | None:
  """Returns the path of a photo, as on the server or flat.

  A flat name is 'NL_40683280W.jpg'.

  Returns:
    The first that exists; None if there is none.
  """
  digits, top = str(point), pathlib.Path(root)
  for folder, stem in (
    (top / nuts0 / digits[:3] / digits[3:6], f'{digits}{direction}'),
    (top, photo_key(nuts0, point, direction)),
  ):
    for ending in _ENDINGS:
      if (path := folder / f'{stem}.{ending}').exists():
        return path
  return None


def find_photos(root: str | os.PathLike[str]) -> dict[str, pathlib.Path]:
  """Returns {photo key: path} of all directional photos under a folder.

  Raises:
    ValueError: if there is none.
  """
  photos, unmatched = {}, []
  for path in pathlib.Path(root).rglob('*'):
    if path.suffix[1:] in _ENDINGS:
      if key := _key_of(path):
        photos[key] = path
      else:
        unmatched.append(path)
  if not photos:
    raise ValueError(
      f'{root} has no photos; expected files such as '
      'NL/406/832/40683280W.jpg or NL_40683280W.jpg'
      f'{f", not {unmatched[0]}" if unmatched else ""}.'
    )
  if unmatched:
    logging.warning(
      '%d pictures under %s are no photos with country, point and'
      ' direction, such as %s.',
      len(unmatched),
      root,
      unmatched[0],
    )
  return dict(sorted(photos.items()))


def point_of(key: str) -> int:
  """Returns the point in the name of a photo; 0 for another name."""
  match = _PHOTO_KEY.fullmatch(key)
  return int(match[1]) if match else 0


def _key_of(path: pathlib.Path) -> str:
  """Returns the name of the photo of a path; '' if it is no photo."""
  key = path.stem
  if '_' not in key:  # A path as on the server.
    country, first, second = (path.parents[i].name for i in (2, 1, 0))
    key = f'{country}_{key}' if key.startswith(first + second) else ''
  return key if point_of(key) else ''


def _rows(
  path: str | os.PathLike[str],
  columns: Sequence[str],
  case: Callable[[str], str],
) -> list[dict[str, str]]:
  """Rows of a CSV, with the names of the columns in one case."""
  try:
    with open(path, newline='', encoding='utf-8-sig') as file:
      reader = csv.DictReader(file)
      names = [case(name.strip()) for name in reader.fieldnames or ()]
      reader.fieldnames = names
      rows = list(reader)
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is not in UTF-8 ({error}); convert it, for '
      'instance with iconv -f latin1 -t utf8.'
    ) from error
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
