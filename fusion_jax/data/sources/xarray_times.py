"""Opens NetCDF files and Zarr stores with times that are right to the second.

Times are stored as numbers since a date, often as fractions of days, whose
rounding would put an hour a second before itself.
"""

import os
from typing import Any

import numpy as np
import xarray as xr

from fusion_jax.data import dates
from fusion_jax.data.sources import netcdf, weather_units

NAT = np.iinfo(np.int64).min  # A missing time as an integer.
_SECONDS = {'d': 86_400, 'h': 3600, 'm': 60, 's': 1}  # By the first letter.
_STEPS = (1, 60, 3600, 6 * 3600, 86_400)  # To which times are rounded, s.


def is_zarr(path: str | os.PathLike[str]) -> bool:
  """Returns whether a folder is a Zarr store of version 2 or 3."""
  return any(
    os.path.exists(os.path.join(path, name))
    for name in ('.zgroup', '.zmetadata', 'zarr.json')
  )


def open_file(path: str | os.PathLike[str]) -> tuple[xr.Dataset, xr.Dataset]:
  """Opens a file.

  Args:
    path: path of a NetCDF file or a Zarr store.

  Returns:
    The data set as CF's conventions decode it, and as it is stored.

  Raises:
    weather_units.DamagedFileError: if the file is damaged.
    ValueError: if its times cannot be decoded.
  """
  try:
    stored = netcdf.opened(path, is_zarr(path), decode=False)
  except ValueError as error:
    raise weather_units.DamagedFileError(str(error)) from error
  try:
    return xr.decode_cf(stored, decode_timedelta=True), stored
  except (ValueError, OverflowError, ImportError) as error:
    calendars = {v.attrs.get('calendar') for v in stored.variables.values()}
    fix = (
      'Calendars of climate models need cftime: pip install cftime.'
      if isinstance(error.__cause__ or error, ImportError)
      or 'cftime' in str(error)
      else 'Are units and calendar of its times right?'
    )
    named = ', '.join(sorted(str(name) for name in calendars if name))
    raise ValueError(
      f'The times of {path} cannot be decoded '
      f'({f"calendar {named}: " if named else ""}{error}). {fix}'
    ) from error


def seconds(
  times: xr.DataArray, stored: xr.Variable, path: str
) -> xr.DataArray:
  """Returns times as seconds since 1970 UTC.

  Args:
    times: [...] times as they were decoded, of any calendar.
    stored: [...] the same as it is stored.
    path: path of the file, for messages.

  Returns:
    [...] int64 of the same dimensions; `NAT` where a time is missing.

  Raises:
    ValueError: if they are no times, or their precision is too low.
  """
  moments = dates.read_moments(times.values, f'{path}: {times.name}')
  values = moments.astype(np.int64)
  if stored.dtype.kind == 'f':
    values = _rounded(values, stored, f'{path}: {times.name}')
  return xr.DataArray(values, dims=times.dims)


def bounds(
  data: xr.Dataset, stored: xr.Dataset, name: str, path: str
) -> tuple[xr.DataArray, xr.DataArray] | None:
  """Returns the intervals of times, which CF's attribute `bounds` names.

  Args:
    data: data set as it was decoded.
    stored: the same as it is stored.
    name: name of the times [T].
    path: path of the file, for messages.

  Returns:
    Starts and ends [T], int64 seconds since 1970 UTC, `NAT` where one is
    missing or empty; None if the file has no such intervals.

  Raises:
    ValueError: if they have another shape, or end before they start.
  """
  times = data[name]
  attribute = stored.variables[name].attrs.get('bounds', '')
  if attribute not in stored.variables or times.ndim > 1:
    return None
  limits = data[attribute]
  if limits.ndim != times.ndim + 1 or limits.shape != (*times.shape, 2):
    raise ValueError(
      f'{path}: {attribute}, the bounds of {name}, has the shape '
      f'{limits.shape}, not {(*times.shape, 2)}; correct it, or remove the '
      f'attribute bounds of {name}.'
    )
  kept = stored.variables[attribute].copy(deep=False)
  kept.attrs = {**stored.variables[name].attrs, **kept.attrs}
  both = seconds(limits, kept, path).values
  start, end = both[..., 0], both[..., 1]
  missing = (start == NAT) | (end == NAT)
  if (wrong := ~missing & (end < start)).any():
    raise ValueError(
      f'{path}: {attribute}, the bounds of {name}, holds an interval from '
      f'{weather_units.iso(int(start[wrong][0]))} to '
      f'{weather_units.iso(int(end[wrong][0]))}; correct it, or remove the '
      f'attribute bounds of {name}.'
    )
  empty = missing | (end == start)  # Of a moment, it says nothing.
  start, end = (np.where(empty, NAT, x) for x in (start, end))
  return xr.DataArray(start, dims=times.dims), xr.DataArray(
    end, dims=times.dims
  )


def _rounded(values: np.ndarray, stored: Any, name: str) -> np.ndarray:
  """Rounds seconds to what numbers of a floating-point type can tell apart."""
  unit = str(stored.attrs.get('units', ''))
  numbers = np.abs(np.asarray(stored.values))
  largest = numbers[np.isfinite(numbers)].max(initial=0)
  gap = float(np.spacing(largest)) * (
    _SECONDS.get(unit[:1], 1) if ' since ' in unit else 86_400
  )
  step = next((step for step in _STEPS if step >= 2 * gap), _STEPS[-1])
  known = values != NAT
  rounded = (values + step // 2) // step * step
  off = known & (np.abs(rounded - values) > gap + 1)
  if step > 1 and off.any():
    raise ValueError(
      f'{name} is stored as {stored.dtype}, which tells times apart to '
      f'{gap:.0f} s only, and holds {weather_units.iso(int(values[off][0]))}; '
      'store it as float64 or as integers.'
    )
  return np.where(known, rounded, NAT)
