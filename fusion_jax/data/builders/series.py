"""Windows of weather alone: blocks of places and hours, one a split.

Neighbouring cells and overlapping windows say nearly the same, so a split is a
block in space and in time, and what lies between blocks is left out.
"""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax import modalities
from fusion_jax.data import windows
from fusion_jax.data.builders import examples

_WINDOWS_PER_PART = 4096  # Of 960 hours each while they are read: 60 MB.


@dataclasses.dataclass(frozen=True)
class Block:
  """Where and when the windows of a split lie.

  Attributes:
    start: ISO 8601, UTC: the first hour of the first window.
    end: the hour after the last one of the last window.
    lat: (south, north) degrees, both included.
    lon: (west, east) degrees in [-180, 180), both included.
    every_h: hours from one window to the next. One that does not divide by 24
      gives windows of all hours of the day.
  """

  start: str
  end: str
  lat: tuple[float, float] = (-90.0, 90.0)
  lon: tuple[float, float] = (-180.0, 180.0)
  every_h: int = 24

  def __post_init__(self):
    for name in ('lat', 'lon'):
      low, high = getattr(self, name)
      object.__setattr__(self, name, (float(low), float(high)))
      if low > high:
        raise ValueError(f'{name}={(low, high)} runs backwards.')
    if self.every_h < 1:
      raise ValueError(f'every_h={self.every_h} is less than an hour.')
    if self.hours[0] >= self.hours[1]:
      raise ValueError(f'A block from {self.start} to {self.end} is empty.')

  @property
  def hours(self):
    """Hours since 1970 of start and end."""
    return tuple(
      int(
        datetime.datetime.fromisoformat(text)
        .replace(tzinfo=datetime.UTC)
        .timestamp()
      )
      // windows.HOUR
      for text in (self.start, self.end)
    )

  def contains(self, lat, lon):
    """Bool [P]: which places lie in it."""
    return (
      (lat >= self.lat[0])
      & (lat <= self.lat[1])
      & (lon >= self.lon[0])
      & (lon <= self.lon[1])
    )

  def times(self, series):
    """[n] seconds: the acquisitions whose windows lie inside."""
    first, last = zip(*(_span(name) for name in series))
    start, end = self.hours
    hours = np.arange(start - min(first), end - max(last) + 1, self.every_h)
    return hours * windows.HOUR


@dataclasses.dataclass(frozen=True)
class Windows:
  """A builder's source of series without images.

  Attributes:
    weather: has `cells` and `series`, as `sources.gridded.Weather` and
      `sources.stations.Stations`.
    blocks: {split: Block}.
    series: which series the examples have.
  """

  weather: Any
  blocks: Mapping[str, Block]
  series: tuple[str, ...]

  def __post_init__(self):
    object.__setattr__(self, 'series', tuple(self.series))
    if not self.series:
      raise ValueError(
        f'No series are named; choose among {sorted(examples.SERIES)}.'
      )
    check_apart(self.blocks)

  @property
  def schema(self):
    return examples.Schema((), 0, self.series)

  def parts(self):
    parts = {}
    for split, block in self.blocks.items():
      total = len(block.times(self.series))
      if not total:
        raise ValueError(
          f'Block {split!r}, {block.start} .. {block.end}, is shorter than '
          f'a window of {", ".join(self.series)}.'
        )
      num_places = block.contains(*self.weather.cells).sum()
      if not num_places:
        raise ValueError(
          f'Block {split!r} (lat {block.lat}, lon {block.lon}) holds no '
          'place of the weather.'
        )
      size = max(1, _WINDOWS_PER_PART // num_places)
      parts[split] = [(i, min(i + size, total)) for i in range(0, total, size)]
    return parts

  def read(self, split, part):
    block = self.blocks[split]
    lat, lon = self.weather.cells
    inside = block.contains(lat, lon)
    times = block.times(self.series)[slice(*part)]
    time, lat = map(np.ravel, np.meshgrid(times, lat[inside], indexing='ij'))
    lon = np.tile(lon[inside], len(times))
    found = self.weather.series(lat, lon, time)
    for i in range(len(time)):
      example = {name: found[name][i] for name in self.series}
      key = _key(lat[i], lon[i], int(time[i]))
      if all(np.isnan(values).all() for values in example.values()):
        yield examples.Skipped(key, 'all values are missing')
        continue
      yield example | {
        'key': key,
        'lat': np.float64(lat[i]),
        'lon': np.float64(lon[i]),
        'time': np.int64(time[i]),
      }


def check_apart(blocks):
  """Raises a ValueError if two splits share a place and an hour."""
  names = list(blocks)
  for i, name in enumerate(names):
    for other in names[:i]:
      one, two = blocks[name], blocks[other]
      if all(
        low[0] <= high[1] and high[0] <= low[1]
        for low, high in ((one.lat, two.lat), (one.lon, two.lon))
      ) and (one.hours[0] < two.hours[1] and two.hours[0] < one.hours[1]):
        raise ValueError(
          f'The splits {other!r} and {name!r} share places and '
          f'hours: {two} and {one}.'
        )


def _span(name):
  """Hours of a series before the acquisition (negative) and after it."""
  leads = modalities.MODALITIES[name].leads
  if leads == modalities.DAILY_LEADS:  # The acquisition may be at any hour.
    return 24 * leads[0] - 23, 24 * (leads[-1] + 1)
  return leads[0], leads[-1] + 1


def _key(lat, lon, time):
  hour = datetime.datetime.fromtimestamp(time, datetime.UTC)
  return f'{lat:.4f}_{lon:.4f}_{hour:%Y-%m-%dT%H}'
