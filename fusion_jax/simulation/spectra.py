"""Reflectance of pure surfaces, and what the air does to it on the way.

Bands are those of Sentinel-2 L2A in storage order. Values are rounded from
the usual shapes of spectral libraries (USGS, ECOSTRESS); B09 is absorbed a
little more strongly than in the L1C scenes among the TerraMesh examples.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

_TABLE = {  # Per mille.
  # B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12
  'forest': (20, 24, 42, 24, 70, 200, 250, 268, 280, 285, 140, 60),
  'crop': (28, 36, 78, 38, 110, 320, 420, 450, 460, 462, 220, 110),
  'grass': (32, 44, 78, 62, 120, 245, 295, 318, 330, 332, 245, 145),
  'straw': (60, 78, 115, 155, 195, 222, 245, 268, 288, 298, 360, 265),
  'twigs': (38, 46, 58, 70, 92, 115, 132, 148, 160, 168, 190, 140),
  'soil': (48, 60, 88, 118, 138, 158, 176, 194, 206, 213, 280, 240),
  'water': (52, 54, 50, 32, 27, 21, 19, 16, 14, 12, 8, 6),
  'snow': (900, 915, 910, 900, 890, 875, 865, 850, 830, 790, 120, 100),
  'town': (95, 110, 130, 148, 160, 170, 182, 196, 206, 212, 240, 220),
}
PURE = tuple(_TABLE)
_MINERAL = ('soil', 'straw', 'twigs', 'town')
_LEAVES = ('forest', 'crop', 'grass')


def _shares(per_mille: ArrayLike) -> np.ndarray:
  return (np.array(per_mille) / 1000).astype(np.float32)


SPECTRA = _shares([_TABLE[name] for name in PURE])
SOILS = _shares(
  [
    _TABLE['soil'],  # Loam.
    (120, 165, 250, 340, 375, 400, 420, 440, 455, 462, 550, 500),
    (45, 55, 90, 180, 215, 235, 255, 275, 295, 303, 380, 320),
  ]
)
# Share of a soil's light that full moisture takes.
WET = _shares([420, 420, 440, 460, 470, 480, 490, 500, 510, 550, 620, 720])
# Light scattered into the view by air of unit optical depth and path.
HAZE = _shares([60, 46, 30, 19, 16, 12, 10, 9, 8, 7, 2, 1])
RAYLEIGH = _shares([78, 55, 30, 16, 12, 9, 7, 6, 5, 4, 0, 0])  # In L1C only.
B8A, B09 = 8, 9
_STRONG_LINES = 0.25  # Per sqrt(mm), of B09.
_K_PER_E_FOLD = 15.0  # Clausius-Clapeyron, near the freezing point.


def endmembers(
  soil: np.ndarray, moisture: float, brightness: Sequence[float] | np.ndarray
) -> np.ndarray:
  """Returns spectra [E, 12] of `PURE`, with the soil of a place, dark when wet.

  Args:
    soil: [3] shares of `SOILS`.
    moisture: moisture of the soil, 0..1.
    brightness: relative brightness of minerals and of leaves.
  """
  spectra = SPECTRA.copy()
  spectra[PURE.index('soil')] = soil @ SOILS * (1 - moisture * WET)
  spectra[[PURE.index(name) for name in _MINERAL]] *= np.float32(brightness[0])
  spectra[[PURE.index(name) for name in _LEAVES]] *= np.float32(brightness[1])
  return spectra


def column_water_mm(
  surface_k: float | np.ndarray, humidity: float
) -> float | np.ndarray:
  """Returns the water vapour over a place in mm: a fifteenth more per kelvin.

  Args:
    surface_k: daily mean temperature at the surface in K, a number or an array
      [...] of the shape of the result. Falling with height, it also thins the
      column over mountains.
    humidity: relative humidity, 0..1.

  Source: Clausius-Clapeyron with a scale height of 2 km.
  """
  return 26.0 * humidity * np.exp((surface_k - 288.0) / _K_PER_E_FOLD)


def vapour_transmission(
  water_mm: float | np.ndarray, air_mass: float
) -> float | np.ndarray:
  """Returns the share of B09 that water vapour lets through.

  Strong lines absorb by a law of the square root.

  Args:
    water_mm: column water vapour in mm, a number or an array [...] of the
      shape of the result.
    air_mass: relative length of the path through the air.
  """
  return np.exp(-_STRONG_LINES * np.sqrt(water_mm * air_mass))
