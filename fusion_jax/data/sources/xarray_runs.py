"""Times of the fields of a NetCDF variable: runs, steps, stated intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from fusion_jax.data.sources import xarray_times

TIMES = ('time', 'valid_time')


def run_times(
  array: xr.DataArray, stored: xr.Dataset, dims: Sequence[Any], path: str
) -> list[np.ndarray]:
  """Returns run and valid times of the fields of a variable.

  Args:
    array: the variable.
    stored: the data set as it is stored.
    dims: dimensions of the fields, besides those of the places.
    path: path of the file, for messages.

  Returns:
    Both [n] seconds since 1970 in the order of `dims`, `NAT` where missing.

  Raises:
    ValueError: if times or steps are none.
  """
  name = next(
    (t for t in TIMES if t in dims),
    next(t for t in TIMES if t in array.coords),
  )
  end = xarray_times.seconds(array[name], stored.variables[name], path)
  known = end.values[end.values != xarray_times.NAT]
  # Without steps, all times belong to one run.
  base = xr.DataArray(known.min() if known.size else xarray_times.NAT)
  if 'step' in array.coords:
    steps = _steps(array, path)
    other = end + steps if name == 'time' else end - steps
    other = xr.where(end == xarray_times.NAT, end, other)
    base, end = (end, other) if name == 'time' else (other, end)
  return [_spread(times, array, dims) for times in (base, end)]


def stated_spans(
  data: xr.Dataset,
  stored: xr.Dataset,
  array: xr.DataArray,
  dims: Sequence[Any],
  path: str,
) -> np.ndarray:
  """Returns the intervals of the fields that bounds state.

  Args:
    data: the data set as it was decoded.
    stored: the data set before decoding, with its attributes as stored.
    array: the variable.
    dims: dimensions of the fields, besides those of the places.
    path: path of the file, for messages.

  Returns:
    [2, n] starts and ends, s since 1970; `NAT` without bounds.

  Raises:
    ValueError: for bounds that are none, see `xarray_times.bounds`.
  """
  name = next((t for t in TIMES if t in dims), '') or next(
    t for t in TIMES if t in array.coords
  )
  nothing = xr.DataArray(xarray_times.NAT)
  spans = None
  if 'step' not in array.coords:
    spans = xarray_times.bounds(data, stored, name, path)
  return np.stack(
    [_spread(x, array, dims) for x in spans or (nothing, nothing)]
  )


def _steps(array: xr.DataArray, path: str) -> xr.DataArray:
  """Returns the forecast steps in s.

  Raises:
    ValueError: if they have no unit.
  """
  steps = array.coords['step']
  if steps.dtype.kind != 'm':
    raise ValueError(
      f'{path}: step holds {np.ravel(steps.values)[0]} without a unit; '
      'set its attribute units, for instance to hours.'
    )
  seconds = steps.values.astype('timedelta64[s]').astype(np.int64)
  return xr.DataArray(seconds, dims=steps.dims)


def _spread(
  times: xr.DataArray, array: xr.DataArray, dims: Sequence[Any]
) -> np.ndarray:
  """Returns times for all entries of some dimensions, [n] in their order."""
  shape = xr.DataArray(
    np.zeros([array.sizes[d] for d in dims], np.int64), dims=dims
  )
  return (times + shape).transpose(*dims).values.ravel()
