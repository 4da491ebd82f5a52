"""Reads 2 m temperature and precipitation from GRIB 1 and 2.

Files are read with ecCodes directly: one pass over the headers, then single
messages by their offset. `stepRange` distinguishes a 6-hour bucket from an
accumulation since the start of the run; GFS files contain both.
"""

import calendar
import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

with contextlib.suppress(ImportError):
  import rasterio  # noqa: F401  # Before eccodes, or PROJ loses its database.
import eccodes
import numpy as np

from fusion_jax import geo
from fusion_jax.data.sources import weather_units

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
_GRIDS = ('regular_ll', 'regular_gg')


class GribFile:
  """The weather records of one GRIB file, see `weather_units.Record`."""

  def __init__(self, path: str, names: Mapping[str, Sequence[str]]):
    """Scans the headers.

    Args:
      path: path of a GRIB file.
      names: {role: short names}, with the roles 't2m', 'tp' and 'rate'.

    Raises:
      ValueError: if the file has none of the variables; the message lists those
        that it has.
    """
    self.path = str(path)
    self.records = []
    other_messages = set()
    with open(path, 'rb') as file:
      while True:
        message = eccodes.codes_grib_new_from_file(file, headers_only=True)
        if message is None:
          break
        try:
          self._scan(message, names, other_messages)
        finally:
          eccodes.codes_release(message)
    if not self.records:
      raise ValueError(_nothing(self.path, names, other_messages))

  def _scan(
    self,
    message: Any,
    names: Mapping[str, Sequence[str]],
    other_messages: set[str],
  ) -> None:
    """Adds the record of one message, if its variable is read."""
    get: Any = functools.partial(eccodes.codes_get, message)
    message_names = {get('shortName'), get('cfVarName')}
    role = next((r for r in names if message_names & set(names[r])), '')
    step_type = get('stepType')
    is_of_its_kind = {
      't2m': step_type == 'instant',
      'tp': step_type == 'accum',
      'rate': step_type == 'avg',
    }.get(role, False)
    if not is_of_its_kind:
      other_messages.add(
        f'{get("shortName")} ({get("typeOfLevel")}, {step_type})'
      )
      return
    unit = _UNIT_SECONDS[get('stepUnits', int)]
    base = _seconds(get('dataDate', int), get('dataTime', int))
    end = base + get('endStep', int) * unit
    start = end if role == 't2m' else base + get('startStep', int) * unit
    if role != 't2m' and start == end:
      start = base  # A bare end step: since the start of the run.
    if role != 't2m' and start == end:
      return  # At step 0, nothing has accumulated yet.
    self.records.append(
      weather_units.Record(
        't2m' if role == 't2m' else 'tp',
        start,
        end,
        base,
        self,
        (get('offset', int), role, get('units')),
      )
    )

  def grid(self, record: weather_units.Record) -> geo.Grid:
    """Returns the grid of a record's field."""
    with _Message(self.path, record.where[0]) as message:
      if eccodes.codes_get(message, 'gridType') not in _GRIDS:
        raise ValueError(
          f'{self.path} is on a {eccodes.codes_get(message, "gridType")} '
          f'grid; only {_GRIDS} are read. Regrid it, for instance with CDO.'
        )
      checksum = str(eccodes.codes_get(message, 'md5GridSection'))
      return _grid(self.path, record.where[0], checksum)

  def read(self, record: weather_units.Record) -> np.ndarray:
    """Returns the field of a record, [P] in K or in mm over its interval."""
    offset, role, unit = record.where
    with _Message(self.path, offset) as message:
      eccodes.codes_set(message, 'missingValue', 1e20)
      values = eccodes.codes_get_values(message)
    values[values >= 1e20] = np.nan
    return weather_units.convert(
      values, role, unit, record.end - record.start, self.path
    )


class _Message:
  """Opens the message at an offset of a file, as a context."""

  def __init__(self, path: str, offset: int):
    self.path, self.offset = path, offset

  def __enter__(self) -> Any:
    with open(self.path, 'rb') as file:
      file.seek(self.offset)
      self.handle = eccodes.codes_grib_new_from_file(file)
    return self.handle

  def __exit__(self, *unused: object) -> None:
    eccodes.codes_release(self.handle)


_grids = {}  # {checksum of the grid section: grid}, as many files share a grid.


def _grid(path: str, offset: int, checksum: str) -> geo.Grid:
  """Returns the grid of a message, one object for equal checksums."""
  if checksum not in _grids:
    with _Message(path, offset) as message:
      shape = tuple(
        eccodes.codes_get(message, key, int) for key in ('Nj', 'Ni')
      )
      if eccodes.codes_get(
        message, 'jPointsAreConsecutive', int
      ) or eccodes.codes_get(message, 'alternativeRowScanning', int):
        raise ValueError(
          f'{path} does not store its grid row by row in one '
          'direction; rewrite it, for instance with CDO.'
        )
      lats = _array(message, 'latitudes').reshape(shape)
      lons = _array(message, 'longitudes').reshape(shape)
    _grids[checksum] = geo.Grid(lats[:, 0], lons[0])
  return _grids[checksum]


def _array(message: Any, key: str) -> Any:
  """Returns an array of a message."""
  return eccodes.codes_get_array(message, key)


def _seconds(date: int, time: int) -> int:
  """Returns seconds since 1970 of a date such as 20190331 and a time, 1800."""
  return calendar.timegm(
    (date // 10_000, date // 100 % 100, date % 100, time // 100, time % 100, 0)
  )


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
