"""Where the sun stands: NumPy, any broadcastable shapes.

Source: Spencer 1971 in its first terms; the equation of time (16 minutes at
most) is left out, so solar noon is at longitude / 15 h from UTC noon.
"""

import numpy as np
from numpy.typing import ArrayLike

_YEAR_DAYS = 365.2425
_DAY = 86_400


def day_of_year(time: ArrayLike) -> np.ndarray:
  """Returns days since the turn of the mean year, [...] in 0..365.24.

  Args:
    time: [...] UTC seconds since 1970.
  """
  return (np.asarray(time) / _DAY) % _YEAR_DAYS


def solar_hour(lon: ArrayLike, time: ArrayLike) -> np.ndarray:
  """Returns the local solar time, [...] hours in [0, 24).

  Args:
    lon: [...] degrees east.
    time: [...] UTC seconds since 1970.
  """
  return (np.asarray(time) / 3600 + np.asarray(lon) / 15) % 24


def declination(time: ArrayLike) -> np.ndarray:
  """Returns the declination of the sun, [...] radians, north positive.

  Args:
    time: [...] UTC seconds since 1970.
  """
  return np.deg2rad(23.44) * np.cos(
    2 * np.pi * (day_of_year(time) - 172) / _YEAR_DAYS
  )


def cos_zenith(lat: ArrayLike, lon: ArrayLike, time: ArrayLike) -> np.ndarray:
  """Returns the cosine of the solar zenith angle, [...]; negative at night.

  Args:
    lat: [...] degrees north.
    lon: [...] degrees east.
    time: [...] UTC seconds since 1970.
  """
  angle = 2 * np.pi * (solar_hour(lon, time) - 12) / 24
  lat, tilt = np.deg2rad(lat), declination(time)
  return np.sin(lat) * np.sin(tilt) + np.cos(lat) * np.cos(tilt) * np.cos(angle)


def direction(
  lat: ArrayLike, lon: ArrayLike, time: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the unit vector towards the sun: east, north and up, each [...].

  Args:
    lat: [...] degrees north.
    lon: [...] degrees east.
    time: [...] UTC seconds since 1970.
  """
  angle = 2 * np.pi * (solar_hour(lon, time) - 12) / 24
  lat_rad, tilt = np.deg2rad(lat), declination(time)
  east = -np.cos(tilt) * np.sin(angle)
  north = np.cos(lat_rad) * np.sin(tilt) - np.sin(lat_rad) * np.cos(
    tilt
  ) * np.cos(angle)
  return east, north, cos_zenith(lat, lon, time)
