"""Takes hourly and daily values at places from fields, each read once.

The places are sorted by time, so that a field concerns a range of them. The
values of a place depend on its own window alone, not on the other places: they
are the same bytes in whatever company a place is read.
"""

import collections
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from fusion_jax import geo, modalities
from fusion_jax.data import windows
from fusion_jax.data.sources import weather_units

# A record of an amount, the range of places whose windows it overlaps, and
# their values in mm.
_Amount = tuple[weather_units.Record, int, int, np.ndarray]


class Fields(Protocol):
  """Fields of weather, and how a place is found in them."""

  @property
  def alignment(self) -> geo.Alignment:
    """'nearest' or 'bilinear'."""
    ...

  @property
  def outside(self) -> str:
    """'error' or 'missing'."""
    ...

  @property
  def records(self) -> Sequence[weather_units.Record]:
    """The fields of all files."""
    ...

  def field(self, record: weather_units.Record) -> np.ndarray:
    """Reads a field [cells], in K or mm."""
    ...


class PlaceSeries:
  """Places and times, and the cells of the places in each grid.

  Attributes:
    order: int [P], numbers of the places in the order of their times.
    time: int64 [P], sorted seconds since 1970 UTC.
  """

  def __init__(
    self, weather: Fields, lat: np.ndarray, lon: np.ndarray, time: np.ndarray
  ):
    """Sorts the places.

    Args:
      weather: the fields.
      lat: float [P], degrees north.
      lon: float [P], degrees east, in any range.
      time: int [P], seconds since 1970 UTC.
    """
    self._weather = weather
    time = np.asarray(time, np.int64)
    self.order = np.argsort(time, kind='stable')
    self.time = time[self.order]
    self._lat = np.asarray(lat, np.float64)[self.order]
    self._lon = np.asarray(lon, np.float64)[self.order]
    self._start = windows.first_hour(self.time)  # [P], ascending.
    self._cells: dict[int, Any] = {}

  def values(
    self, record: weather_units.Record, rows: slice | np.ndarray
  ) -> np.ndarray:
    """Returns the field of a record at some of the sorted places, [rows]."""
    grid = record.file.grid(record)
    if id(grid) not in self._cells:
      index, weights = grid.cells(self._lat, self._lon, self._weather.alignment)
      # Keeping the grid keeps its id.
      self._cells[id(grid)] = grid, index, weights
    _, index, weights = self._cells[id(grid)]
    return geo.interpolate(
      self._weather.field(record), index[rows], weights[rows]
    )

  def check_inside(self, records: Sequence[weather_units.Record]) -> None:
    """Checks that each place is in a grid of the records, unless allowed.

    Raises:
      geo.OutsideGridError: if it is not.
    """
    grids = {}
    for record in records:
      grid = record.file.grid(record)
      grids.setdefault(id(grid), (record.file.path, grid))
    if grids and self._weather.outside == 'error':
      geo.check_inside(
        dict(grids.values()), self._lat, self._lon, self._weather.alignment
      )

  def _overlapping(self, variable: str) -> list[weather_units.Record]:
    """Returns the records that overlap a window, the oldest run first."""
    first = self._start.min(initial=2**40) * windows.HOUR
    last = (self._start.max(initial=0) + windows.NUM_HOURS) * windows.HOUR
    records = [
      r
      for r in self._weather.records
      if r.variable == variable and r.start <= last and r.end >= first
    ]
    self.check_inside(records)
    return sorted(records, key=lambda r: (r.base, r.end))

  def temperatures(self) -> np.ndarray:
    """Returns temperatures [P, 960] in K, for each hour of the latest run."""
    table = np.full((len(self.time), windows.NUM_HOURS), np.nan)
    for record in reversed(self._overlapping('t2m')):
      if record.end % windows.HOUR == 0:
        self._fill(table, record.end // windows.HOUR, 1, record)
    return table

  def daily(self) -> dict[str, np.ndarray]:
    """Returns {daily modality: [P, 40]} from files of daily values."""
    daily = {}
    for name, modality in modalities.MODALITIES.items():
      if modality.leads != modalities.DAILY_LEADS:
        continue
      table = np.full((len(self.time), windows.NUM_DAYS), np.nan)
      for record in reversed(self._overlapping(name)):
        self._fill(table, record.start // windows.DAY, 24, record)
      daily[name] = table.astype(np.float32)
    return daily

  def _fill(
    self, table: np.ndarray, step: int, hours: int, record: weather_units.Record
  ) -> None:
    """Writes a record into the column of each place without a value.

    Args:
      table: [P, columns], NaN where there is no value yet.
      step: time of the record, in hours or days since 1970.
      hours: hours of a column, 1 or 24.
      record: its field is read if a place needs it.
    """
    first = self._start // hours
    low, high = np.searchsorted(
      first, (step - table.shape[1] + 1, step + 1), 'left'
    )
    columns = step - first[low:high]
    lacking = np.isnan(table[np.arange(low, high), columns])
    rows = low + np.flatnonzero(lacking)
    if len(rows):
      table[rows, columns[lacking]] = self.values(record, rows)

  def rain(self) -> np.ndarray:
    """Returns hourly sums [P, 960] in mm, for each hour of the latest run."""
    table = np.full((len(self.time), windows.NUM_HOURS), np.nan)
    runs = collections.defaultdict(list)
    for record in self._overlapping('tp'):  # The oldest comes first.
      grid = record.file.grid(record)
      region = np.asarray(grid.lats).tobytes(), np.asarray(grid.lons).tobytes()
      runs[record.base, region].append(record)
    for records in runs.values():
      if all(_is_hour(record) for record in records):
        # The sums are known, hour by hour. The first of two equal hours counts.
        for record, low, high, values in self._amounts(reversed(records)):
          self._set(table, record.end // windows.HOUR, low, high, values)
        continue
      amounts = list(self._amounts(records))
      for low, high in _ranges(amounts):
        sums = windows.hourly_sums(
          (r.start, r.end, values[low - first : high - first])
          for r, first, last, values in amounts
          if first <= low and high <= last
        )
        for hour, values in sums.items():
          self._set(table, hour, low, high, values)
    return table

  def _amounts(
    self, records: Iterator[weather_units.Record] | Sequence[Any]
  ) -> Iterator[_Amount]:
    """Reads each record for the places whose windows it overlaps."""
    for record in records:
      # The window of start s lasts from s to s + 960, both included.
      first = -(-record.start // windows.HOUR) - windows.NUM_HOURS
      low, high = np.searchsorted(
        self._start, (first, record.end // windows.HOUR + 1), 'left'
      )
      if low < high:
        yield record, low, high, self.values(record, slice(low, high))

  def _set(
    self, table: np.ndarray, hour: int, low: int, high: int, values: np.ndarray
  ) -> None:
    """Writes the known sums over an hour, given by its end, into a table."""
    columns = hour - 1 - self._start[low:high]
    use = (columns >= 0) & (columns < table.shape[1]) & np.isfinite(values)
    table[low + np.flatnonzero(use), columns[use]] = values[use]


def _is_hour(record: weather_units.Record) -> bool:
  """Whether a record is the amount of a single whole hour."""
  return (
    record.end - record.start == windows.HOUR and record.end % windows.HOUR == 0
  )


def _ranges(amounts: Sequence[_Amount]) -> list[tuple[int, int]]:
  """Ranges of places, each of which has the same records throughout."""
  cuts = sorted({cut for _, low, high, _ in amounts for cut in (low, high)})
  return list(zip(cuts[:-1], cuts[1:]))
