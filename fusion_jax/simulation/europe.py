"""Places of simulated LUCAS points: countries, mountains, regions.

A sketch of the European Union of 2018: every country is a disc around its
middle, mountains are domes on a low plain. Climate and soil come from the same
functions and maps as for the images.
"""

import dataclasses
import functools

import numpy as np

from fusion_jax import geo
from fusion_jax.data import lucas_grid
from fusion_jax.simulation import planet

# Middle (degrees north, east), radius in km, and share of the points.
COUNTRIES = {
  'AT': (47.5, 14.2, 130, 3),
  'BE': (50.7, 4.6, 80, 2),
  'BG': (42.7, 25.3, 150, 4),
  'CY': (35.0, 33.2, 40, 1),
  'CZ': (49.8, 15.4, 120, 3),
  'DE': (51.0, 10.2, 260, 8),
  'DK': (56.0, 9.6, 100, 2),
  'EE': (58.7, 25.6, 90, 2),
  'EL': (39.3, 22.3, 180, 5),
  'ES': (40.0, -3.8, 350, 10),
  'FI': (63.0, 26.5, 330, 7),
  'FR': (46.8, 2.4, 350, 10),
  'HR': (45.2, 16.2, 110, 2),
  'HU': (47.1, 19.4, 130, 4),
  'IE': (53.2, -7.8, 120, 3),
  'IT': (43.0, 12.4, 260, 8),
  'LT': (55.3, 23.9, 110, 2),
  'LU': (49.8, 6.1, 25, 1),
  'LV': (56.9, 25.0, 110, 2),
  'MT': (35.9, 14.4, 10, 0.5),
  'NL': (52.3, 5.6, 90, 2),
  'PL': (52.1, 19.4, 260, 7),
  'PT': (39.7, -8.1, 150, 3),
  'RO': (45.8, 25.0, 220, 6),
  'SE': (60.5, 15.5, 350, 7),
  'SI': (46.1, 14.8, 60, 1),
  'SK': (48.7, 19.5, 110, 2),
  'UK': (53.2, -1.8, 230, 5),
}
_MOUNTAINS = (  # Degrees north and east, radius in km, height in m.
  (46.6, 9.8, 150, 1900),
  (47.2, 13.2, 110, 1700),
  (42.7, 0.7, 90, 1600),
  (63.5, 13.0, 190, 900),
  (67.5, 18.0, 220, 900),
  (45.6, 24.8, 100, 1500),
  (49.2, 19.8, 70, 1300),
  (42.0, 23.6, 90, 1500),
  (43.0, 13.2, 90, 900),
  (40.2, -4.5, 130, 900),
  (37.1, -3.2, 70, 1300),
  (39.6, 21.3, 90, 1300),
  (57.0, -4.5, 90, 700),
  (45.3, 3.0, 110, 900),
)
SPLITS = ('train', 'val', 'test')
_BATCH = 1_024
_BLOCK_KM = 20
_ALPINE_M = 950  # At 45 degrees north; lower towards the pole.
_MIN_SPACING_KM = 2  # LUCAS points lie on a grid of 2 km.


@dataclasses.dataclass(frozen=True)
class Site:
  """A LUCAS point.

  Attributes:
    point_id: eight digits that encode the place, see `data.lucas_grid`.
    country: NUTS 0 code.
    bioregion: name of the biogeographical region.
    place: climate and soil of the point.
  """

  point_id: int
  country: str
  bioregion: str
  place: planet.Place


class Europe:
  """The places of one simulated Earth.

  Args:
    seed: seed of the Earth; the same seed is the same Earth.
  """

  def __init__(self, seed: int):
    self._seed = seed
    self._planet = planet.Planet(seed)

  def points(
    self, split: str, count: int
  ) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the first points of a split.

    The splits own disjoint blocks of 20 km, no point comes twice, and a longer
    list starts with the shorter one.

    Args:
      split: name of the split.
      count: number of points.

    Returns:
      (int64 [count] identifiers, NUTS 0 code of each).
    """
    rng = np.random.default_rng([self._seed, *split.encode()])
    names = np.array(list(COUNTRIES))
    share = np.array([row[3] for row in COUNTRIES.values()], float)
    countries: dict[int, str] = {}
    while len(countries) < count:
      chosen = rng.choice(len(names), _BATCH, p=share / share.sum())
      ids = _scatter(rng, chosen)
      owned = owner(ids, self._seed) == SPLITS.index(split)
      for point, country in zip(ids[owned].tolist(), names[chosen[owned]]):
        countries.setdefault(point, str(country))
    kept = list(countries)[:count]
    return np.array(kept, np.int64), tuple(countries[point] for point in kept)

  def site(self, point_id: int, country: str) -> Site:
    """Returns the site of a point.

    Args:
      point_id: eight digits of the point.
      country: NUTS 0 code of its country.
    """
    lat, lon = (float(x) for x in lucas_grid.coordinates(point_id))
    height = elevation(lat, lon)
    inland = float(np.clip(0.2 + (lon + 8) / 45, 0.1, 0.85))
    dry = float(np.clip((44.5 - lat) / 7, 0, 1))
    place = dataclasses.replace(
      self._planet.place(lat, lon),
      elevation=height,
      continentality=inland,
      monsoon=0.0,
      relief=3 + height / 20,
      wetness=float(np.clip(0.62 - 0.15 * inland - 0.3 * dry, 0.1, 1)),
    )
    return Site(int(point_id), country, bioregion(lat, lon, height), place)


def owner(point_ids: np.ndarray, seed: int) -> np.ndarray:
  """Returns which split owns the block of each point.

  Args:
    point_ids: int64 [P] identifiers.
    seed: seed of the Earth.

  Returns:
    [P] indices into `SPLITS`.
  """
  east, north = point_ids // 10_000, point_ids % 10_000
  word = (east // _BLOCK_KM * 1_000 + north // _BLOCK_KM).astype(np.uint64)
  word += np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
  for shift in (30, 27, 31):  # SplitMix64's finaliser.
    word = (word ^ (word >> np.uint64(shift))) * np.uint64(0xBF58476D1CE4E5B9)
  return (word >> np.uint64(32)) % np.uint64(len(SPLITS))


def _scatter(rng: np.random.Generator, chosen: np.ndarray) -> np.ndarray:
  """Draws a point of the grid in each chosen country, int64 ids."""
  rows = np.array(list(COUNTRIES.values()))[chosen]
  east, north = lucas_grid.forward(rows[:, 0], rows[:, 1])
  angle = rng.uniform(0, 2 * np.pi, len(chosen))
  radius = rows[:, 2] * 1000 * np.sqrt(rng.random(len(chosen)))
  step = _MIN_SPACING_KM * 1000
  east, north = (
    np.rint(x / step).astype(np.int64) * _MIN_SPACING_KM
    for x in (east + radius * np.cos(angle), north + radius * np.sin(angle))
  )
  return east * 10_000 + north


@functools.cache
def _mountains() -> np.ndarray:
  return np.array(_MOUNTAINS)


def elevation(lat: float, lon: float) -> float:
  """Returns the height in m above sea level of a place given in degrees."""
  rows = _mountains()
  away = geo.distance_km(lat, lon, rows[:, 0], rows[:, 1]) / rows[:, 2]
  return float(120 + np.max(rows[:, 3] * np.exp(-(away**2))))


def bioregion(lat: float, lon: float, height: float) -> str:
  """Returns the biogeographical region, by a rule of climate and longitude.

  Args:
    lat: degrees north.
    lon: degrees east.
    height: m above sea level.
  """
  if height > _ALPINE_M - 45 * (lat - 45):
    return 'Alpine'
  if lat < 43.2 + 0.1 * min(lon, 10) - max(lon - 14, 0) * 0.25:
    return 'Mediterranean'
  if lon > 26.2 and lat < 44:
    return 'BlackSea'
  if lon > 25.8 and lat < 48:
    return 'Steppic'
  if geo.distance_km(lat, lon, 46.9, 20.0) < 190:
    return 'Pannonian'
  if lat > 55.8 and lon > 11:
    return 'Boreal'
  return 'Atlantic' if lon < 7.5 else 'Continental'
