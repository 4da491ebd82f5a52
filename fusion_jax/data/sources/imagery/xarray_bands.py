"""Bands and encodings of xarray objects: open files, and arrays of users.

It imports no package of its own: whoever passes xarray objects has it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fusion_jax.data import bands as bands_lib
from fusion_jax.data.sources.imagery import encoding, valid_ranges

AXES = {
  'time': ('t', 'time', 'date', 'month', 'step'),
  'band': ('band', 'bands', 'channel', 'variable'),
  'y': ('y', 'lat', 'latitude', 'northing'),
  'x': ('x', 'lon', 'longitude', 'easting'),
}
_PLATFORM = (
  'platform',
  'sensor',
  'instrument',
  'constellation',
  'spacecraft',
  'satellite',
  'mission',
)
_FILLS = ('_FillValue', 'missing_value')
# Attributes that tell how values are stored.
KEYS = (
  'scale_factor',
  'add_offset',
  *_FILLS,
  'valid_range',
  'valid_min',
  'valid_max',
  '_Unsigned',
)


def axes_of(array: Any) -> dict[str, str]:
  """Returns {axis: its name in an array}, '' for axes that it lacks."""
  return {
    axis: next((d for d in array.dims if str(d).lower() in names), '')
    for axis, names in AXES.items()
  }


def has_place(array: Any) -> bool:
  """Returns whether an array has the axes y and x."""
  axes = axes_of(array)
  return bool(axes['y'] and axes['x'])


def sensor_of(texts: Iterable[object], *attrs: Mapping[Any, Any]) -> str:
  """Returns the sensor that names and attributes tell, as `bands.sensor`."""
  words = [
    text
    for each in attrs
    for key, text in each.items()
    if str(key).lower() in _PLATFORM
  ]
  return bands_lib.sensor([*texts, *words])


def names_along(array: Any, axis: str) -> list[str]:
  """Returns the names of the bands along an axis; [] where there are none.

  Args:
    array: `xarray.DataArray` with names in the coordinate of its axis, as text
      or bytes, or in its attribute `long_name`.
    axis: name of the axis.
  """
  count = array.sizes[axis]
  attrs = [array.attrs.get(key, ()) for key in ('long_name', 'descriptions')]
  for names in ([array[axis].values] if axis in array.coords else []) + attrs:
    names = [names] if isinstance(names, str) else list(np.ravel(names))
    texts = [
      text.decode('utf-8', 'replace') if isinstance(text, bytes) else text
      for text in names
    ]
    if len(texts) == count and all(isinstance(text, str) for text in texts):
      if not bands_lib.no_names(texts):
        return [str(text) for text in texts]
  return []


def indices(names: Iterable[str], sensor: str, title: str) -> dict[str, int]:
  """Returns {band: its index} of names; other names than of bands are left out.

  Args:
    names: names of the bands.
    sensor: sensor whose bands they are, see `bands.sensor`.
    title: name of the array, for messages.

  Raises:
    ValueError: if two bands have the same name.
  """
  groups = {}
  for i, name in enumerate(names):
    band = bands_lib.find(name, sensor)
    if bands_lib.known(band):
      groups.setdefault(band, []).append((i, name))
  chosen = {}
  for band, group in groups.items():
    group = [x for x in group if bands_lib.is_exact(x[1])] or group
    if len(group) > 1:
      raise ValueError(
        f'{title} has several bands of the names {[band]}: '
        f'{[name for _, name in group]}; keep one of each.'
      )
    chosen[band] = group[0][0]
  return chosen


def is_encoded(array: Any) -> bool:
  """Returns whether attributes tell how the values of an array are stored."""
  scale = array.attrs.get('scale_factor', 1), array.attrs.get('add_offset', 0)
  return scale != (1, 0) or any(key in array.attrs for key in KEYS[2:])


def encoding_of(
  array: Any, declared: encoding.Declared, title: str, sensor: str = ''
) -> encoding.Encoding:
  """Returns the encoding of an array.

  Args:
    array: `xarray.DataArray` whose values are as stored.
    declared: what the user states.
    title: name of the file, for messages.
    sensor: sensor of the bands, see `bands.sensor`.

  Raises:
    ValueError: if it declares an offset without a scale, or is of another
      sensor and declares no scale.
  """
  attrs = array.attrs
  scale = attrs.get('scale_factor')
  if sensor and scale in (None, 1.0) and declared.scale is None:
    raise ValueError(
      f'{title}, {array.name}: it is of {sensor} and declares no scale of its '
      'values. Pass it: --scale 0.0000275 --offset -0.2 for Landsat '
      'Collection 2 Level 2, --scale 0.0001 for HLS.'
    )
  try:
    return declared.encoding(
      array.dtype,
      scale,
      attrs.get('add_offset'),
      _fills(attrs, array.dtype),
      _valid(array),
    )
  except ValueError as error:
    raise ValueError(f'{title}, {array.name}: {error}') from error


def in_unit(array: Any) -> np.ndarray:
  """Returns values that are no reflectance in their unit.

  Source: CF conventions 1.11, sections 2.5.1 and 8.1.

  Args:
    array: `xarray.DataArray` whose attributes tell how its values are stored.

  Returns:
    [...] float32 value * scale_factor + add_offset, NaN where one is missing.
  """
  attrs = array.attrs
  stored = as_stored(np.asarray(array), attrs)
  known = np.isfinite(stored)
  if fills := _fills(attrs, stored.dtype):
    known &= ~np.isin(stored, fills)
  if valid := _valid(array):
    known &= (stored >= valid[0]) & (stored <= valid[1])
  scale, offset = attrs.get('scale_factor', 1), attrs.get('add_offset', 0)
  values = stored * float(scale) + float(offset)
  return np.where(known, values, np.nan).astype(np.float32)


def _fills(attrs, dtype):
  """Returns the stored values of a type that stand for "missing"."""
  fills = [np.asarray(attrs[key]).ravel() for key in _FILLS if key in attrs]
  return tuple(
    value for x in fills for value in as_stored(x.astype(dtype), attrs)
  )


def _valid(array):
  """Returns the valid range of the values of an array, or None.

  Where xarray decoded them, it left the range of the stored values.
  """
  if array.dtype.kind == 'f' and 'scale_factor' in array.encoding:
    return None
  return valid_ranges.valid_range(array.attrs)


def as_stored(values: np.ndarray, attrs: Mapping[Any, Any]) -> np.ndarray:
  """Returns signed integers as unsigned, if NetCDF's attributes say so."""
  if str(attrs.get('_Unsigned', '')).lower() == 'true':
    return values.view(f'u{values.dtype.itemsize}')
  return values
