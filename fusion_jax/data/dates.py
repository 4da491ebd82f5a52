"""Dates as files spell them."""

import datetime
import os
import pathlib
import re
from typing import Any

import numpy as np

_DAY = r'((?:19|20)\d\d)[-_/]?(0[1-9]|1[0-2])(?:[-_/]?(0[1-9]|[12]\d|3[01]))?'
_DATE = re.compile(rf'(?<!\d){_DAY}(?!\d)')
# Sensing in names of products that begin with the date of processing.
_SENSED = re.compile(rf'(?<=_V){_DAY}(?=T)')
# Folders of years, months and days, as 2016/11/22.
_FOLDERS = re.compile(
  r'(?:^|/)((?:19|20)\d\d)/(0?[1-9]|1[0-2])(?:/(0?[1-9]|[12]\d|3[01]))?(?=/)'
)
# Sensing in names of products and patches: some leave out a leading zero, and
# seconds run over 59.
_SENSED_AT = re.compile(r'(?<!\d)((?:19|20)\d{6})T(\d{1,2})(\d\d)(\d\d)(?!\d)')
# The same with the day of the year, as 2021110T105321 in names of HLS.
_DAY_OF_YEAR = re.compile(
  r'(?<!\d)((?:19|20)\d\d)([0-3]\d\d)T(\d\d)(\d\d)(\d\d)(?!\d)'
)
# Names of files of old products hold the time of processing.
_PROCESSED = re.compile(r'(?<![A-Z0-9])S2[A-D]_OPER_MSI')
_NONE = np.datetime64('NaT', 'D')


def find(text: str) -> np.datetime64:
  """Returns the date of sensing in a text, datetime64[D].

  It is the first date, or the one after `_V` as in `..._V20160115T100608`; the
  1st for a month; NaT if there is none, or only that of processing, as in
  `S2A_OPER_MSI_L1C_TL_SGS__20160116T013213_...`.
  """
  if match := _SENSED.search(text):
    return _of(match)
  if _PROCESSED.search(text):
    return _NONE
  if match := _DATE.search(text):
    return _of(match)
  if match := _DAY_OF_YEAR.search(text):
    return _day_of_year(match)
  return _NONE


def _day_of_year(match: re.Match[str]) -> np.datetime64:
  """Returns the day of a year and the number of a day in it, or NaT."""
  passed = np.timedelta64(int(match[2]) - 1, 'D')
  day = np.datetime64(match[1], 'Y').astype('datetime64[D]') + passed
  return day if str(day)[:4] == match[1] else _NONE


def find_in_path(
  path: str | os.PathLike[str], root: str | os.PathLike[str] = ''
) -> np.datetime64:
  """Returns the date in a path, datetime64[D]; NaT if there is none.

  The name of the file counts first, then those of its folders from the inmost
  one, then folders of a year, a month and a day, as 2016/11/22/B02.jp2.

  Args:
    path: path of a file.
    root: folder that the user named; folders above it say nothing of the file.
      '' looks at the name of the file and at a product `*.SAFE` only.
  """
  path = pathlib.Path(path)
  names = [x.name for x in path.parents if x.suffix.upper() == '.SAFE']
  if root:
    inside = path.relative_to(root)
    names = [folder.name for folder in inside.parents]
    if match := _FOLDERS.search(inside.as_posix()):
      names.append('-'.join(part.zfill(2) for part in match.groups() if part))
    names.append(pathlib.Path(root).name)
  for name in (path.stem, *names):
    date = find(name)
    if not np.isnat(date):
      return date
  return _NONE


def parse_time(time: str | float) -> int:
  """Converts a time to seconds since 1970 UTC.

  Args:
    time: seconds since 1970, or a text in ISO 8601 or in TIFF's form of dates.

  Raises:
    ValueError: for a text in another form.
  """
  if not isinstance(time, str):
    return int(time)
  text = time.strip().rstrip('Z')
  text = re.sub(
    r'\.\d+', '', text
  )  # These are nanoseconds; a time zone may follow.
  if text[4:5] == ':':  # TIFF writes 2020:04:08 14:37:29.
    text = text[:10].replace(':', '-') + text[10:]
  try:
    moment = datetime.datetime.fromisoformat(text)
  except ValueError as error:
    raise ValueError(
      f'{time!r} is no time in UTC such as 2020-04-08T14:37:29.'
    ) from error
  if moment.tzinfo is None:
    moment = moment.replace(tzinfo=datetime.UTC)
  return int(moment.timestamp())


def sensed_at(text: str) -> np.datetime64:
  """Returns the time in the name of a product or patch, datetime64[s], or NaT.

  Args:
    text: name such as 'S2A_MSIL2A_20170613T101031_87_48'; the first time in it
      is that of sensing, except after `_V` and in names of files of old
      products.
  """
  marked = _SENSED.search(text)
  if _PROCESSED.search(text) and not marked:
    return np.datetime64('NaT', 's')
  match = _SENSED_AT.search(text, marked.start() if marked else 0)
  day = _date(int(match[1])) if match else _NONE
  if match is None and (match := _DAY_OF_YEAR.search(text)):
    day = _day_of_year(match)
  if match is None or np.isnat(day):
    return np.datetime64('NaT', 's')
  hours, minutes, seconds = (int(x) for x in match.groups()[-3:])
  passed = 3600 * hours + 60 * minutes + seconds
  return day.astype('datetime64[s]') + np.timedelta64(passed, 's')


def moment(text: str) -> np.datetime64:
  """Returns the time in a tag, datetime64[s]; NaT for none, or a day alone.

  Args:
    text: one time as `parse_time` reads it, or several with ';' between them,
      of which the first counts.
  """
  text = text.split(';')[0].strip()
  if len(text) <= len('2020-01-01'):
    return np.datetime64('NaT', 's')
  try:
    return np.datetime64(parse_time(text), 's')
  except ValueError:
    return np.datetime64('NaT', 's')


def without_days(times: np.ndarray) -> np.ndarray:
  """Returns times [S] as datetime64[s]; all NaT if they are days alone.

  Args:
    times: [S] datetime64, which are days alone if all are at midnight.
  """
  days = times.astype('datetime64[D]')
  if (np.isnat(times) | (times == days)).all():
    return np.full(times.shape, 'NaT', 'datetime64[s]')
  return times.astype('datetime64[s]')


def are_numbers(values: np.ndarray) -> bool:
  """Returns whether values are mere numbers, too small for days as 20200115."""
  values = np.asarray(values)
  return values.dtype.kind in 'iuf' and bool((values < 10_000_000).all())


def read(values: np.ndarray, name: str) -> np.ndarray:
  """Returns the dates [S] of an axis of time, datetime64[D].

  Args:
    values: [S] of times, of calendars of their own (`cftime`), of text, or of
      integers such as 20200115.
    name: name of the file and of the axis, for messages.

  Returns:
    [S] datetime64[D]; NaT for missing times.

  Raises:
    ValueError: if these are no dates; shows the first.
  """
  values = np.asarray(values)
  if values.dtype.kind == 'M':
    return values.astype('datetime64[D]')
  found = []
  for value in values.ravel().tolist():
    if value is None or value != value:  # NaN and NaT.
      found.append(_NONE)
      continue
    found.append(_date(value))
    if np.isnat(found[-1]):
      raise ValueError(
        f'{name} holds {value!r}, which is no date; write dates such as '
        '2020-01-15 or 20200115.'
      )
  return np.array(found, 'datetime64[D]')


def read_moments(values: np.ndarray, name: str) -> np.ndarray:
  """Returns the moments [...] of an axis of time in UTC, datetime64[s].

  Args:
    values: [...] of times, of calendars of their own (`cftime`), of text in ISO
      8601, or of numbers such as 20200115, 20200115.25 and 2020011506. Times
      are rounded to the second.
    name: name of the file and of the axis, for messages.

  Returns:
    [...] datetime64[s]; NaT for missing times and for days that there are in a
    calendar of its own only, such as 30 February.

  Raises:
    ValueError: if these are no times; shows the first.
  """
  values = np.asarray(values)
  if values.dtype.kind == 'M':
    milliseconds = values.astype('datetime64[ms]')
    rounded = (milliseconds + np.timedelta64(500, 'ms')).astype('M8[s]')
    return np.where(np.isnat(values), np.datetime64('NaT', 's'), rounded)
  moments = []
  for value in values.ravel().tolist():
    if value is None or value != value:  # NaN and NaT.
      moments.append(np.datetime64('NaT', 's'))
      continue
    try:
      moments.append(_moment(value))
    except ValueError as error:
      raise ValueError(
        f'{name} holds {value!r}, which is no time; write a unit such as '
        '"hours since 1970-01-01", or times such as 2020-01-15T06:00, 20200115 '
        'or 2020011506.'
      ) from error
  return np.array(moments, 'datetime64[s]').reshape(values.shape)


def _moment(value: Any) -> np.datetime64:
  """Returns one value as a moment.

  Raises:
    ValueError: if it is none.
  """
  if isinstance(value, bytes):
    value = value.decode('utf-8', 'replace')
  if isinstance(value, int | float) and not isinstance(value, bool):
    day, part = divmod(value, 1)
    digits = f'{int(day)}'
    if len(digits) not in (8, 10) or digits[:2] not in ('19', '20'):
      raise ValueError(f'{value} is no day')
    text = f'{digits[:8]}T{digits[8:]:0<2}'
    seconds = round(part * (3600 if digits[8:] else 86_400))
    moment = datetime.datetime.fromisoformat(text)
    return np.datetime64(moment + datetime.timedelta(seconds=seconds), 's')
  if isinstance(value, str):
    moment = datetime.datetime.fromisoformat(value.strip())
    if moment.tzinfo is not None:
      moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return _to_second(moment)
  fields = 'year', 'month', 'day', 'hour', 'minute', 'second', 'microsecond'
  if not all(hasattr(value, field) for field in fields):
    raise ValueError(f'{value!r} has no date')
  try:
    moment = datetime.datetime(*(getattr(value, field) for field in fields))
  except ValueError:  # The 30th of a February, in a calendar of 360 days.
    return np.datetime64('NaT', 's')
  return _to_second(moment)


def _to_second(moment: datetime.datetime) -> np.datetime64:
  """Returns a moment in UTC, rounded to the second."""
  half = datetime.timedelta(microseconds=500_000)
  return np.datetime64((moment + half).replace(microsecond=0), 's')


def _date(value: Any) -> np.datetime64:
  """Returns one value as a date; NaT if it is none."""
  if isinstance(value, bytes):
    value = value.decode('utf-8', 'replace')
  if isinstance(value, float):
    return _date(int(value)) if value.is_integer() else _NONE
  if type(value) is int:
    return find(str(value)) if len(str(value)) == 8 else _NONE
  if isinstance(value, str):
    return find(value.strip()) if len(value.strip()) >= 7 else _NONE
  if hasattr(value, 'year') and hasattr(value, 'day'):
    try:
      return np.datetime64(
        datetime.date(value.year, value.month, value.day), 'D'
      )
    except ValueError:  # The 30th of a February, in a calendar of 360 days.
      return _NONE
  return _NONE


def _of(match: re.Match[str]) -> np.datetime64:
  """Returns the date of year, month and perhaps day; NaT for a 31 April."""
  year, month, day = match.groups()
  try:
    return np.datetime64(datetime.date(int(year), int(month), int(day or 1)))
  except ValueError:
    return _NONE
