"""The simulated planet: smooth maps of its climate, and places drawn on it.

A planet is one tiny set of global maps made from a seed. Everything lasting
about a place (how high, how continental, how wet, which soil) is read off them
at its latitude and longitude, so the same place is the same in every example.
"""

import dataclasses
import functools
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from fusion_jax.simulation import sun

_ROWS, _COLUMNS = 180, 360  # One-degree maps.
_CANDIDATES = 256
_BLOCK_DEG = 2.0  # Blocks of land belong to one split each.
_SPLIT_OF_BLOCK = ('train', 'train', 'val', 'test')
MIN_LAT, MAX_LAT = -56.0, 72.0  # Where Sentinel-2 sees land.
_DAY = 86_400
_FIRST_DAY, _NUM_DAYS = 17_532, 2_192  # 2018-01-01, and the last of 2023.


@dataclasses.dataclass(frozen=True)
class Place:
  """What lasts at a place.

  Attributes:
    lat: degrees north.
    lon: degrees east, in [-180, 180).
    elevation: m above sea level, mean of the scene.
    continentality: 0 at the coast, 1 deep inland.
    wetness: wetness of the year, from 0 (desert) to 1 (rain forest).
    monsoon: share 0..1 of the rain that falls in summer only.
    relief: standard deviation of the terrain over some kilometres, in m.
    soil: shares [3] of dark loam, bright sand and red laterite.
  """

  lat: float
  lon: float
  elevation: float
  continentality: float
  wetness: float
  monsoon: float
  relief: float
  soil: np.ndarray


def _smooth_map(rng: np.random.Generator, wavelength_deg: float) -> np.ndarray:
  """[180, 360] noise of unit variance, periodic in longitude."""
  ky = np.fft.fftfreq(2 * _ROWS)[:, None]  # Twice as high, then cut: only
  kx = np.fft.rfftfreq(_COLUMNS)[None]  # longitude is periodic.
  filt = (ky**2 + kx**2 + wavelength_deg**-2.0) ** -1.4
  noise = np.fft.rfft2(rng.standard_normal((2 * _ROWS, _COLUMNS)))
  field = np.fft.irfft2(noise * filt, (2 * _ROWS, _COLUMNS))[:_ROWS]
  return (field - field.mean()) / field.std()


class Planet:
  """Maps of one planet, and places on its land.

  Args:
    seed: seed of the planet; the same seed is the same planet.
  """

  def __init__(self, seed: int):
    rng = np.random.default_rng([seed, 0])
    names = ('height', 'mountains', 'wetness', 'sand', 'laterite')
    self._maps = {
      name: _smooth_map(rng, 45.0 if name == 'height' else 20.0)
      for name in names
    }
    self._sea_level = float(np.quantile(self._maps['height'], 0.55))
    self._hash_seed = np.uint64(seed) * np.uint64(0x9E3779B9)

  def _read(self, name: str, lat: ArrayLike, lon: ArrayLike) -> np.ndarray:
    """Bilinear map values at `lat`, `lon`, any equal shape."""
    y = np.clip(np.asarray(lat) + 89.5, 0, _ROWS - 1.001)
    x = (np.asarray(lon) + 179.5) % _COLUMNS
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = y - y0, x - x0
    x0, x1 = x0 % _COLUMNS, (x0 + 1) % _COLUMNS
    field = self._maps[name]
    south = field[y0, x0] * (1 - fx) + field[y0, x1] * fx
    north = field[y0 + 1, x0] * (1 - fx) + field[y0 + 1, x1] * fx
    return south * (1 - fy) + north * fy

  def split_of(self, lat: ArrayLike, lon: ArrayLike) -> np.ndarray:
    """Returns which split owns each place.

    Args:
      lat: [...] degrees north.
      lon: [...] degrees east.

    Returns:
      [...] indices into (train, train, val, test).
    """
    row = np.floor((np.asarray(lat) + 90) / _BLOCK_DEG).astype(np.uint64)
    column = np.floor((np.asarray(lon) + 180) / _BLOCK_DEG).astype(np.uint64)
    word = row * np.uint64(1_000_003) + column + self._hash_seed
    for shift in (33, 29):  # SplitMix64's finaliser.
      word = (word ^ (word >> np.uint64(shift))) * np.uint64(0xFF51AFD7ED558CCD)
    return (word >> np.uint64(40)) % np.uint64(len(_SPLIT_OF_BLOCK))

  def place(self, lat: float, lon: float) -> Place:
    """Returns the place at a latitude and longitude in degrees."""
    read = functools.partial(self._read, lat=lat, lon=lon)
    inland = max(float(read('height')) - self._sea_level, 0.0)
    mountains = float(read('mountains'))
    wetness = _zonal_wetness(lat) + 0.17 * float(read('wetness'))
    wetness = float(np.clip(wetness * (1.1 - 0.25 * min(inland, 1)), 0.02, 1))
    steepness = 1 / (1 + np.exp(-2.2 * (mountains - 0.8)))
    soil = np.exp(
      [
        0.6,
        1.4 * float(read('sand')) + 3 * (0.3 - wetness),
        1.4 * float(read('laterite')) + 2 - abs(lat) / 12,
      ]
    )
    return Place(
      lat=float(lat),
      lon=float(lon),
      elevation=float(15 + 320 * inland + 2_400 * steepness * inland**0.5),
      continentality=float(1 - np.exp(-2.0 * inland)),
      wetness=wetness,
      monsoon=float(np.exp(-(((abs(lat) - 16) / 11) ** 2))),
      relief=float(3 + 110 * steepness + 12 * inland),
      soil=(soil / soil.sum()).astype(np.float32),
    )

  def draw(self, rng: np.random.Generator, split: str) -> tuple[Place, int]:
    """Draws a place of `split` and a daylight acquisition there.

    Args:
      rng: generator of place and time.
      split: 'train', 'val' or 'test'.

    Returns:
      (place, time): UTC seconds since 1970 of an overpass at 10:30 local
      solar time, give or take 20 minutes, with the sun above 10 degrees.
    """
    while True:
      south, north = np.sin(np.deg2rad([MIN_LAT, MAX_LAT]))
      lat = np.rad2deg(np.arcsin(rng.uniform(south, north, _CANDIDATES)))
      lon = rng.uniform(-180, 180, _CANDIDATES)
      day = rng.integers(0, _NUM_DAYS, _CANDIDATES) + _FIRST_DAY
      solar_s = 37_800 + rng.uniform(-1_200, 1_200, _CANDIDATES)
      time = (day * _DAY + solar_s - lon * 240).astype(np.int64)
      owned = np.isin(
        self.split_of(lat, lon),
        [k for k, name in enumerate(_SPLIT_OF_BLOCK) if name == split],
      )
      land = self._read('height', lat, lon) > self._sea_level
      usable = np.flatnonzero(
        owned & land & (sun.cos_zenith(lat, lon, time) > 0.17)
      )
      if usable.size:
        i = usable[0]
        place = self.place(cast(float, lat[i]), cast(float, lon[i]))
        return place, int(time[i])


def _zonal_wetness(lat: float) -> float:
  """Wet at the equator, dry in the subtropics, wet again at 50 degrees."""
  lat = abs(lat)
  return (
    0.18
    + 0.68 * np.exp(-((lat / 11) ** 2))
    + 0.38 * np.exp(-(((lat - 50) / 15) ** 2))
  )
