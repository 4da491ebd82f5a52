"""Sentinel-2 as the simulated Earth would send it.

Differs from Sen2Cor: band B09 of L2A keeps its water vapour absorption, for
it carries the warmth of the air; the real processor divides it out.
"""

import dataclasses

import numpy as np

from fusion_jax import modalities
from fusion_jax.data.sources.simulated import climate, noise, spectra, sun

PIXEL_M = 10.0
WATER, TREES, WETLAND, CROPS, TOWN, BARE, SNOW, RANGE = 1, 2, 3, 4, 5, 6, 7, 9
_FREEZING = 273.15
_COARSE = {2: (4, 5, 6, 8, 10, 11), 6: (0, 9)}  # Pixels a cell: bands.
_MAX_AIR_MASS = 6.0


@dataclasses.dataclass(frozen=True)
class Scene:
  """Surface and light of one image, before any sensor.

  Attributes:
    height: float32 [Y, X] m.
    cover: uint8 [Y, X], land cover under any snow, classes of TerraMesh.
    green: float32 [Y, X] 0..1, share of living leaves.
    snow: float32 [Y, X] 0..1.
    moisture: 0..1, of the soil.
    shade: float32 [Y, X], sunlight relative to flat ground.
    air_mass: of the path sun - ground - sensor.
    water_mm: column water vapour.
    haze: optical depth.
    veil: float32 [Y, X] 0..0.15, thin high cloud; mostly 0.
    reflectance: float32 [Y, X, 12], of the surface, lit.
  """
  height: np.ndarray
  cover: np.ndarray
  green: np.ndarray
  snow: np.ndarray
  moisture: float
  shade: np.ndarray
  air_mass: float
  water_mm: float
  haze: float
  veil: np.ndarray
  reflectance: np.ndarray


def scene(place, time, weather, size, rng):
  """Draws the `Scene` [size, size] of a place at UTC seconds `time`."""
  smooth = noise.fractal(rng, size, 2, 2.1, 250.0)
  rough = noise.fractal(rng, size, 3, 1.5, 120.0)
  height = place.elevation + place.relief * smooth[0] + _tilt(
      rng, size, 0.02 * place.relief)
  height = np.maximum(height, 0).astype(np.float32)
  day_k = climate.daily_normal(place, time) + weather.anomaly
  fields, lots = _parcels(rng, size)
  cover = land_cover(place, smooth, rough, lots)
  green = _greenness(place, time, cover, fields, rough[2])
  snow = _snow(place, day_k, height, cover, rough[1])
  shade = _shade(place, time, height)
  zenith = sun.cos_zenith(place.lat, place.lon, time)
  humidity = (0.6 + 0.2 * place.wetness) * np.exp(
      0.03 * rng.standard_normal() + 0.02 * weather.cloud[-1])
  lit = shade * zenith**0.5 * np.exp(rng.uniform(-1.3, 0.35))
  pure = spectra.endmembers(place.soil, weather.moisture,
                            np.exp([0.4, 0.3] * rng.standard_normal(2)))
  reflectance = _mix(cover, green, snow, fields) @ pure
  reflectance *= (lit * _texture(rng, cover, size))[..., None]
  return Scene(
      height=height, cover=cover, green=green, snow=snow,
      moisture=weather.moisture, shade=shade,
      air_mass=min(1 / zenith, _MAX_AIR_MASS) + 1,
      water_mm=spectra.column_water_mm(day_k, humidity),
      haze=0.15 * np.exp(0.4 * rng.standard_normal() +
                         0.3 * weather.cloud[-1]),
      veil=_veil(rng, smooth[1]),
      reflectance=reflectance)


def _tilt(rng, size, metres):
  """A plane of random direction, `metres` of rise a hundred pixels."""
  east, north = rng.standard_normal(2) * metres / 100
  steps = np.arange(size) - size / 2
  return east * steps[None] - north * steps[:, None]


def _parcels(rng, size):
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
  shifted = (along + 2 * size) / lengths[strip] + rng.random(
      edges.size)[strip]
  number = shifted.astype(np.int32)
  chance = rng.random(4096, np.float32)
  value = chance[(strip * 131 + number * 17) % 4096]
  lane = ((edges[strip] - across < 1.0) |
          ((shifted - number) * lengths[strip] < 0.8))
  return value, lane


def land_cover(place, smooth, rough, lanes):
  """uint8 [Y, X] classes by a climate rule, terrain and chance."""
  coldest, warmest = _year_range(place)
  wet, warm = place.wetness, np.clip((warmest - 279) / 8, 0, 1)
  frost_free = np.clip((coldest - 263) / 15, 0, 1)
  trees = -2.2 + 5.2 * wet * warm + 0.01 * min(place.relief, 60)
  crops = (-0.8 + 1.9 * warm * np.clip(4 * wet - 0.4, 0, 1) +
           0.5 * frost_free - 1.6 * np.clip(wet - 0.6, 0, 1) -
           0.02 * place.relief)
  bare = 1.5 - 9 * wet + 2.5 * np.clip((279 - warmest) / 6, 0, 1.5)
  water = -2.3 + 1.0 * wet - 0.012 * place.relief
  cover = np.full(smooth.shape[1:], RANGE, np.uint8)
  cover[rough[0] + bare > 0] = BARE
  cover[smooth[1] + 0.25 * rough[2] + crops > 0] = CROPS
  cover[rough[1] + 0.35 * rough[0] + trees > 0.35 + 1.3 * (
      cover == CROPS)] = TREES
  town = -3.2 + 0.8 * warm * np.clip(3 * wet, 0, 1)
  cover[(smooth[1] - 0.5 * rough[0] + town > 0) & (cover != TREES)] = TOWN
  cover[lanes & ((cover == CROPS) | (cover == TOWN))] = RANGE
  low = 0.15 * rough[2] + water - smooth[0]
  cover[low > -0.25] = np.where(wet > 0.45, WETLAND, RANGE)
  cover[low > 0] = WATER
  if warmest < 274.5:
    cover[cover != WATER] = SNOW
  return cover


def _year_range(place):
  """Normal daily means (coldest, warmest) of the year in K."""
  year = climate.daily_normal(place, np.arange(24) * 365.2425 / 24 * 86_400)
  return year.min(), year.max()


def _greenness(place, time, cover, fields, rough):
  """Share of living leaves: warmth of the last weeks, rain, harvest."""
  recent = climate.daily_normal(place, time - 15 * 86_400)
  warm = 1 / (1 + np.exp(-(recent - 281.5) / 2.2))
  summer = 205 if place.lat >= 0 else 22.5
  season = np.cos(2 * np.pi * (
      sun.day_of_year(time) - summer - 25) / 365.2425)
  rain = np.clip(place.wetness * 1.9 * (1 + 0.7 * place.monsoon * season),
                 0.03, 1)
  evergreen = np.clip(0.25 + abs(place.lat) / 100 * (recent < 290), 0, 1)
  by_class = np.zeros(10, np.float32)
  by_class[TREES] = evergreen + (1 - evergreen) * warm * min(rain + 0.25, 1)
  by_class[[CROPS, RANGE, WETLAND, TOWN]] = np.array([1, 0.85, 0.9, 0.3]) * (
      warm * rain)
  green = by_class[cover] * (1 + 0.15 * rough)
  sown = fields < 0.35 + 0.5 * warm * (season > -0.6)  # Others lie bare.
  green = np.where(cover == CROPS, green * (0.12 + 0.88 * sown) *
                   (0.6 + 0.8 * ((fields * 37) % 1)), green)
  return np.clip(green, 0, 1).astype(np.float32)


def _snow(place, day_k, height, cover, rough):
  """Snow cover 0..1 [Y, X]: only below freezing, thinner where it is dry."""
  cold = _FREEZING - day_k + climate.LAPSE_K_PER_M * (
      height - place.elevation)
  depth = np.clip(cold / 5, 0, 1) * (0.35 + 0.65 * min(2 * place.wetness, 1))
  lying = np.clip(2.2 * depth - 0.55 + 0.18 * rough, 0, 1)
  lying = np.where(cold > 0, lying, 0)
  lying = np.where((cover == SNOW) & (cold > 0), 1, lying)
  seen = np.ones(10, np.float32)
  seen[[TREES, TOWN]] = 0.45, 0.75
  lying *= seen[cover]
  frozen = np.clip((cold - 4) / 4, 0, 1)
  return np.where(cover == WATER, 0.8 * frozen, lying).astype(np.float32)


def _shade(place, time, height):
  """Sunlight on the slopes relative to flat ground, with skylight."""
  east, north, up = sun.direction(place.lat, place.lon, time)
  south_slope, east_slope = np.gradient(height, PIXEL_M)
  beam = (up - east_slope * east + south_slope * north) / np.sqrt(
      1 + south_slope**2 + east_slope**2)
  return (0.2 + 0.8 * np.clip(beam / up, 0.05, 2.0)).astype(np.float32)


def _mix(cover, green, snow, fields):
  """Shares [Y, X, E] of the pure surfaces of `spectra.PURE`."""
  leaf = np.zeros((10, len(spectra.PURE)), np.float32)
  dead = np.zeros_like(leaf)
  def put(table, name, **shares):
    for pure, share in shares.items():
      table[name, spectra.PURE.index(pure)] = share
  put(leaf, TREES, forest=1)
  put(leaf, CROPS, crop=1)
  put(leaf, RANGE, grass=1)
  put(leaf, WETLAND, grass=0.75, water=0.25)
  put(leaf, TOWN, grass=0.8, town=0.2)
  put(dead, TREES, twigs=1)
  put(dead, CROPS, soil=0.85, straw=0.15)
  put(dead, RANGE, soil=0.5, straw=0.5)
  put(dead, WETLAND, straw=0.45, water=0.55)
  put(dead, TOWN, town=1)
  put(dead, BARE, soil=1)
  put(dead, WATER, water=1)
  put(dead, SNOW, soil=1)
  mixed = leaf[cover]
  mixed *= green[..., None]
  rest = dead[cover]
  rest *= (1 - green)[..., None]
  mixed += rest
  stubble = (fields > 0.75) & (cover == CROPS)
  straw = np.zeros(len(spectra.PURE), np.float32)
  straw[spectra.PURE.index('straw')] = 1
  bare = (1 - green[stubble])[:, None].astype(np.float64)
  mixed[stubble] += 0.6 * bare * (straw - mixed[stubble])
  mixed *= (1 - snow)[..., None]
  mixed[..., spectra.PURE.index('snow')] = snow
  return mixed


def _texture(rng, cover, size):
  """Brightness of crowns, roofs and tussocks [Y, X], mean 1."""
  grain = rng.standard_normal((size, size), np.float32)
  grain[1:] += 0.5 * grain[:-1]
  strength = np.full(10, 0.04, np.float32)
  strength[[WATER, TREES, TOWN, SNOW]] = 0.02, 0.10, 0.16, 0.02
  return 1 + strength[cover] * grain


def _veil(rng, smooth):
  """Thin cirrus over one image in ten, up to 0.15 of the light."""
  if rng.random() > 0.1:
    return np.zeros_like(smooth)
  return np.clip(0.06 + 0.05 * smooth, 0, 0.15)


def _absorbed(scene):
  """Surface reflectance with the water vapour of B09: a new array."""
  light = scene.reflectance.copy()
  light[..., spectra.B09] *= spectra.vapour_transmission(
      scene.water_mm, 2)
  return light


def _sense(light, rng):
  """int16 counts: noise of the detector, and the coarse bands' own pixels."""
  noise_sd = 0.008 * light
  noise_sd += 0.0015
  noise_sd *= rng.standard_normal(light.shape, np.float32)
  light += noise_sd
  for cell, bands in _COARSE.items():
    light[..., bands] = _blocks(light[..., bands], cell)
  light *= 1e4
  np.rint(light, light)
  return np.clip(light, 1, 16_000, light).astype(np.int16)


def _blocks(image, cell):
  """Means over cells of `cell` pixels a side, at the size that came in."""
  starts = np.arange(0, image.shape[0], cell)
  counts = np.diff([*starts, image.shape[0]])
  for axis in (0, 1):
    image = np.add.reduceat(image, starts, axis)
    shape = [1, 1, 1]
    shape[axis] = -1
    image = image / counts.astype(np.float32).reshape(shape)
  return image.repeat(counts, 0).repeat(counts, 1)


def s2l2a(scene, rng):
  """int16 [Y, X, 12] surface reflectance x 10,000, with leftover haze."""
  light = _absorbed(scene)
  light += 0.3 * scene.air_mass * scene.haze * spectra.HAZE
  light += scene.veil[..., None] * (0.5 - light)
  return _sense(light, rng)


def s2l1c(scene, rng):
  """int16 [Y, X, 13] top-of-atmosphere reflectance x 10,000; no offset."""
  through = np.exp(-scene.air_mass * (
      spectra.RAYLEIGH + 0.5 * scene.haze * spectra.HAZE / spectra.HAZE[0] *
      0.3))
  light = _absorbed(scene) * through.astype(np.float32)
  light += 0.5 * scene.air_mass * spectra.RAYLEIGH
  light += scene.haze * scene.air_mass * spectra.HAZE
  light += scene.veil[..., None] * (0.5 - light)
  cirrus = 0.0015 + 0.3 * scene.veil[..., None] + 0.001 * scene.snow[..., None]
  b10 = modalities.S2L1C_BANDS.index('B10')
  light = np.concatenate([light[..., :b10], cirrus, light[..., b10:]], -1)
  return _sense_l1c(light.astype(np.float32), rng, b10)


def _sense_l1c(light, rng, b10):
  counts = _sense(np.delete(light, b10, -1), rng)
  cirrus = _blocks(light[..., b10:b10 + 1], 6) + 0.0003 * _blocks(
      rng.standard_normal((*light.shape[:2], 1), np.float32), 6)
  cirrus = np.clip(np.rint(cirrus * 1e4), 1, 16_000).astype(np.int16)
  return np.concatenate([counts[..., :b10], cirrus, counts[..., b10:]], -1)


def s2rgb(counts):
  """uint8 [Y, X, 3] of L2A counts: red, green, blue, stretched."""
  visible = counts[..., [3, 2, 1]].astype(np.float32)
  top = max(1_000.0, float(np.percentile(visible[::4, ::4], 99)))
  return np.clip(visible * (255 / top), 0, 255).astype(np.uint8)


def ndvi(counts):
  """float32 [Y, X, 1]: (B08 - B04) / (B08 + B04) of L2A counts."""
  red = counts[..., 3:4].astype(np.float32)
  near = counts[..., 7:8].astype(np.float32)
  return (near - red) / (near + red)


def lulc(scene):
  """uint8 [Y, X, 1]: the cover, snow where snow hides it."""
  return np.where(scene.snow > 0.5, SNOW, scene.cover)[..., None].astype(
      np.uint8)


def dem(scene):
  """int16 [Y, X, 1] metres."""
  return np.rint(scene.height).astype(np.int16)[..., None]


def sentinel1(scene, rng, terrain_corrected):
  """float16 [Y, X, 2] backscatter VV, VH in dB: roughness, moisture, snow.

  Args:
    scene: `Scene`.
    rng: NumPy generator, of the speckle.
    terrain_corrected: True for RTC; GRD keeps the slopes facing the radar.
  """
  vv = np.full(10, -12.0, np.float32)
  vh = np.full(10, -19.0, np.float32)
  for name, one, other in ((WATER, -19, -27), (TREES, -8.5, -14.5),
                           (WETLAND, -11, -19), (CROPS, -11, -18),
                           (TOWN, -4, -11.5), (BARE, -13.5, -22),
                           (SNOW, -13, -20.5), (RANGE, -12, -19.5)):
    vv[name], vh[name] = one, other
  open_ground = (scene.cover != WATER) & (scene.cover != TREES)
  wet = np.where(open_ground, 3.5 * scene.moisture * (1 - scene.snow), 0)
  decibel = np.stack([vv[scene.cover] + wet + 1.0 * scene.green,
                      vh[scene.cover] + 0.7 * wet + 2.5 * scene.green], -1)
  decibel -= 1.5 * scene.snow[..., None]
  if not terrain_corrected:
    facing = -np.gradient(scene.height, PIXEL_M, axis=1)  # Looks east.
    decibel += np.clip(12 * facing, -6, 6)[..., None]
  speckle = rng.standard_gamma(5.0, decibel.shape, np.float32) / 5
  decibel += 10 * np.log10(speckle + 1e-3)
  return decibel.astype(np.float16)
