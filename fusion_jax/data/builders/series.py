"""A reader of windows of weather, from one block per split."""

import dataclasses
import datetime
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from fusion_jax import modalities
from fusion_jax.data import examples, readers, windows
from fusion_jax.data.builders import blocks as blocks_lib

_WINDOWS_PER_PART = 4096  # Each has 960 hours while it is read, in all 60 MB.


class WeatherAtPlaces(readers.Weather, Protocol):
  """Weather that is known at some places, cells of a grid or stations."""

  @property
  def cells(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns latitudes and longitudes [P] of the places, in degrees."""
    ...


@dataclasses.dataclass(frozen=True)
class Windows:
  """A reader of series without images.

  Attributes:
    weather: weather such as `sources.gridded.Weather` and
      `sources.stations.Stations`.
    blocks: block of every split, by the name of the split.
    series: names of the series of the examples.
  """

  weather: WeatherAtPlaces
  blocks: Mapping[str, blocks_lib.Block]
  series: tuple[str, ...]

  def __post_init__(self) -> None:
    object.__setattr__(self, 'series', tuple(self.series))
    if not self.series:
      raise ValueError(
        f'No series are named; choose among {sorted(examples.SERIES)}.'
      )
    blocks_lib.check_apart(self.blocks)

  @property
  def schema(self) -> examples.Schema:
    """The fields of the examples: the series, and no image."""
    return examples.Schema((), 0, self.series)

  def parts(self) -> dict[str, list[tuple[int, int]]]:
    """Returns ranges of the acquisitions of every split, (first, last + 1).

    Raises:
      ValueError: if a block holds no window or no place.
    """
    parts = {}
    for split, block in self.blocks.items():
      total = len(times(block, self.series))
      if not total:
        raise ValueError(
          f'Block {split!r}, {block.start} .. {block.end}, is shorter than '
          f'a window of {", ".join(self.series)}; make it longer.'
        )
      num_places = block.contains(*self.weather.cells).sum()
      if not num_places:
        raise ValueError(
          f'Block {split!r} (lat {block.lat}, lon {block.lon}) holds no '
          'place of the weather; make it larger.'
        )
      size = max(1, _WINDOWS_PER_PART // num_places)
      parts[split] = [(i, min(i + size, total)) for i in range(0, total, size)]
    return parts

  def places(
    self, split: str, part: tuple[int, int]
  ) -> dict[str, tuple[float, float, int]]:
    """The places and acquisitions of a range, by the keys of the windows.

    Raises:
      ValueError: if two of them have the same key.
    """
    block = self.blocks[split]
    lat, lon = self.weather.cells
    inside = block.contains(lat, lon)
    chosen = times(block, self.series)[slice(*part)]
    time, lat = map(np.ravel, np.meshgrid(chosen, lat[inside], indexing='ij'))
    lon = np.tile(lon[inside], len(chosen))
    places = {
      _key(*place): place
      for place in zip(lat.tolist(), lon.tolist(), time.tolist())
    }
    if len(places) < len(time):
      raise ValueError(
        f'Block {split!r} holds two places of the weather that are the same '
        'in latitude and longitude to 0.0001 degrees; leave one out.'
      )
    return places

  def read(
    self, split: str, part: tuple[int, int]
  ) -> Iterator[readers.Example | readers.Skipped]:
    """Yields the windows of a range of acquisitions, at all places."""
    places = self.places(split, part)
    lat, lon, time = np.array(list(places.values())).T
    series = self.weather.series(lat, lon, time.astype(np.int64))
    return self.join(
      split, part, {key: i for i, key in enumerate(places)}, series
    )

  def join(
    self,
    split: str,
    part: tuple[int, int],
    rows: Mapping[str, int],
    series: Mapping[str, np.ndarray],
  ) -> Iterator[readers.Example | readers.Skipped]:
    """Yields the windows of a range with rows of given series."""
    for key, (lat, lon, time) in self.places(split, part).items():
      example = {name: series[name][rows[key]] for name in self.series}
      if all(np.isnan(values).all() for values in example.values()):
        yield readers.Skipped(key, 'all values are missing')
        continue
      yield example | {
        'key': key,
        'lat': np.float64(lat),
        'lon': np.float64(lon),
        'time': np.int64(time),
      }


def times(block: blocks_lib.Block, series: tuple[str, ...]) -> np.ndarray:
  """Returns the acquisitions whose windows lie inside a block.

  Args:
    block: where and when the windows lie.
    series: names of the series, which define the length of a window.

  Returns:
    [n] int64, seconds since 1970 UTC.
  """
  first, last = zip(*(_span(name) for name in series))
  start, end = block.hours
  hours = np.arange(start - min(first), end - max(last) + 1, block.every_h)
  return hours * windows.HOUR


def _span(name: str) -> tuple[int, int]:
  """Returns the hours of a series before (negative) and after acquisition."""
  leads = modalities.MODALITIES[name].leads
  if leads == modalities.DAILY_LEADS:  # The acquisition may be at any hour.
    return 24 * leads[0] - 23, 24 * (leads[-1] + 1)
  return leads[0], leads[-1] + 1


def _key(lat: float, lon: float, time: int) -> str:
  hour = datetime.datetime.fromtimestamp(time, datetime.UTC)
  return f'{lat:.4f}_{lon:.4f}_{hour:%Y-%m-%dT%H}'
