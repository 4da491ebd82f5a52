"""The surface of a simulated place under the light of one moment.

Terrain is fractal; land cover follows climate, terrain and chance; leaves
follow season and rain, snow the frost, brightness the slopes and the sun.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from fusion_jax.simulation import climate, noise, planet, spectra, sun

PIXEL_M = 10.0
# ESRI land cover, as TerraMesh numbers it.
WATER, TREES, WETLAND, CROPS, TOWN, BARE, SNOW, RANGE = 1, 2, 3, 4, 5, 6, 7, 9
_FREEZING = 273.15
_MAX_AIR_MASS = 6.0


def _shares(**pure: float) -> np.ndarray:
  """Shares, float32 [E], of `spectra.PURE`."""
  return np.array([pure.get(name, 0) for name in spectra.PURE], np.float32)


def _by_class(rows: Mapping[int, np.ndarray]) -> np.ndarray:
  """Shares, float32 [10, E], of the pure surfaces in every land cover."""
  none = _shares()
  return np.stack([rows.get(name, none) for name in range(10)])


_STRAW = _shares(straw=1)
_LEAF = _by_class(
  {  # In leaf.
    TREES: _shares(forest=1),
    CROPS: _shares(crop=1),
    RANGE: _shares(grass=1),
    WETLAND: _shares(grass=0.75, water=0.25),
    TOWN: _shares(grass=0.8, town=0.2),
  }
)
_DEAD = _by_class(
  {  # Without.
    TREES: _shares(twigs=1),
    CROPS: _shares(soil=0.85, straw=0.15),
    RANGE: _shares(soil=0.5, straw=0.5),
    WETLAND: _shares(straw=0.45, water=0.55),
    TOWN: _shares(town=1),
    BARE: _shares(soil=1),
    WATER: _shares(water=1),
    SNOW: _shares(soil=1),
  }
)


@dataclasses.dataclass(frozen=True)
class Scene:
  """Surface and light of one image, before any sensor.

  Attributes:
    height: float32 [Y, X] m above sea level.
    cover: uint8 [Y, X], land cover under any snow, classes of TerraMesh.
    green: float32 [Y, X] 0..1, share of living leaves.
    snow: float32 [Y, X] 0..1, share of the ground under snow.
    moisture: moisture of the soil, 0..1.
    shade: float32 [Y, X], sunlight relative to flat ground.
    air_mass: relative length of the path from the sun to the sensor.
    water_mm: column water vapour in mm.
    haze: optical depth of the haze.
    veil: float32 [Y, X] 0..0.15, thin high cloud; mostly 0.
    reflectance: float32 [Y, X, 12], reflectance of the lit surface.
  """

  height: np.ndarray
  cover: np.ndarray
  green: np.ndarray
  snow: np.ndarray
  moisture: float
  shade: np.ndarray
  air_mass: float | np.ndarray
  water_mm: float | np.ndarray
  haze: float
  veil: np.ndarray
  reflectance: np.ndarray


def scene(
  place: planet.Place,
  time: int,
  weather: climate.Weather,
  size: int,
  rng: np.random.Generator,
) -> Scene:
  """Draws surface and light of an image.

  Of the weather only the anomaly at the acquisition, the cloud index then and
  the moisture that past rain left are read: `oracle.py` relies on it.

  Args:
    place: the place.
    time: acquisition in UTC seconds since 1970.
    weather: hourly weather around the acquisition.
    size: pixels of 10 m per side.
    rng: generator of terrain, fields and light.
  """
  smooth = noise.fractal(rng, size, 2, 2.1, 250.0)
  rough = noise.fractal(rng, size, 3, 1.5, 120.0)
  height = (
    place.elevation
    + place.relief * smooth[0]
    + _tilt(rng, size, 0.02 * place.relief)
  )
  height = np.maximum(height, 0).astype(np.float32)
  day_k = climate.daily_normal(place, time) + weather.anomaly
  fields, parcels = _parcels(rng, size)
  cover = land_cover(place, smooth, rough, parcels)
  green = _greenness(place, time, cover, fields, rough[2])
  snow = _snow(place, day_k, height, cover, rough[1])
  shade = _shade(place, time, height)
  zenith = sun.cos_zenith(place.lat, place.lon, time)
  humidity = (0.6 + 0.2 * place.wetness) * np.exp(
    0.03 * rng.standard_normal() + 0.02 * weather.cloud[-1]
  )
  # Brightness varies far more than any band's ratio to another, so that no
  # straight line through the bands tells the warmth of the air.
  lit = shade * zenith**0.5 * np.exp(rng.uniform(-1.3, 0.35))
  pure = spectra.endmembers(
    place.soil, weather.moisture, np.exp([0.4, 0.3] * rng.standard_normal(2))
  )
  reflectance = _mix(cover, green, snow, fields) @ pure
  reflectance *= (lit * _texture(rng, cover, size))[..., None]
  return Scene(
    height=height,
    cover=cover,
    green=green,
    snow=snow,
    moisture=weather.moisture,
    shade=shade,
    air_mass=min(1 / zenith, _MAX_AIR_MASS) + 1,
    water_mm=spectra.column_water_mm(day_k, humidity),
    haze=0.15 * np.exp(0.4 * rng.standard_normal() + 0.3 * weather.cloud[-1]),
    veil=_veil(rng, smooth[1]),
    reflectance=reflectance,
  )


def _tilt(rng: np.random.Generator, size: int, metres: float) -> np.ndarray:
  """A plane of random direction, `metres` of rise a hundred pixels."""
  east, north = rng.standard_normal(2) * metres / 100
  steps = np.arange(size) - size / 2
  return east * steps[None] - north * steps[:, None]


def _parcels(
  rng: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Fields as farmers lay them out: (random number, lane mask) [Y, X].

  Strips of random width along a random direction, cut across at lengths and
  offsets of their own, on lines bent a little.
  """
  angle = rng.uniform(0, np.pi)
  y, x = np.mgrid[:size, :size].astype(np.float32)
  along = x * np.cos(angle) + y * np.sin(angle)
  across = y * np.cos(angle) - x * np.sin(angle) + 2 * np.sin(along / 60)
  across += 2 * size
  widths = rng.uniform(9, 34, 4 * size // 9)
  edges = np.cumsum(widths)
  strip = np.searchsorted(edges, across)
  lengths = rng.uniform(18, 70, edges.size)
  shifted = (along + 2 * size) / lengths[strip] + rng.random(edges.size)[strip]
  number = shifted.astype(np.int32)
  chance = rng.random(4096, np.float32)
  value = chance[(strip * 131 + number * 17) % 4096]
  lane = (edges[strip] - across < 1.0) | (
    (shifted - number) * lengths[strip] < 0.8
  )
  return value, lane


def land_cover(
  place: planet.Place, smooth: np.ndarray, rough: np.ndarray, lanes: np.ndarray
) -> np.ndarray:
  """Returns uint8 [Y, X] land cover by a climate rule, terrain and chance.

  Args:
    place: the place.
    smooth: [2, Y, X] smooth noise of unit variance; the first is terrain.
    rough: [3, Y, X] rough noise of unit variance.
    lanes: bool [Y, X], lanes between fields.
  """
  coldest, warmest = _year_range(place)
  wet, warm = place.wetness, np.clip((warmest - 279) / 8, 0, 1)
  frost_free = np.clip((coldest - 263) / 15, 0, 1)
  trees = -2.2 + 5.2 * wet * warm + 0.01 * min(place.relief, 60)
  crops = (
    -0.8
    + 1.9 * warm * np.clip(4 * wet - 0.4, 0, 1)
    + 0.5 * frost_free
    - 1.6 * np.clip(wet - 0.6, 0, 1)
    - 0.02 * place.relief
  )
  bare = 1.5 - 9 * wet + 2.5 * np.clip((279 - warmest) / 6, 0, 1.5)
  water = -2.3 + 1.0 * wet - 0.012 * place.relief
  cover = np.full(smooth.shape[1:], RANGE, np.uint8)
  cover[rough[0] + bare > 0] = BARE
  cover[smooth[1] + 0.25 * rough[2] + crops > 0] = CROPS
  cover[rough[1] + 0.35 * rough[0] + trees > 0.35 + 1.3 * (cover == CROPS)] = (
    TREES
  )
  town = -3.2 + 0.8 * warm * np.clip(3 * wet, 0, 1)
  cover[(smooth[1] - 0.5 * rough[0] + town > 0) & (cover != TREES)] = TOWN
  cover[lanes & ((cover == CROPS) | (cover == TOWN))] = RANGE
  low = 0.15 * rough[2] + water - smooth[0]
  cover[low > -0.25] = np.where(wet > 0.45, WETLAND, RANGE)
  cover[low > 0] = WATER
  if warmest < 274.5:
    cover[cover != WATER] = SNOW
  return cover


def _year_range(place: planet.Place) -> tuple[float, float]:
  """Normal daily means (coldest, warmest) of the year in K."""
  year = climate.daily_normal(place, np.arange(24) * 365.2425 / 24 * 86_400)
  return year.min(), year.max()


def _greenness(
  place: planet.Place,
  time: int,
  cover: np.ndarray,
  fields: np.ndarray,
  rough: np.ndarray,
) -> np.ndarray:
  """Share of living leaves: warmth of the last weeks, rain, harvest."""
  recent = climate.daily_normal(place, time - 15 * 86_400)
  warm = 1 / (1 + np.exp(-(recent - 281.5) / 2.2))
  summer = 205 if place.lat >= 0 else 22.5
  season = np.cos(2 * np.pi * (sun.day_of_year(time) - summer - 25) / 365.2425)
  rain = np.clip(
    place.wetness * 1.9 * (1 + 0.7 * place.monsoon * season), 0.03, 1
  )
  evergreen = np.clip(0.25 + abs(place.lat) / 100 * (recent < 290), 0, 1)
  by_class = np.zeros(10, np.float32)
  by_class[TREES] = evergreen + (1 - evergreen) * warm * min(rain + 0.25, 1)
  by_class[[CROPS, RANGE, WETLAND, TOWN]] = np.array([1, 0.85, 0.9, 0.3]) * (
    warm * rain
  )
  green = by_class[cover] * (1 + 0.15 * rough)
  sown = fields < 0.35 + 0.5 * warm * (season > -0.6)  # Others lie bare.
  green = np.where(
    cover == CROPS,
    green * (0.12 + 0.88 * sown) * (0.6 + 0.8 * ((fields * 37) % 1)),
    green,
  )
  return np.clip(green, 0, 1).astype(np.float32)


def _snow(
  place: planet.Place,
  day_k: float | np.ndarray,
  height: np.ndarray,
  cover: np.ndarray,
  rough: np.ndarray,
) -> np.ndarray:
  """Snow cover 0..1 [Y, X]: only below freezing, thinner where it is dry."""
  cold = _FREEZING - day_k + climate.LAPSE_K_PER_M * (height - place.elevation)
  depth = np.clip(cold / 5, 0, 1) * (0.35 + 0.65 * min(2 * place.wetness, 1))
  lying = np.clip(2.2 * depth - 0.55 + 0.18 * rough, 0, 1)
  lying = np.where(cold > 0, lying, 0)
  lying = np.where((cover == SNOW) & (cold > 0), 1, lying)
  visible_share = np.ones(10, np.float32)
  visible_share[[TREES, TOWN]] = 0.45, 0.75
  lying *= visible_share[cover]
  frozen = np.clip((cold - 4) / 4, 0, 1)
  return np.where(cover == WATER, 0.8 * frozen, lying).astype(np.float32)


def _shade(place: planet.Place, time: int, height: np.ndarray) -> np.ndarray:
  """Sunlight on the slopes relative to flat ground, with skylight."""
  east, north, up = sun.direction(place.lat, place.lon, time)
  south_slope, east_slope = np.gradient(height, PIXEL_M)
  beam = (up - east_slope * east + south_slope * north) / np.sqrt(
    1 + south_slope**2 + east_slope**2
  )
  return (0.2 + 0.8 * np.clip(beam / up, 0.05, 2.0)).astype(np.float32)


def _mix(
  cover: np.ndarray, green: np.ndarray, snow: np.ndarray, fields: np.ndarray
) -> np.ndarray:
  """Shares [Y, X, E] of the pure surfaces of `spectra.PURE`."""
  mixed = _LEAF[cover]
  mixed *= green[..., None]
  rest = _DEAD[cover]
  rest *= (1 - green)[..., None]
  mixed += rest
  stubble = (fields > 0.75) & (cover == CROPS)
  bare = (1 - green[stubble])[:, None].astype(np.float64)
  mixed[stubble] += 0.6 * bare * (_STRAW - mixed[stubble])
  mixed *= (1 - snow)[..., None]
  mixed[..., spectra.PURE.index('snow')] = snow
  return mixed


def _texture(
  rng: np.random.Generator, cover: np.ndarray, size: int
) -> np.ndarray:
  """Brightness of crowns, roofs and tussocks [Y, X], mean 1."""
  grain = rng.standard_normal((size, size), np.float32)
  grain[1:] += 0.5 * grain[:-1]
  strength = np.full(10, 0.04, np.float32)
  strength[[WATER, TREES, TOWN, SNOW]] = 0.02, 0.10, 0.16, 0.02
  return 1 + strength[cover] * grain


def _veil(rng: np.random.Generator, smooth: np.ndarray) -> np.ndarray:
  """Thin cirrus over one image in ten, up to 0.15 of the light."""
  if rng.random() > 0.1:
    return np.zeros_like(smooth)
  return np.clip(0.06 + 0.05 * smooth, 0, 0.15)
