"""Reads `samples.csv`, the places and times of a folder of samples."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from fusion_jax import geo
from fusion_jax.data import dates, plausibility
from fusion_jax.untrusted.reading import reading_text

COLUMNS = ('sample_id', 'lat', 'lon', 's2_datetime_utc')
_YEARS = (1940, 2100)  # Of acquisitions with weather.


@dataclasses.dataclass(frozen=True)
class Sample:
  """One row of the table.

  Attributes:
    lat: degrees north.
    lon: degrees east in [-180, 180).
    time: seconds since 1970 UTC.
    line: line of the file, counted from 1.
  """

  lat: float
  lon: float
  time: int
  line: int


def read(path: pathlib.Path) -> dict[str, Sample]:
  """Returns {sample_id: sample} in the order of the table.

  Args:
    path: CSV file with the columns `COLUMNS`, in UTF-8 with or without a byte
      order mark.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it has another form; names line, column and value.
  """
  wanted = ', '.join(COLUMNS)
  if not path.is_file():
    raise FileNotFoundError(
      f'{path} is missing; write one with the columns {wanted}.'
    )
  table = csv.DictReader(io.StringIO(_text(path), newline=''))
  columns = [name.strip() for name in table.fieldnames or ()]
  table.fieldnames = columns
  if missing := sorted(set(COLUMNS) - set(columns)):
    found = ', '.join(columns)
    other = next((mark for mark in ';\t|' if mark in found), '')
    raise ValueError(
      f'{path} lacks the columns {", ".join(missing)}; it has {found}.'
      + (f' Separate the columns by commas, not by {other!r}.' if other else '')
    )
  samples, undated = {}, 0
  for row in _rows(table, path):
    where = f'{path}, line {table.line_num}'
    key, sample, has_time = _sample(row, where, columns)
    undated += not has_time
    if key in samples:
      raise ValueError(
        f'{where}: sample_id={key!r} stands in line {samples[key].line}, too; '
        'keep one of them.'
      )
    samples[key] = dataclasses.replace(sample, line=table.line_num)
  if not samples:
    raise ValueError(f'{path} has no row; write one for each sample.')
  if undated:
    logging.warning(
      '%s: %d of %d dates have no time of day and are taken for 00 UTC.',
      path,
      undated,
      len(samples),
    )
  return samples


def _rows(table: Any, path: pathlib.Path) -> Iterator[dict[str, Any]]:
  """Yields the rows of a table; errors of the format name the file."""
  with reading_text(path, 'table'):
    yield from table


def _text(path: str | os.PathLike[str]) -> str:
  """Returns the text of a file.

  Raises:
    ValueError: if it is in another encoding than UTF-8.
  """
  try:
    return pathlib.Path(path).read_bytes().decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is not in UTF-8 ({error}); convert it, for instance with iconv '
      '-f latin1 -t utf8.'
    ) from error


def _sample(
  row: Mapping[str, str], where: str, columns: Sequence[str]
) -> tuple[str, Sample, bool]:
  """Returns sample_id and values of a row, and if it has a time of day.

  Raises:
    ValueError: if a value is missing or none.
  """
  if None in row or any(row[name] is None for name in COLUMNS):
    raise ValueError(
      f'{where} has another number of values than the head, which has '
      f'{len(columns)}: {", ".join(columns)}.'
    )
  key = row['sample_id'].strip()
  if not key or key in ('.', '..') or set(key) & set('/\\'):
    raise ValueError(
      f'{where}: sample_id={key!r} cannot be the name of a file; write the '
      'name of the images without .tif.'
    )
  lat, lon = (_degrees(row, name, where) for name in ('lat', 'lon'))
  plausibility.check_place(lat, lon, f'{where}, lat={lat:g}, lon={lon:g}')
  text = row['s2_datetime_utc'].strip()
  time, has_time = _time(text, f'{where}: s2_datetime_utc={text!r}')
  return key, Sample(lat, float(geo.wrap_longitude(lon)), time, 0), has_time


def _degrees(row: Mapping[str, str], name: str, where: str) -> float:
  """Returns a latitude or longitude."""
  try:
    return float(row[name])
  except ValueError as error:
    raise ValueError(
      f'{where}: {name}={row[name]!r} is no number; write degrees, such as '
      '50.25.'
    ) from error


def _time(text: str, where: str) -> tuple[int, bool]:
  """Returns a time in s since 1970 UTC, and if it has a time of day."""
  try:
    time = dates.parse_time(text)
  except ValueError as error:
    raise ValueError(
      f'{where} is no time in UTC; write it as 2020-04-08T14:37:29.'
    ) from error
  year = 1970 + int(np.datetime64(time, 's').astype('M8[Y]').astype(int))
  if not _YEARS[0] <= year < _YEARS[1]:
    raise ValueError(
      f'{where} is of the year {year}; write a time such as '
      '2020-04-08T14:37:29.'
    )
  # Eight digits are 20200408, ten characters are 2020-04-08.
  return time, len(text) > len('2020-04-08')
