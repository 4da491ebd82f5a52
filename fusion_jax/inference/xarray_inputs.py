"""Reads inputs that are xarray objects, and returns results as such."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.data import bands, reflectance
from fusion_jax.data import dates as dates_lib
from fusion_jax.data.sources.imagery import xarray_bands, xarray_images
from fusion_jax.ops import calendar

IMAGE_AXES = ('y', 'x', 'band')
_REFLECTANCE = modality_table.IMAGE_FIELDS['S2L2A'].unit
PIXEL_AXES = ('time', 'band', 'y', 'x')


def is_xarray(values: Any) -> bool:
  """Returns whether an input is an `xarray.DataArray`."""
  return hasattr(values, 'dims')  # Without importing xarray.


def any_xarray(inputs: Any) -> bool:
  """Returns whether any input of a mapping is an `xarray.DataArray`."""
  arrays = inputs.values() if isinstance(inputs, Mapping) else ()
  return any(map(is_xarray, arrays))


def pixels(
  values: Any, missing_bands: tuple[str, ...]
) -> tuple[np.ndarray, Any, np.ndarray | None]:
  """Reads years of pixels, as an array or as an `xarray.DataArray`.

  Args:
    values: [..., T, C, Y, X] array of reflectance x 10,000; or a `DataArray`
      with the axes of `PIXEL_AXES` in any order, whose bands are taken by their
      names and whose time steps by their dates, where it has such coordinates.
    missing_bands: names of the bands that the model was trained without.

  Returns:
    The pixels, [..., T, C, Y, X] float32; the order in which their time steps
    were taken, int [T] or a slice; and the days of the year of the time steps,
    float [T], or None if these are months, quarters or a single composite.

  Raises:
    ValueError: if an axis or a band is missing.
  """
  if not is_xarray(values):
    return np.asarray(values, np.float32), slice(None), None
  values = xarray_images.array(values, PIXEL_AXES, 'pixels')
  values = _by_band(values, missing_bands)
  order, days = _order_of_dates(values)
  array = np.asarray(values, np.float32)[..., order, :, :, :]
  return array, order, days


def image(
  values: Any, modality: modality_table.Modality, refuse_empty: bool = True
) -> np.ndarray:
  """Reads images, as an array or as an xarray object.

  Args:
    values: [..., Y, X, C] in the unit of the modality; or a `DataArray` with
      the axes of `IMAGE_AXES` in any order, or a `Dataset` with a variable for
      each band, whose bands are taken by their names where they have some.
    modality: modality of the images.
    refuse_empty: whether to refuse images that are all zero, not only to warn.

  Returns:
    The images, [..., Y, X, C], north up; NaN where a value is missing.

  Raises:
    ValueError: if an axis or a band is missing, or the values cannot be
      reflectance x 10,000 where they should be, or are of another sensor whose
      scale is not declared.
  """
  title = modality.field
  if is_xarray(values):
    counts = modality.unit == _REFLECTANCE
    values = xarray_images.array(
      values, IMAGE_AXES, title, empty=0, reflectance=counts
    )
    if names := xarray_bands.names_along(values, 'band'):
      sensor = xarray_bands.sensor_of(names, values.attrs)
      chosen = bands.order(names, modality.bands, title, sensor)
      values = values.isel(band=chosen)
  values = np.asarray(values)
  shape = values.shape
  if modality.unit == _REFLECTANCE and len(shape) > 2 and values.size:
    if shape[-1] == len(modality.bands):
      reflectance.check_images(
        values, modality.bands, title, refuse_empty=refuse_empty
      )
  return values


def like(
  inputs: Any,
  values: np.ndarray,
  single: bool,
  axes: tuple[str, ...],
  modality: modality_table.Modality | None = None,
) -> Any:
  """Returns results as an xarray object where the inputs were some.

  Args:
    inputs: inputs that a user passed.
    values: results, [B, ...] with the axes `axes` after that of places; [...]
      if `single`.
    single: whether there is one place, without an axis of places.
    axes: names of the axes.
    modality: modality that was generated, which gives name, unit and
      coordinates; None for features.
  """
  if not any_xarray(inputs):
    return values
  import xarray  # Whoever passes xarray objects has it.

  coords, attrs, name = {}, {}, None
  if modality is not None:
    name, attrs = modality.name, {'units': modality.unit}
    coords = {axes[-1]: list(modality.leads or ('lat', 'lon'))}
  dims = axes if single else ('place', *axes)
  return xarray.DataArray(values, coords, dims, name, attrs)


def _by_band(values: Any, missing_bands: tuple[str, ...]) -> Any:
  """Returns a `DataArray` with the bands in order, where they have names."""
  names = xarray_bands.names_along(values, 'band')
  if not names:
    return values
  sensor = xarray_bands.sensor_of(names, values.attrs)
  found = xarray_bands.indices(names, sensor, 'pixels')
  missing = [
    band
    for band in bands.BANDS
    if band not in found and band not in missing_bands
  ]
  if missing:
    raise ValueError(
      f'pixels lacks the bands {", ".join(missing)}; it has '
      f'{", ".join(names)}{f" of {sensor}" if sensor else ""}. Put NaN in the '
      'place of what the sensor does not have, as pixels.reindex(band=[...]) '
      'does.'
    )
  values = values.isel(band=list(found.values()))
  return values.assign_coords(band=list(found)).reindex(band=[*bands.BANDS])


def _order_of_numbers(times: np.ndarray) -> Any:
  """Returns the order of time steps that are months, or merely numbered."""
  if sorted(times) == [*range(1, calendar.MONTHS + 1)]:
    return np.argsort(times)
  if (times[1:] > times[:-1]).all():
    return slice(None)
  raise ValueError(
    f"The coordinate 'time' holds {times.tolist()}, which are neither dates "
    'nor the months 1 to 12; put the steps in order, or give them dates.'
  )


def _order_of_dates(values: Any) -> tuple[Any, np.ndarray | None]:
  """Returns the order of the time steps, and days of the year if they count."""
  times = values.time.values if 'time' in values.coords else np.arange(0)
  if dates_lib.are_numbers(times):
    return _order_of_numbers(times), None
  dates: Any = times
  if times.dtype.kind != 'M':
    dates = dates_lib.read(times, "The coordinate 'time'")
  months = dates.astype('datetime64[M]').astype(int) % calendar.MONTHS
  if sorted(months) == [*range(calendar.MONTHS)]:
    return np.argsort(months), None
  if len(dates) in (4, 1):  # Quarters, or the year.
    return np.argsort(dates), None
  since_new_year: Any = dates - dates.astype('datetime64[Y]')
  return slice(None), 1 + since_new_year / np.timedelta64(1, 'D')
