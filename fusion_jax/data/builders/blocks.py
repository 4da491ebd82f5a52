"""Blocks in space and time that contain the windows of a split.

Neighbouring cells and overlapping windows are nearly the same, so a split is a
block in space and in time, and windows between blocks are left out.
"""

import dataclasses
import datetime
from collections.abc import Mapping

import numpy as np

_HOUR = 3600  # Seconds.


@dataclasses.dataclass(frozen=True)
class Block:
  """The range of places and times of the windows of a split.

  Attributes:
    start: first hour of the first window, ISO 8601 in UTC.
    end: hour after the last hour of the last window, ISO 8601 in UTC.
    lat: southern and northern limit in degrees, both included.
    lon: western and eastern limit in degrees in [-180, 180), both included.
    every_h: hours from one window to the next. A number that does not divide
      24 gives windows of all hours of the day.
  """

  start: str
  end: str
  lat: tuple[float, float] = (-90.0, 90.0)
  lon: tuple[float, float] = (-180.0, 180.0)
  every_h: int = 24

  def __post_init__(self) -> None:
    for name in ('lat', 'lon'):
      low, high = getattr(self, name)
      object.__setattr__(self, name, (float(low), float(high)))
      if low > high:
        raise ValueError(
          f'{name}={(low, high)} runs backwards; write the smaller value first.'
        )
    for name, most in (('lat', 90), ('lon', 180)):
      low, high = getattr(self, name)
      if not -most <= low <= high <= most:
        raise ValueError(
          f'{name}={(low, high)} of a block is outside -{most} .. {most} '
          'degrees; write latitudes as lat, and longitudes west of Greenwich '
          'as negative lon.'
        )
    if self.every_h < 1:
      raise ValueError(
        f'every_h={self.every_h} is less than an hour; write 1 or more.'
      )
    if self.hours[0] >= self.hours[1]:
      raise ValueError(
        f'A block from {self.start} to {self.end} is empty; `end` must be '
        'later than `start`.'
      )

  @property
  def hours(self) -> tuple[int, int]:
    """Hours since 1970 UTC of start and end."""
    return _hour('start', self.start), _hour('end', self.end)

  def contains(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Returns which places at `lat`, `lon` [P] degrees lie in it, bool [P]."""
    lat, lon = np.asarray(lat), np.asarray(lon)
    return (
      (lat >= self.lat[0])
      & (lat <= self.lat[1])
      & (lon >= self.lon[0])
      & (lon <= self.lon[1])
    )


def _hour(name: str, text: str) -> int:
  """Hours since 1970 of a text in ISO 8601, in UTC.

  Raises:
    ValueError: if it is no such text.
  """
  try:
    time = datetime.datetime.fromisoformat(text)
  except (TypeError, ValueError) as error:
    raise ValueError(
      f'{name}={text!r} of a block is no time in ISO 8601, such as 2019-03-01 '
      'or 2019-03-01T06:00.'
    ) from error
  return int(time.replace(tzinfo=datetime.UTC).timestamp()) // _HOUR


def check_apart(blocks: Mapping[str, Block]) -> None:
  """Checks that no two splits share a place and an hour.

  Args:
    blocks: block of every split, by the name of the split.

  Raises:
    ValueError: if two of them overlap.
  """
  names = list(blocks)
  for i, name in enumerate(names):
    for other in names[:i]:
      one, two = blocks[name], blocks[other]
      if all(
        low[0] <= high[1] and high[0] <= low[1]
        for low, high in ((one.lat, two.lat), (one.lon, two.lon))
      ) and (one.hours[0] < two.hours[1] and two.hours[0] < one.hours[1]):
        raise ValueError(
          f'The splits {other!r} and {name!r} share places and hours: {two} '
          f'and {one}. Move them apart in space or in time.'
        )
