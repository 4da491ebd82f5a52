"""Checks that weather and places can be what they are called.

An error tells what is meant, the first value that cannot be, its place, how
many values are so, and what mends it.
"""

from collections.abc import Mapping

import numpy as np
from absl import logging
from numpy import typing as npt

from fusion_jax import modalities

KELVIN = (150.0, 350.0)  # Possible range of the air temperature at 2 m.
NOISE_MM = 0.1  # Packing leaves amounts that are below 0 by less than this.

# {unit: (factor, offset)} to K or mm.
TEMPERATURE_UNITS = {
  **dict.fromkeys(('K', 'kelvin', 'Kelvin', 'degK'), (1.0, 0.0)),
  **dict.fromkeys(
    ('degC', 'C', '°C', 'deg_C', 'celsius', 'Celsius', 'degrees_Celsius'),
    (1.0, 273.15),
  ),
  **dict.fromkeys(('degF', '°F', 'fahrenheit'), (5 / 9, 273.15 - 32 * 5 / 9)),
}
AMOUNT_UNITS = {
  **dict.fromkeys(('m', 'm of water equivalent'), (1000.0, 0.0)),
  **dict.fromkeys(
    ('mm', 'kg m-2', 'kg m**-2', 'kg/m^2', 'kg m^-2', 'kg/m2'), (1.0, 0.0)
  ),
  'cm': (10.0, 0.0),
  **dict.fromkeys(('inch', 'in'), (25.4, 0.0)),
}
# {hours: amount}. Metres that are called millimetres stay below it, and so does
# all rain of a dry place; only of many values is it a reason to stop.
_TRACE_MM = {1: 0.015, 24: 0.1}
_LEAST_MM = {1: 0.005, 24: 0.03}  # The same for a few series.
_MANY = 30  # Wet values of several series.


def check_kelvin(
  values: np.ndarray, subject: str, fix: str, celsius_fix: str = ''
) -> None:
  """Checks air temperatures.

  Args:
    values: [...] K; NaN where missing.
    subject: what they are, as 'The temperature in a.nc is called K'.
    fix: what to do, a sentence.
    celsius_fix: what to do with degrees Celsius; by default the same.

  Raises:
    ValueError: if some are outside of `KELVIN`.
  """
  finite = np.isfinite(values)
  wrong = finite & ((values < KELVIN[0]) | (values > KELVIN[1]))
  wrong |= np.isinf(values)
  if not wrong.any():
    return
  first = values[wrong][0]
  celsius = bool(abs(first) < 100)
  raise ValueError(
    f'{subject} but holds {first:.2f}{_share(wrong)}, which is outside '
    f'{KELVIN[0]:g} .. {KELVIN[1]:g} K'
    f'{" and looks like degrees Celsius" if celsius else ""}. '
    f'{celsius_fix if celsius and celsius_fix else fix}'
  )


def check_millimetres(
  values: np.ndarray, hours: float, subject: str, fix: str
) -> None:
  """Checks amounts of precipitation.

  Args:
    values: [...] mm; NaN where missing.
    hours: number of hours that each is the sum of.
    subject: what they are, as 'Precipitation in a.nc'.
    fix: what to do, a sentence.

  Raises:
    ValueError: if some are below 0 by more than packing leaves, or larger than
      has ever fallen: 425 mm x hours^0.47 (Jennings 1950), with a margin.
  """
  most = 600 * max(hours, 1) ** 0.5
  wrong = (values < -NOISE_MM) | (values > most)
  if not wrong.any():
    return
  first = values[wrong][0]
  reason = (
    'and no amount is negative'
    if first < 0
    else f'and no more than {most:.0f} mm can fall in {hours:g} h'
  )
  raise ValueError(
    f'{subject} holds {first:g} mm{_share(wrong)}, {reason}. {fix}'
  )


def are_metres(
  values: np.ndarray,
  hours: int,
  traces: Mapping[int, float] = _TRACE_MM,
) -> bool:
  """Returns whether amounts in mm look like metres that were left over.

  Metres are a thousand times too small: it rains often, but never more than a
  trace.

  Args:
    values: [...] mm; NaN where missing.
    hours: number of hours that each is the sum of.
    traces: {hours: mm that the rain of a region exceeds}.
  """
  known = values[np.isfinite(values)]
  wet = known[known > 0]
  trace = traces[24 if hours >= 24 else 1] * max(hours % 24, 1)
  return len(wet) > max(2, 0.05 * known.size) and bool(wet.max() < trace)


def check_series(
  values: np.ndarray, name: str, fixes: Mapping[str, str]
) -> None:
  """Checks values of a weather series.

  Args:
    values: [..., T] K or mm; NaN where missing.
    name: name of the series.
    fixes: what to do: 'K' with no kelvin, 'degC' with degrees Celsius, 'mm'
      no millimetres, and 'm' with a trace of rain, which may be metres;
      without 'm', it is not taken for metres. Of a single series it is logged,
      as a place can be dry for weeks.

  Raises:
    ValueError: for values that cannot be.
  """
  hours = 24 if name == 'tp_sum_daily' else 1
  if modalities.MODALITIES[name].unit == 'K':
    subject = f'{name} is taken for K'
    check_kelvin(values, subject, fixes['K'], fixes['degC'])
    return
  check_millimetres(values, hours, f'{name}, taken for mm,', fixes['mm'])
  if 'm' in fixes and 'min' not in name and are_metres(values, hours):
    known = np.isfinite(values)
    wet = known & (values > 0)
    message = (
      f'{name}, taken for mm, holds rain at {wet.sum() / known.sum():.1%} of '
      f'its values but nowhere more than {values[wet].max():g} mm: is it '
      f'drizzle, or are these metres? {fixes["m"]}'
    )
    several = values.size > values.shape[-1] and wet.sum() >= _MANY
    if several and are_metres(values, hours, _LEAST_MM):
      raise ValueError(message)
    logging.warning('%s', message)


def convert_series(values: np.ndarray, name: str, unit: str) -> np.ndarray:
  """Returns values of a series in K or mm.

  Args:
    values: [..., T] in the unit; NaN where missing.
    name: name of the series.
    unit: a unit of `TEMPERATURE_UNITS` or `AMOUNT_UNITS`.

  Raises:
    ValueError: for another unit.
  """
  kelvin = modalities.MODALITIES[name].unit == 'K'
  units = TEMPERATURE_UNITS if kelvin else AMOUNT_UNITS
  if unit not in units:
    raise ValueError(
      f'{name} cannot have the unit {unit!r}; give one of {", ".join(units)}.'
    )
  factor, offset = units[unit]
  return values if (factor, offset) == (1, 0) else values * factor + offset


def check_place(lat: npt.ArrayLike, lon: npt.ArrayLike, where: str) -> None:
  """Checks latitudes and longitudes.

  Args:
    lat: [...] degrees.
    lon: [...] degrees, -180 .. 180 or 0 .. 360.
    where: where they stand, for messages.

  Raises:
    ValueError: if some are none.
  """
  lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
  bad_lat, bad_lon = ~(np.abs(lat) <= 90), ~((lon >= -180) & (lon <= 360))
  if bad_lat.any():
    exchanged = (np.abs(lat[bad_lat]) <= 360).all() and (
      lon.size and (np.abs(lon) <= 90).all()
    )
    raise ValueError(
      f'{where}: the latitude {lat[bad_lat][0]:g} is outside -90 .. 90 degrees'
      f'{_share(bad_lat)}; '
      + (
        'latitude and longitude seem to be exchanged, exchange them.'
        if exchanged
        else 'write degrees.'
      )
    )
  if bad_lon.any():
    raise ValueError(
      f'{where}: the longitude {lon[bad_lon][0]:g} is outside -180 .. 360 '
      f'degrees{_share(bad_lon)}; write degrees.'
    )


def _share(wrong: np.ndarray) -> str:
  """Returns how many values are wrong, and the place of the first."""
  wrong = np.asarray(wrong)
  if wrong.size == 1:
    return ''
  place = ', '.join(map(str, np.argwhere(wrong)[0].tolist()))
  return f' at [{place}] ({wrong.mean():.1%} of the values)'
