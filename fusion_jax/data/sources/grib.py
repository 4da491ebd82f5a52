"""Reads 2 m temperature and precipitation from GRIB 1 and 2.

Files are read with ecCodes directly: one pass over the headers, then single
messages by their offset. `stepRange` distinguishes a 6-hour bucket from an
accumulation since the start of the run; GFS files contain both. A message that
is not whole, or whose times contradict each other, is left out and named.
"""

import calendar
import contextlib
import datetime
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

with contextlib.suppress(ImportError):
  import rasterio  # noqa: F401  # Before eccodes, or PROJ loses its database.
import eccodes
import numpy as np

from fusion_jax import geo
from fusion_jax.data.sources import grib_frames, weather_units
from fusion_jax.untrusted import memory

_UNIT_SECONDS = {
  0: 60,
  1: 3600,
  2: 86_400,
  10: 3 * 3600,
  11: 6 * 3600,
  12: 12 * 3600,
  13: 1,
  254: 1,
}
_MEANS = (0, 1)  # Of all members, in code table 4.7 of GRIB 2.
_GRIDS = ('regular_ll', 'regular_gg')


class GribFile:
  """The weather records of one GRIB file, see `weather_units.Record`.

  Attributes:
    path: path of the file.
    records: the records.
    num_messages: number of messages of the file, whatever they hold.
    damaged: numbers of the messages that are left out, counted from 1, and
      what is wrong with them.
    members: names of the ensemble members of its variables.
  """

  def __init__(
    self,
    path: str,
    names: Mapping[str, Sequence[str]],
    declared: weather_units.Declared | None = None,
  ):
    """Scans the headers.

    Args:
      path: path of a GRIB file.
      names: {role: short names}, with the roles 't2m', 'tp' and 'rate'.
      declared: what the user says of the file.

    Raises:
      weather_units.NoWeatherError: if the file has none of the variables; the
        message lists those that it has.
    """
    self.path = str(path)
    self.declared = declared or weather_units.Declared()
    self.members: set[str] = set()
    self.records: list[weather_units.Record] = []
    self.damaged: list[tuple[int, str]] = []
    self.num_messages = 0
    self._grids: dict[int, geo.Grid] = {}
    other_messages = set()
    for frame in grib_frames.scan(path):
      self.num_messages += 1
      try:
        if frame.problem:
          raise ValueError(frame.problem)
        with _Message(self.path, frame, headers_only=True) as message:
          self._scan(message, frame, names, other_messages)
      except ValueError as error:
        self.damaged.append((frame.number, str(error)))
    if not self.records and not self.damaged:
      raise weather_units.NoWeatherError(
        _nothing(self.path, names, other_messages)
        if not self.members
        else f'{self.path} has the ensemble members {_listed(self.members)}, '
        f'not {self.declared.member}.'
      )

  def _scan(
    self,
    message: Any,
    frame: grib_frames.Frame,
    names: Mapping[str, Sequence[str]],
    other_messages: set[str],
  ) -> None:
    """Adds the record of one message, if its variable is read.

    Raises:
      ValueError: if its times cannot be.
    """
    get: Any = functools.partial(eccodes.codes_get, message)
    message_names = {get('shortName'), get('cfVarName')}
    role = next((r for r in names if message_names & set(names[r])), '')
    step_type = get('stepType')
    is_of_its_kind = {
      't2m': step_type == 'instant',
      'tp': step_type == 'accum',
      'rate': step_type == 'avg',
    }.get(role, False)
    if not is_of_its_kind or _is_spread(message):
      other_messages.add(
        f'{get("shortName")} ({get("typeOfLevel")}, {step_type})'
      )
      return
    member = _member(message)
    self.members |= {member} - {''}
    if self.declared.member and member != self.declared.member:
      return
    start, end, base = _times(message, role)
    if role != 't2m' and start == end:
      return  # At step 0, nothing has accumulated yet.
    self.records.append(
      weather_units.Record(
        't2m' if role == 't2m' else 'tp',
        start,
        end,
        base,
        self,
        (frame, role, get('units')),
      )
    )

  def grid(self, record: weather_units.Record) -> geo.Grid:
    """Returns the grid of a record's field; its head is read once."""
    frame = record.where[0]
    if frame.number not in self._grids:
      self._grids[frame.number] = self._read_grid(frame)
    return self._grids[frame.number]

  def _read_grid(self, frame: grib_frames.Frame) -> geo.Grid:
    """Reads the grid of a message."""
    with _Message(self.path, frame, headers_only=True) as message:
      if eccodes.codes_get(message, 'gridType') not in _GRIDS:
        raise ValueError(
          f'{self.path} is on a {eccodes.codes_get(message, "gridType")} '
          f'grid; only {_GRIDS} are read. Regrid it, for instance with CDO.'
        )
      checksum = str(eccodes.codes_get(message, 'md5GridSection'))
      return _grid(self.path, frame, checksum)

  def read(self, record: weather_units.Record) -> np.ndarray:
    """Returns the field of a record, [P] in K or in mm over its interval.

    Raises:
      ValueError: if the message is of another time than when the file was
        scanned, or cannot be decoded.
    """
    frame, role, unit = record.where
    with _Message(self.path, frame) as message:
      times = _times(message, role)
      if times != (record.start, record.end, record.base):
        raise ValueError(
          f'{self.path}, message {frame.number}: asked for the hours up to '
          f'{weather_units.iso(record.end)}, but now it holds those up to '
          f'{weather_units.iso(times[1])}: the file has changed. Start again.'
        )
      eccodes.codes_set(message, 'missingValue', 1e20)
      count: Any = eccodes.codes_get(message, 'numberOfDataPoints', int)
      memory.check(16 * count, self.path, f'message {frame.number}')
      values = eccodes.codes_get_values(message)
    values[values >= 1e20] = np.nan
    return weather_units.convert(
      values,
      role,
      unit,
      record.end - record.start,
      f'{self.path}, message {frame.number},',
      self.declared,
    )


class _Message:
  """Opens a message of a file, as a context.

  Errors of ecCodes inside the context become errors that name the message.
  """

  def __init__(
    self, path: str, frame: grib_frames.Frame, headers_only: bool = False
  ):
    self.path, self.frame = path, frame
    self.headers_only = headers_only

  def __enter__(self) -> Any:
    try:
      with open(self.path, 'rb') as file:
        file.seek(self.frame.offset)
        self.handle = eccodes.codes_grib_new_from_file(
          file, headers_only=self.headers_only
        )
    except eccodes.CodesInternalError as error:
      raise self._damage(error) from error
    if self.handle is None:
      raise self._damage('the file ends before it')
    return self.handle

  def __exit__(self, kind: Any, error: Any, *unused: object) -> None:
    eccodes.codes_release(self.handle)
    if isinstance(error, eccodes.CodesInternalError):
      raise self._damage(error) from error

  def _damage(self, why: object) -> ValueError:
    if self.headers_only:  # The file and the message are named in the report.
      return ValueError(f'ecCodes cannot read its head: {why}')
    return ValueError(
      f'{self.path}, message {self.frame.number} cannot be decoded ({why}): '
      'fetch the file again.'
    )


_grids = {}  # {checksum of the grid section: grid}, as many files share a grid.


def _grid(path: str, frame: grib_frames.Frame, checksum: str) -> geo.Grid:
  """Returns the grid of a message, one object for equal checksums."""
  if checksum not in _grids:
    with _Message(path, frame) as message:
      shape: Any = tuple(
        eccodes.codes_get(message, key, int) for key in ('Nj', 'Ni')
      )
      if eccodes.codes_get(
        message, 'jPointsAreConsecutive', int
      ) or eccodes.codes_get(message, 'alternativeRowScanning', int):
        raise ValueError(
          f'{path} does not store its grid row by row in one '
          'direction; rewrite it, for instance with CDO.'
        )
      memory.check(memory.num_bytes(shape, 32), path, 'the grid')
      lats = _array(message, 'latitudes').reshape(shape)
      lons = _array(message, 'longitudes').reshape(shape)
    _grids[checksum] = geo.Grid(lats[:, 0], lons[0])
  return _grids[checksum]


def _array(message: Any, key: str) -> Any:
  """Returns an array of a message."""
  return eccodes.codes_get_array(message, key)


def _times(message: Any, role: str) -> tuple[int, int, int]:
  """Returns start and end of a message's interval, and the start of its run.

  Returns:
    Seconds since 1970; start and end are the same for a temperature.

  Raises:
    ValueError: if the message has no possible date, or states its end twice
      and differently.
  """
  get: Any = functools.partial(eccodes.codes_get, message)
  number = get('stepUnits', int)
  if number not in _UNIT_SECONDS:
    raise ValueError(
      f'its steps have the unit {number} of code table 4.4, which is no fixed '
      f'time (known are {", ".join(map(str, _UNIT_SECONDS))})'
    )
  unit = _UNIT_SECONDS[number]
  date, time = get('dataDate', int), get('dataTime', int)
  try:
    base = _seconds(date, time)
  except ValueError as error:
    raise ValueError(f'its date {date}, {time:04d} UTC is none') from error
  end = base + get('endStep', int) * unit
  if role == 't2m':
    return end, end, base
  if eccodes.codes_is_defined(message, _END_KEYS[0]):
    stated = [get(key, int) for key in _END_KEYS]  # Zeros where it is unset.
    if stated[0] and calendar.timegm((*stated, 0)) != end:
      year, month, day, hour, minute = stated
      raise ValueError(
        f'it is of the hours up to {weather_units.iso(end)} by its steps, but '
        f'up to {year}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d} by the '
        'end of its interval'
      )
  start = base + get('startStep', int) * unit
  # A bare end step: since the start of the run.
  return base if start == end else start, end, base


def _member(message: Any) -> str:
  """Returns the number of the ensemble member; '' without an ensemble."""
  if not eccodes.codes_is_defined(message, 'perturbationNumber'):
    return ''
  return str(eccodes.codes_get(message, 'perturbationNumber', int))


def _is_spread(message: Any) -> bool:
  """Whether a message holds the spread of an ensemble, not its mean."""
  key = 'derivedForecast'
  return eccodes.codes_is_defined(message, key) and (
    eccodes.codes_get(message, key, int) not in _MEANS
  )


def _listed(members: Iterable[str]) -> str:
  """Lists the first of some ensemble members."""
  names = sorted(members, key=lambda name: (len(name), name))
  return ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')


# Keys of GRIB 2 with the end of an interval, which its steps also define.
_END_KEYS = tuple(
  f'{part}OfEndOfOverallTimeInterval'
  for part in ('year', 'month', 'day', 'hour', 'minute')
)


def _seconds(date: int, time: int) -> int:
  """Returns seconds since 1970 of a date such as 20190331 and a time, 1800.

  Raises:
    ValueError: if there is no such date.
  """
  moment = datetime.datetime(
    date // 10_000,
    date // 100 % 100,
    date % 100,
    time // 100,
    time % 100,
    tzinfo=datetime.UTC,
  )
  return int(moment.timestamp())


def _nothing(
  path: str, names: Mapping[str, Sequence[str]], other_messages: set[str]
) -> str:
  searched = ', '.join(n for role in names for n in names[role])
  return (
    f'{path} holds neither 2 m temperature nor precipitation over an '
    f'interval (looked for {searched}); it holds '
    f'{", ".join(sorted(other_messages))}. GFS analysis files (.anl) '
    'have neither: take f000 for temperature and forecast '
    'steps for precipitation.'
  )
