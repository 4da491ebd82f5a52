"""Reads weather series that a user passes, in K or mm or another unit."""

from typing import Any

import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.data import plausibility
from fusion_jax.inference import xarray_inputs

_AXIS = 'lead'  # Of time steps, in the results of our models.

# What to do with values that are no K or mm: where a unit is an argument, and
# where it is not. Metres cannot be told from a trace if the unit is stated.
_WITH_ARGUMENT = {
  'K': "Name their unit, such as unit='degC', and write NaN where a value is "
  'missing.',
  'degC': "Pass unit='degC', or unit='degF' for degrees Fahrenheit.",
  'mm': "Name their unit, such as unit='m', and write NaN where a value is "
  'missing.',
  'm': "Pass unit='mm' if they are mm, or unit='m' if they are metres.",
}
_DATA_ARRAY = "pass an xarray.DataArray with the attribute units='{}'"
_WITHOUT = {
  'K': 'Write K, and NaN where a value is missing.',
  'degC': f'Add 273.15, or {_DATA_ARRAY.format("degC")}.',
  'mm': 'Write mm, and NaN where a value is missing.',
  'm': f'If they are mm, {_DATA_ARRAY.format("mm")}; if they are metres, '
  'multiply them by 1000.',
}


def read(
  values: Any, name: str, unit: str = '', *, has_argument: bool = False
) -> np.ndarray:
  """Returns a series in K or mm, after checking that it can be that.

  Args:
    values: [..., T] values, NaN where one is missing; an `xarray.DataArray` may
      have its time steps on an axis 'lead', and say its unit in the attribute
      `units`.
    name: name of the series.
    unit: unit of the values; '' is the unit of the array, or K or mm.
    has_argument: whether the user can pass the unit as an argument, for
      messages.

  Returns:
    [..., T] float.

  Raises:
    ValueError: if there is no such unit, if the number of time steps is
      another one, or if values cannot be what they are taken for; says how
      many, shows the first, and what to do.
  """
  modality = modality_table.MODALITIES[name]
  if xarray_inputs.is_xarray(values):
    unit = unit or str(values.attrs.get('units', ''))
    if _AXIS in values.dims:
      values = values.transpose(..., _AXIS)
  array = np.asarray(values)
  if array.shape[-1:] != (len(modality.leads),):
    raise ValueError(
      f'A series of {name} has {len(modality.leads)} time steps; the values '
      f'have the shape {array.shape}. Pass leads {modality.leads[0]}..'
      f'{modality.leads[-1]} on the last axis, NaN where one is missing.'
    )
  array = array if array.dtype.kind == 'f' else array.astype(np.float64)
  fixes = dict(_WITH_ARGUMENT if has_argument else _WITHOUT)
  if unit:
    array = plausibility.convert_series(array, name, unit)
    fixes.pop('m')
  plausibility.check_series(array, name, fixes)
  return array
