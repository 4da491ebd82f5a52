"""Where the sun stands: NumPy, any broadcastable shapes.

Source: Spencer 1971 in its first terms; the equation of time (16 minutes at
most) is left out, so solar noon is at longitude / 15 h from UTC noon.
"""

import numpy as np

_YEAR_DAYS = 365.2425
_DAY = 86_400


def day_of_year(time):
  """Days, with fraction, since the turn of the (mean) year; 0..365.24."""
  return (np.asarray(time) / _DAY) % _YEAR_DAYS


def solar_hour(lon, time):
  """Local solar time in hours, [0, 24)."""
  return (np.asarray(time) / 3600 + np.asarray(lon) / 15) % 24


def declination(time):
  """Radians, north positive; 23.4 degrees on 21 June."""
  return np.deg2rad(23.44) * np.cos(
    2 * np.pi * (day_of_year(time) - 172) / _YEAR_DAYS
  )


def cos_zenith(lat, lon, time):
  """Cosine of the solar zenith angle; negative at night."""
  angle = 2 * np.pi * (solar_hour(lon, time) - 12) / 24
  lat, tilt = np.deg2rad(lat), declination(time)
  return np.sin(lat) * np.sin(tilt) + np.cos(lat) * np.cos(tilt) * np.cos(angle)


def direction(lat, lon, time):
  """Unit vector (east, north, up) towards the sun."""
  angle = 2 * np.pi * (solar_hour(lon, time) - 12) / 24
  lat_rad, tilt = np.deg2rad(lat), declination(time)
  east = -np.cos(tilt) * np.sin(angle)
  north = np.cos(lat_rad) * np.sin(tilt) - np.sin(lat_rad) * np.cos(
    tilt
  ) * np.cos(angle)
  return east, north, cos_zenith(lat, lon, time)
