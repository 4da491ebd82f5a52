"""Images that users hold as xarray objects, by the rules of files.

It imports no package of its own: whoever passes xarray objects has it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fusion_jax.data.sources.imagery import encoding, xarray_bands


def array(
  values: Any,
  axes: tuple[str, ...],
  title: str,
  empty: float = np.nan,
  reflectance: bool = True,
) -> Any:
  """Returns an xarray object as one `DataArray` of values in their unit.

  Args:
    values: `DataArray`, or `Dataset` with a variable for each band. Attributes
      that tell how values are stored (`scale_factor`, `_FillValue`,
      `valid_range`, ...) are followed.
    axes: names that the last axes get, in this order: 'time', 'band', 'y', 'x'.
    title: what it is, for messages.
    empty: what 0 becomes where integers of reflectance mean "missing" by it.
    reflectance: whether the values are reflectance, which is returned x 10,000;
      anything else, such as radar, is returned in the unit that its attributes
      lead to, value * scale_factor + add_offset.

  Returns:
    `DataArray` whose last axes are `axes`, north up, NaN where missing.

  Raises:
    ValueError: if it lacks one of the axes, columns run westwards, or it is
      reflectance of another sensor and declares no scale.
  """
  sensor = _sensor(values) if reflectance else ''

  def decode(each, name):
    if not reflectance:
      return _in_unit(each)
    return _decoded(each, name, empty, sensor)

  if hasattr(values, 'data_vars'):
    values = _stacked(values, title, decode)
  else:
    values = decode(values, title)
  found = xarray_bands.axes_of(values)
  values = values.rename(
    {found[axis]: axis for axis in axes if found[axis] not in ('', axis)}
  )
  missing = [axis for axis in axes if axis not in values.dims]
  if missing:
    raise ValueError(
      f'{title} has the axes {values.dims}, not {missing}; rename them.'
    )
  return _north_up(values.transpose(..., *axes), title)


def _sensor(values: Any) -> str:
  """Returns the sensor that names of bands and attributes tell."""
  if hasattr(values, 'data_vars'):
    attrs = (each.attrs for each in values.data_vars.values())
    return xarray_bands.sensor_of(values.data_vars, values.attrs, *attrs)
  axis = xarray_bands.axes_of(values)['band']
  names = xarray_bands.names_along(values, axis) if axis else []
  return xarray_bands.sensor_of(names, values.attrs)


def _stacked(
  dataset: Any, title: str, decode: Callable[[Any, str], Any]
) -> Any:
  """Returns the variables of a dataset with axes y and x as one array."""
  names = [
    name
    for name, each in dataset.data_vars.items()
    if xarray_bands.has_place(each)
  ]
  if not names:
    raise ValueError(
      f'{title} has no variable with axes y and x; it has '
      f'{", ".join(map(str, dataset.variables))}.'
    )
  arrays = {name: decode(dataset[name], f'{title}, {name}') for name in names}
  first = arrays[names[0]]
  if len(names) == 1 and xarray_bands.axes_of(first)['band']:
    return first.assign_attrs({**dataset.attrs, **first.attrs})
  attrs = {key: x for each in arrays.values() for key, x in each.attrs.items()}
  attrs.pop('long_name', None)
  stacked = dataset[names].assign(arrays).to_array('band')
  return stacked.assign_attrs({**attrs, **dataset.attrs})


def _decoded(values: Any, title: str, empty: float, sensor: str) -> Any:
  """Returns a `DataArray` of reflectance x 10,000, NaN where one is missing.

  Without attributes of an encoding its values are as they are, but for the 0 of
  integers.

  Raises:
    ValueError: if it is of another sensor and declares no scale.
  """
  if sensor and values.attrs.get('scale_factor') in (None, 1.0):
    raise ValueError(
      f'{title} is of {sensor} and declares no scale of its values: set it, '
      'array.attrs.update(scale_factor=0.0000275, add_offset=-0.2) for Landsat '
      'Collection 2 Level 2, scale_factor=0.0001 for reflectance x 10,000 and '
      'HLS.'
    )
  stored = xarray_bands.as_stored(np.asarray(values), values.attrs)
  zeros = stored.dtype.kind in 'iu' and empty != 0
  if not (xarray_bands.is_encoded(values) or zeros):
    return values
  declared = encoding.Declared(empty=empty)
  code = xarray_bands.encoding_of(values, declared, title)
  return _replaced(values, code.decode(stored))


def _in_unit(values: Any) -> Any:
  """Returns a `DataArray` as its attributes of an encoding tell."""
  if not xarray_bands.is_encoded(values):
    return values
  return _replaced(values, xarray_bands.in_unit(values))


def _replaced(values: Any, decoded: np.ndarray) -> Any:
  """Returns a `DataArray` with decoded values, without their encoding."""
  result = values.copy(data=decoded)
  result.attrs = {
    k: x for k, x in values.attrs.items() if k not in xarray_bands.KEYS
  }
  return result


def _north_up(values: Any, title: str) -> Any:
  """Returns a `DataArray` whose rows run from north to south.

  Raises:
    ValueError: if columns run from east to west.
  """
  eastwards, southwards = (_step(values, axis) for axis in ('x', 'y'))
  if eastwards < 0:
    raise ValueError(f'{title}: x runs from east to west; reverse it.')
  return values.isel(y=slice(None, None, -1)) if southwards > 0 else values


def _step(values: Any, axis: str) -> float:
  """Returns the step of the coordinates of an axis; 0 without coordinates.

  Mere numbers of rows and columns, 0, 1, 2 ..., are no coordinates.
  """
  centres = values[axis].values if axis in values.coords else np.arange(0)
  if centres.dtype.kind not in 'iuf' or len(centres) < 2:
    return 0.0
  if np.array_equal(centres - centres[0], np.arange(len(centres))):
    if centres[0] in (0, 1):
      return 0.0
  return float(centres[1] - centres[0])
