"""Scenicness: prompts rated by people, and votes on places in Great Britain.

  prompts   CSV of Levering et al. 2024 (10.1371/journal.pone.0307083): one
            prompt a row, with its rater's number and score from 1 to 10
  votes     TSV of ScenicOrNot (ODbL): one place a row, with its mean vote

Neither comes with the package; `fusion-jax prepare scenicness` gets them.
"""

import csv
import math
import os
from typing import NamedTuple

import numpy as np
import scipy.spatial
from numpy import typing as npt

from fusion_jax.untrusted import archives
from fusion_jax.untrusted.reading import reading, reading_text

EARTH_RADIUS_M = 6_371_000
_LATS, _LONS = (49, 61), (-9, 3)  # Great Britain, degrees.


class RatedPrompts(NamedTuple):
  """N prompts that people rated.

  Attributes:
    texts: N texts.
    values: float [N], scenicness from 1 to 10.
    raters: int [N], numbers of the raters.
    vectors: [N, E] vectors of the texts; None where a CLIP has to make them.
  """

  texts: tuple[str, ...]
  values: np.ndarray
  raters: np.ndarray
  vectors: np.ndarray | None = None


class Votes(NamedTuple):
  """V places with votes.

  Attributes:
    lat: float [V], degrees north.
    lon: float [V], degrees east.
    mean: float [V], scenicness from 1 to 10.
  """

  lat: np.ndarray
  lon: np.ndarray
  mean: np.ndarray


def read_prompts(path: str | os.PathLike[str]) -> RatedPrompts:
  """Reads rated prompts from a CSV without vectors, or from a .npz with them.

  Raises:
    ValueError: if a column is missing, or a score lies outside 1 to 10.
  """
  if str(path).endswith('.npz'):
    with archives.open_npz(path) as file:
      _require(path, {'texts', 'values', 'raters', 'vectors'}, set(file))
      prompts = RatedPrompts(
        tuple(file['texts'].tolist()),
        file['values'].astype(float),
        file['raters'],
        file['vectors'].astype(np.float32),
      )
  else:
    rows = _rows(
      path, ',', {'user_index', 'values_in_order', 'prompts_in_order'}
    )
    prompts = RatedPrompts(
      tuple(row['prompts_in_order'].strip() for row in rows),
      _numbers(path, 'values_in_order', rows),
      _numbers(path, 'user_index', rows),
    )
  with reading(path, 'table of prompts', 'correct it'):
    prompts = prompts._replace(raters=prompts.raters.astype(int))
  if len({len(x) for x in prompts if x is not None}) > 1:
    num_vectors = 0 if prompts.vectors is None else len(prompts.vectors)
    raise ValueError(
      f'{path} has {len(prompts.texts)} texts, {len(prompts.values)} values, '
      f'{len(prompts.raters)} raters and {num_vectors} vectors; '
      'expected one of each for every prompt.'
    )
  if not ((prompts.values >= 1) & (prompts.values <= 10)).all():
    raise ValueError(
      f'{path}: scores of prompts lie from 1 to 10; here are '
      f'{prompts.values.min():g} to {prompts.values.max():g}.'
    )
  return prompts


def write_prompts(path: str | os.PathLike[str], prompts: RatedPrompts) -> None:
  """Writes rated prompts with vectors as .npz."""
  assert prompts.vectors is not None
  np.savez(
    path,
    texts=np.array(prompts.texts),
    values=prompts.values,
    raters=prompts.raters,
    vectors=prompts.vectors,
  )


def read_votes(path: str | os.PathLike[str]) -> Votes:
  """Reads the votes of a TSV in the public layout.

  Raises:
    ValueError: if a column or a number is missing, a mean lies outside 1 to
      10, places lie outside the Earth, or they lie in Great Britain only with
      latitude and longitude swapped.
  """
  names = ('Lat', 'Lon', 'Average')
  rows = _rows(path, '\t', set(names))
  votes = Votes(*(_numbers(path, name, rows) for name in names))
  outside = np.flatnonzero((votes.mean < 1) | (votes.mean > 10))
  if len(outside):
    raise ValueError(
      f'{path}, row {outside[0] + 1}: Average={votes.mean[outside[0]]:g}; '
      f'votes go from 1 to 10, which {len(outside)} of {len(rows)} rows miss.'
    )
  if (np.abs(votes.lat) > 90).any() or (
    _within(votes.lat, _LONS) and _within(votes.lon, _LATS)
  ):
    raise ValueError(
      f'{path}: latitudes from {votes.lat.min():g} to {votes.lat.max():g} '
      f'degrees, longitudes from {votes.lon.min():g} to '
      f'{votes.lon.max():g}; are Lat and Lon swapped? Exchange their names.'
    )
  return votes


def match(
  lat: npt.ArrayLike,
  lon: npt.ArrayLike,
  votes: Votes,
  radius_m: float = 1_000,
) -> np.ndarray:
  """Returns the nearest place with votes, int [P]; -1 if it is too far.

  Args:
    lat: [P] degrees north.
    lon: [P] degrees east.
    votes: places with votes.
    radius_m: farthest distance in m. The papers give none; the votes are on a
      grid of 1 km, so with 1,000 m nearly every place on it finds one.
  """
  tree = scipy.spatial.KDTree(_on_sphere(votes.lat, votes.lon))
  chord = 2 * np.sin(radius_m / EARTH_RADIUS_M / 2)
  _, nearest = tree.query(_on_sphere(lat, lon), distance_upper_bound=chord)
  return np.where(nearest < len(votes.lat), nearest, -1)


def votes_at(
  lat: npt.ArrayLike,
  lon: npt.ArrayLike,
  votes: Votes,
  radius_m: float = 1_000,
) -> np.ndarray:
  """Returns the mean votes [P] of places, NaN where none is near.

  Args:
    lat: [P] degrees north.
    lon: [P] degrees east.
    votes: places with votes.
    radius_m: farthest distance in m.
  """
  index = match(lat, lon, votes, radius_m)
  return np.where(index >= 0, votes.mean[index], np.nan)


def _within(values: np.ndarray, limits: tuple[float, float]) -> bool:
  return bool(((values >= limits[0]) & (values <= limits[1])).all())


def _on_sphere(lat: npt.ArrayLike, lon: npt.ArrayLike) -> np.ndarray:
  lat, lon = np.deg2rad(lat), np.deg2rad(lon)
  return np.stack(
    [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1
  )


def _numbers(path, name, rows):
  """Returns the finite numbers in a column, float [N]."""
  numbers = np.empty(len(rows))
  for i, row in enumerate(rows):
    try:
      numbers[i] = float(row[name])
    except (TypeError, ValueError):
      numbers[i] = math.nan
    if not math.isfinite(numbers[i]):
      raise ValueError(
        f'{path}, row {i + 1}: {name}={row[name]!r} is no number; correct the '
        'row, or leave it out. A decimal point is expected, no comma.'
      )
  return numbers


def _rows(path, delimiter, columns):
  with (
    open(path, newline='', encoding='utf-8-sig') as file,
    reading_text(path, 'table'),
  ):
    reader = csv.DictReader(file, delimiter=delimiter)
    _require(path, columns, set(reader.fieldnames or ()))
    return list(reader)


def _require(path, required, columns):
  if missing := sorted(required - columns):
    raise ValueError(f'{path} lacks {missing}; it has {sorted(columns)}.')
