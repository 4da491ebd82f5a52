"""The grid of LUCAS: the identifier of a point is its place.

An identifier has easting and northing in whole kilometres of ETRS89-LAEA
(EPSG:3035), four digits each: 40683280 is 4068 km east and 3280 km north.
Source: EPSG Guidance Note 7-2, method 9820; Snyder 1987, pp. 187-190.
"""

import numpy as np
from numpy import typing as npt

_A, _F = 6_378_137.0, 1 / 298.257222101  # GRS 80.
_E2 = _F * (2 - _F)
_E = np.sqrt(_E2)
_LAT0, _LON0 = np.deg2rad(52.0), np.deg2rad(10.0)
_EAST0, _NORTH0 = 4_321_000.0, 3_210_000.0


def _q(lat: npt.ArrayLike) -> np.ndarray:
  """Returns q of latitudes in radians (Snyder 1987, Eq. 3-12)."""
  sine = np.sin(lat)
  return (1 - _E2) * (
    sine / (1 - _E2 * sine**2)
    - np.log((1 - _E * sine) / (1 + _E * sine)) / (2 * _E)
  )


_QP = _q(np.pi / 2)
_RADIUS = _A * np.sqrt(_QP / 2)
_BETA0 = np.arcsin(_q(_LAT0) / _QP)
_D = (
  _A
  * np.cos(_LAT0)
  / np.sqrt(1 - _E2 * np.sin(_LAT0) ** 2)
  / (_RADIUS * np.cos(_BETA0))
)


def coordinates(point_ids: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
  """Returns the latitudes and longitudes of LUCAS points.

  Args:
    point_ids: [...] int or str, identifiers of eight digits.

  Returns:
    Latitudes and longitudes in degrees, [...] float64 each.

  Raises:
    ValueError: if an identifier is not a number of eight digits.
  """
  try:
    ids = np.asarray(point_ids).astype(np.int64)
  except ValueError as error:
    raise ValueError(
      f'{point_ids!r} is no LUCAS point; an identifier has eight digits, such '
      'as 40683280.'
    ) from error
  if (bad := (ids < 10_000_000) | (ids > 99_999_999)).any():
    raise ValueError(
      f'{ids[bad].flat[0]} is no LUCAS point; an identifier has eight digits, '
      'such as 40683280.'
    )
  return inverse(ids // 10_000 * 1000.0, ids % 10_000 * 1000.0)


def identify(lat: npt.ArrayLike, lon: npt.ArrayLike) -> np.ndarray:
  """Returns the identifiers of the LUCAS points nearest to places.

  Args:
    lat: [...] degrees, latitudes.
    lon: [...] degrees, longitudes.

  Returns:
    [...] int64.
  """
  east, north = (np.rint(x / 1000).astype(np.int64) for x in forward(lat, lon))
  return east * 10_000 + north


def forward(
  lat: npt.ArrayLike, lon: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  """Projects places to ETRS89-LAEA (EPSG:3035).

  Args:
    lat: [...] degrees, latitudes.
    lon: [...] degrees, longitudes.

  Returns:
    Eastings and northings in m, [...] float64 each.
  """
  lat, lon = np.deg2rad(lat), np.deg2rad(lon) - _LON0
  beta = np.arcsin(_q(lat) / _QP)
  scale = _RADIUS * np.sqrt(
    2
    / (
      1
      + np.sin(_BETA0) * np.sin(beta)
      + np.cos(_BETA0) * np.cos(beta) * np.cos(lon)
    )
  )
  return (
    _EAST0 + scale * _D * np.cos(beta) * np.sin(lon),
    _NORTH0
    + scale
    / _D
    * (
      np.cos(_BETA0) * np.sin(beta)
      - np.sin(_BETA0) * np.cos(beta) * np.cos(lon)
    ),
  )


def inverse(
  east: npt.ArrayLike, north: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the places of ETRS89-LAEA (EPSG:3035) coordinates.

  Args:
    east: [...] m, eastings.
    north: [...] m, northings.

  Returns:
    Latitudes and longitudes in degrees, [...] float64 each.
  """
  x, y = np.asarray(east) - _EAST0, np.asarray(north) - _NORTH0
  rho = np.hypot(x / _D, _D * y)
  angle = 2 * np.arcsin(rho / (2 * _RADIUS))
  ratio = np.divide(
    _D * y * np.sin(angle) * np.cos(_BETA0),
    rho,
    out=np.zeros_like(rho),
    where=rho > 0,
  )
  beta = np.arcsin(np.cos(angle) * np.sin(_BETA0) + ratio)
  lon = _LON0 + np.arctan2(
    x * np.sin(angle),
    _D * rho * np.cos(_BETA0) * np.cos(angle)
    - _D**2 * y * np.sin(_BETA0) * np.sin(angle)
    + (rho == 0),
  )
  lat = (
    beta
    + (_E2 / 3 + 31 * _E2**2 / 180 + 517 * _E2**3 / 5040) * np.sin(2 * beta)
    + (23 * _E2**2 / 360 + 251 * _E2**3 / 3780) * np.sin(4 * beta)
    + 761 * _E2**3 / 45_360 * np.sin(6 * beta)
  )
  return np.rad2deg(lat), np.rad2deg(lon)
