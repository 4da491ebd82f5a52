"""Images that users hold as xarray objects, by the rules of files.

It imports no package of its own: whoever passes xarray objects has it.
"""

from typing import Any

import numpy as np

from fusion_jax.data.sources.imagery import encoding, xarray_bands


def array(
  values: Any, axes: tuple[str, ...], title: str, empty: float = np.nan
) -> Any:
  """Returns an xarray object as one `DataArray` of values in their unit.

  Args:
    values: `DataArray`, or `Dataset` with a variable for each band. Attributes
      that tell how values are stored (`scale_factor`, `_FillValue`,
      `valid_range`, ...) are followed.
    axes: names that the last axes get, in this order: 'time', 'band', 'y', 'x'.
    title: what it is, for messages.
    empty: what 0 becomes where integers mean "missing" by it.

  Returns:
    `DataArray` whose last axes are `axes`, north up, NaN where missing.

  Raises:
    ValueError: if it lacks one of the axes, or columns run westwards.
  """
  if hasattr(values, 'data_vars'):
    values = _stacked(values, title, empty)
  else:
    values = _decoded(values, title, empty)
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


def _stacked(dataset: Any, title: str, empty: float) -> Any:
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
  arrays = {
    name: _decoded(dataset[name], f'{title}, {name}', empty) for name in names
  }
  first = arrays[names[0]]
  if len(names) == 1 and xarray_bands.axes_of(first)['band']:
    return first.assign_attrs({**dataset.attrs, **first.attrs})
  attrs = {key: x for each in arrays.values() for key, x in each.attrs.items()}
  attrs.pop('long_name', None)
  stacked = dataset[names].assign(arrays).to_array('band')
  return stacked.assign_attrs({**attrs, **dataset.attrs})


def _decoded(values: Any, title: str, empty: float) -> Any:
  """Returns a `DataArray` in its unit, NaN where a value is missing.

  Without attributes of an encoding its values are as they are, but for the 0 of
  integers.
  """
  stored = xarray_bands.as_stored(np.asarray(values), values.attrs)
  zeros = stored.dtype.kind in 'iu' and empty != 0
  if not (xarray_bands.is_encoded(values) or zeros):
    return values
  declared = encoding.Declared(empty=empty)
  code = xarray_bands.encoding_of(values, declared, title)
  decoded = values.copy(data=code.decode(stored))
  kept = {k: x for k, x in values.attrs.items() if k not in xarray_bands.KEYS}
  decoded.attrs = kept
  return decoded


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
