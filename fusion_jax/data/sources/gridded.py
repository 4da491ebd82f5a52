"""Gridded weather at places, from GRIB 1/2, NetCDF or Zarr.

Formats are recognised by content, not by the ending of a file. `Weather` scans
the headers of its files once, then reads each field that one of the requested
places needs exactly once, so request many places together.
"""

import collections
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from absl import logging

from fusion_jax import extras, geo, modalities
from fusion_jax.data import windows
from fusion_jax.data.sources import netcdf, weather_units, xarray_fields

NAMES = {
  't2m': ('2t', 't2m', 'tas', '2m_temperature'),
  'tp': ('tp', 'total_precipitation', 'precip', 'APCP_surface'),
  'rate': ('prate', 'pr', 'mtpr', 'avg_tprate', 'PRATE_surface'),
  't2m_min_daily': ('tasmin', 't2m_min'),
  't2m_max_daily': ('tasmax', 't2m_max'),
}

_KEPT_VALUES = 2**24  # Values of fields that are kept in memory, 128 MB.


@dataclasses.dataclass(frozen=True)
class Weather:
  """Weather files, and how to take a place's series from them.

  Attributes:
    paths: files, Zarr folders, or folders of files.
    alignment: 'nearest' grid cell, or 'bilinear' between four.
    outside: 'error' raises for a place off a regional grid, 'missing' leaves
      its series NaN.
    temperature: name of the temperature variable, if it is not a usual one;
      the value must be the air temperature near the ground, in K.
    precipitation: name of the variable of an amount of precipitation, if it
      is not a usual one.
    reset_hours: hours of the UTC day, for NetCDF and Zarr without forecast
      steps, at whose multiples precipitation starts from zero again (6 for GFS
      buckets, 24 for ERA5-Land); 0 if each value is the sum since the last
      time. GRIB files state it.
  """

  paths: tuple[str, ...]
  alignment: geo.Alignment = 'nearest'
  outside: Literal['error', 'missing'] = 'error'
  temperature: str = ''
  precipitation: str = ''
  reset_hours: int = 0

  def __post_init__(self) -> None:
    object.__setattr__(self, 'paths', tuple(map(str, self.paths)))
    if self.outside not in ('error', 'missing'):
      raise ValueError(
        f'outside={self.outside!r} is neither error nor missing.'
      )

  def __getstate__(self) -> dict[str, Any]:  # Open files are not pickled.
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
    }

  @functools.cached_property
  def records(self) -> list[weather_units.Record]:
    """Returns the records of all fields of all files."""
    names = dict(NAMES)
    if self.temperature:
      names['t2m'] = (self.temperature,)
    if self.precipitation:
      names |= {'tp': (self.precipitation,), 'rate': ()}
    records = []
    for path in _files(self.paths):
      records += _open(path, names, self.reset_hours).records
    return records

  @property
  def cells(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns latitude [P] and longitude [P] of every cell in degrees.

    Raises:
      ValueError: if there is no weather, or it lies on several grids.
    """
    grids = {
      str(grid): grid
      for grid in (record.file.grid(record) for record in self.records)
    }
    if len(grids) != 1:
      raise ValueError(
        f'{", ".join(self.paths)} hold {len(grids)} grids, not '
        f'one: {"; ".join(grids)}. Give files of one grid.'
      )
    (grid,) = grids.values()
    if isinstance(grid, geo.Points):
      return np.asarray(grid.lats), geo.wrap_longitude(grid.lons)
    lat, lon = np.meshgrid(grid.lats, grid.lons, indexing='ij')
    return lat.ravel(), geo.wrap_longitude(lon.ravel())

  def series(
    self, lat: np.ndarray, lon: np.ndarray, time: np.ndarray
  ) -> dict[str, np.ndarray]:
    """Returns every series around acquisitions, NaN where no file has it.

    Args:
      lat: float [P], degrees north.
      lon: float [P], degrees east, in any range.
      time: [P] seconds since 1970 UTC.

    Returns:
      {series modality: [P, T] float32, K or mm}.

    Raises:
      geo.OutsideGridError: if a place is outside a grid and `outside` is
        'error'.
    """
    look = _Look(self, lat, lon, np.asarray(time, np.int64))
    series = windows.series(look.time, look.temperatures(), look.rain())
    for name, values in look.daily().items():
      series[name] = np.where(np.isnan(series[name]), values, series[name])
    empty = int(
      np.all([np.isnan(values).all(-1) for values in series.values()], 0).sum()
    )
    if empty:
      logging.warning(
        'No weather in the windows of %d of %d places.', empty, len(look.time)
      )
    return series

  def field(self, record: weather_units.Record) -> np.ndarray:
    """Returns the field of a record, [P]; kept while memory allows.

    A regional archive is then decoded once for all parts of a data set.
    """
    if id(record) in self._kept:
      return self._kept[id(record)]
    values = record.file.read(record)
    if sum(map(len, self._kept.values())) + len(values) <= _KEPT_VALUES:
      self._kept[id(record)] = values  # Records live as long as this object.
    return values

  @functools.cached_property
  def _kept(self) -> dict[int, np.ndarray]:
    return {}

  def at(
    self, record: weather_units.Record, lat: np.ndarray, lon: np.ndarray
  ) -> np.ndarray:
    """Returns the values [P] of one record at places.

    Args:
      record: record of a field.
      lat: float [P], degrees north.
      lon: float [P], degrees east.
    """
    look = _Look(self, lat, lon, np.zeros(len(lat), np.int64))
    look.check_inside([record])
    return look.values(record)


class _Look:
  """Places and times, and the cells of the places in each grid."""

  def __init__(
    self, weather: Weather, lat: np.ndarray, lon: np.ndarray, time: np.ndarray
  ):
    self.weather = weather
    self.lat = np.asarray(lat, np.float64)
    self.lon = np.asarray(lon, np.float64)
    self.time = time
    self.start = windows.first_hour(time)  # [P]
    self.cells = {}

  def values(self, record: weather_units.Record) -> np.ndarray:
    """Returns the field of a record at the places, [P]."""
    grid = record.file.grid(record)
    if id(grid) not in self.cells:
      index, weights = grid.cells(self.lat, self.lon, self.weather.alignment)
      self.cells[id(grid)] = (
        grid,
        index,
        weights,
      )  # Keeping the grid keeps its id.
    _, index, weights = self.cells[id(grid)]
    return geo.interpolate(self.weather.field(record), index, weights)

  def check_inside(self, records: Sequence[weather_units.Record]) -> None:
    """Checks that each place is in a grid of the records, unless allowed."""
    grids = {}
    for record in records:
      grid = record.file.grid(record)
      grids.setdefault(id(grid), (record.file.path, grid))
    if grids and self.weather.outside == 'error':
      geo.check_inside(
        dict(grids.values()), self.lat, self.lon, self.weather.alignment
      )

  def overlapping(self, variable):
    """Returns the records that overlap a window, the oldest run first.

    Raises:
      geo.OutsideGridError: if a place is outside all grids and `outside` is
        'error'.
    """
    first = self.start.min(initial=2**40) * windows.HOUR
    last = (self.start.max(initial=0) + windows.NUM_HOURS) * windows.HOUR
    records = [
      r
      for r in self.weather.records
      if r.variable == variable and r.start <= last and r.end >= first
    ]
    self.check_inside(records)
    return sorted(records, key=lambda r: (r.base, r.end))

  def temperatures(self) -> np.ndarray:
    """Returns temperatures [P, 960] in K, for each hour of the latest run."""
    table = np.full((len(self.time), windows.NUM_HOURS), np.nan)
    for record in reversed(self.overlapping('t2m')):
      if record.end % windows.HOUR == 0:
        self._fill(table, record.end // windows.HOUR - self.start, record)
    return table

  def _fill(
    self, table: np.ndarray, columns: np.ndarray, record: weather_units.Record
  ) -> None:
    """Writes a record into the column [P] of each place without a value."""
    rows = np.flatnonzero((columns >= 0) & (columns < table.shape[1]))
    rows = rows[np.isnan(table[rows, columns[rows]])]
    if len(rows):
      table[rows, columns[rows]] = self.values(record)[rows]

  def rain(self) -> np.ndarray:
    """Returns hourly sums [P, 960] in mm, for each hour of the latest run."""
    table = np.full((len(self.time), windows.NUM_HOURS), np.nan)
    runs = collections.defaultdict(list)
    for record in self.overlapping('tp'):  # The oldest comes first.
      grid = record.file.grid(record)
      region = np.asarray(grid.lats).tobytes(), np.asarray(grid.lons).tobytes()
      runs[record.base, region].append(record)
    for records in runs.values():
      sums = windows.hourly_sums(
        [(r.start, r.end, self.values(r)) for r in records]
      )
      for hour, amount in sums.items():
        columns = hour - 1 - self.start
        use = (columns >= 0) & (columns < table.shape[1]) & np.isfinite(amount)
        table[use, columns[use]] = amount[use]
    return table

  def daily(self) -> dict[str, np.ndarray]:
    """Returns {daily modality: [P, 40]} from files of daily values."""
    daily = {}
    for name, modality in modalities.MODALITIES.items():
      if modality.leads != modalities.DAILY_LEADS:
        continue
      table = np.full((len(self.time), windows.NUM_DAYS), np.nan)
      for record in reversed(self.overlapping(name)):
        days = record.start // windows.DAY - self.start // 24
        self._fill(table, days, record)
      daily[name] = table.astype(np.float32)
    return daily


def _files(paths: Iterable[str | pathlib.Path]) -> Iterator[pathlib.Path]:
  """Returns files and Zarr stores; another folder stands for its content."""
  for path in map(pathlib.Path, paths):
    if path.is_dir() and not xarray_fields.is_zarr(path):
      yield from _files(
        sorted(
          p
          for p in path.iterdir()
          if p.suffix not in ('.md', '.idx', '.txt', '.csv')
        )
      )
    else:
      yield path


def _open(path, names, reset_hours):
  """Opens the file of a path, by its content.

  Raises:
    ValueError: if it is of no known kind.
  """
  if xarray_fields.is_zarr(path):
    return xarray_fields.XarrayFile(path, names, reset_hours)
  with open(path, 'rb') as file:
    head = file.read(1024)
  if head.startswith((netcdf.CLASSIC, netcdf.HDF5)):
    return xarray_fields.XarrayFile(path, names, reset_hours)
  # After NetCDF, whose attributes may say GRIB; bulletins begin a little later.
  if b'GRIB' in head:
    with extras.needed('weather', 'Reading GRIB'):
      try:
        from fusion_jax.data.sources import grib
      except RuntimeError as error:  # ecCodes has no C library.
        raise ImportError(str(error), name='eccodes') from error
    roles = {role: names[role] for role in ('t2m', 'tp', 'rate')}
    return grib.GribFile(path, roles)
  raise ValueError(
    f'{os.fspath(path)} is neither GRIB, NetCDF nor Zarr (it '
    f'starts with {head[:4]!r}).'
  )
