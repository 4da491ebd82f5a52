"""Gridded weather at places, from GRIB 1/2, NetCDF or Zarr.

Formats are recognised by content, not by the ending of a file. `Weather` scans
the headers of its files once, then reads each field that one of the requested
places needs exactly once, so request many places together (`builders.ahead`).
"""

import collections
import dataclasses
import functools
from typing import Any, Literal

import numpy as np
from absl import logging

from fusion_jax import geo
from fusion_jax.data import plausibility, windows
from fusion_jax.data.sources import (
  place_series,
  weather_files,
  weather_units,
)

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
    daily_values: what one value a day is in NetCDF and Zarr that do not say it
      in `cell_methods`: the mean or the sum of the UTC day ('day'), or the
      value of that hour or the sum of the 24 hours before ('moment').
      'stated' raises for such files.
    temperature_unit: unit of the temperature, in place of the file's.
    precipitation_unit: unit of the precipitation, in place of the file's.
    member: name or number of the ensemble member to read.
  """

  paths: tuple[str, ...]
  alignment: geo.Alignment = 'nearest'
  outside: Literal['error', 'missing'] = 'error'
  temperature: str = ''
  precipitation: str = ''
  reset_hours: int = 0
  daily_values: Literal['stated', 'day', 'moment'] = 'stated'
  temperature_unit: str = ''
  precipitation_unit: str = ''
  member: str = ''

  def __post_init__(self) -> None:
    object.__setattr__(self, 'paths', tuple(map(str, self.paths)))
    self._declared()  # Checks it.
    if self.outside not in ('error', 'missing'):
      raise ValueError(
        f'outside={self.outside!r} is neither error nor missing.'
      )

  def __getstate__(self) -> dict[str, Any]:  # Open files are not pickled.
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
    }

  @property
  def records(self) -> list[weather_units.Record]:
    """Returns the records of all fields of all files."""
    return [record for file in self._archive.files for record in file.records]

  def _declared(self) -> weather_units.Declared:
    """Returns what the files do not say."""
    return weather_units.Declared(
      self.reset_hours,
      self.daily_values,
      self.temperature_unit,
      self.precipitation_unit,
      self.member,
    )

  @functools.cached_property
  def _archive(self) -> weather_files.Archive:
    """Scans all files."""
    names = dict(NAMES)
    if self.temperature:
      names['t2m'] = (self.temperature,)
    if self.precipitation:
      names |= {'tp': (self.precipitation,), 'rate': ()}
    return weather_files.open_all(self.paths, names, self._declared())

  def report(self) -> dict[str, Any]:
    """What the files hold and lack, as JSON.

    Returns:
      Numbers of 'files', GRIB 'messages' and 'fields' by variable; 'damaged'
      messages, [{'file', 'message', 'reason'}]; and 'gaps' by variable, see
      `weather_units.gaps`. Where there are some, 'damaged_files', [{'file',
      'reason'}], the number of files 'passed_over' that hold no weather, and
      the numbers of fields 'left_out' by reason.
    """
    archive = self._archive
    files = archive.files
    report = {
      'files': len(files),
      'messages': sum(getattr(f, 'num_messages', 0) for f in files),
      'fields': dict(
        sorted(collections.Counter(r.variable for r in self.records).items())
      ),
      'damaged': [
        {'file': file.path, 'message': number, 'reason': reason}
        for file in files
        for number, reason in getattr(file, 'damaged', ())
      ],
      'gaps': weather_units.gaps(self.records),
    }
    if archive.damaged:
      report['damaged_files'] = [
        {'file': file.path, 'reason': file.reason} for file in archive.damaged
      ]
    if archive.passed_over:
      report['passed_over'] = len(archive.passed_over)
    if archive.left_out:
      report['left_out'] = dict(archive.left_out)
    return report

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
      ValueError: if a place is none on Earth, or a field cannot be what it is
        called.
    """
    plausibility.check_place(lat, lon, 'Places of the weather')
    places = place_series.PlaceSeries(self, lat, lon, time)
    series = windows.series(places.time, places.temperatures(), places.rain())
    for name, values in places.daily().items():
      series[name] = np.where(np.isnan(series[name]), values, series[name])
    original = np.argsort(places.order)
    series = {name: values[original] for name, values in series.items()}
    empty = int(
      np.all([np.isnan(values).all(-1) for values in series.values()], 0).sum()
    )
    if empty:
      logging.warning(
        'No weather in the windows of %d of %d places.', empty, len(original)
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
    places = place_series.PlaceSeries(
      self, lat, lon, np.zeros(len(lat), np.int64)
    )
    places.check_inside([record])
    return places.values(record, slice(None))
