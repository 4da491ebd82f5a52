"""Sentinel-2 over a simulated LUCAS point in 2018: every image of the year.

The surface is a mixture of two covers, under snow, haze, shadow and clouds,
most of which the scene classification detects.
"""

import dataclasses

import numpy as np

from fusion_jax.data import composites
from fusion_jax.simulation import (
  climate,
  europe,
  habitats,
  phenology,
  spectra,
)

CORE = 9  # Pixels per side of the patch that every example is cut from.
_COLUMNS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]  # Of `spectra`: `composites.BANDS`.
_REVISIT_DAYS = 5
_MOST_CLOUD = 0.5  # Images with more are not in the archive.
_JANUARY_1 = 17_532  # Days since 1970.
VEGETATION, BARE, WATER, SHADOW, MEDIUM, HIGH, CIRRUS, SNOW = (
  4,
  5,
  6,
  3,
  8,
  9,
  10,
  11,
)
_CLOUD_KINDS = (HIGH, CIRRUS, MEDIUM, SHADOW)
_CLOUD_SHARES = (0.62, 0.14, 0.12, 0.12)
_CLOUD = np.array([0.62, 0.62, 0.62, 0.63, 0.64, 0.65, 0.66, 0.66, 0.48, 0.40])
_YELLOW = np.array([0, 0.10, 0.09, 0.03, 0, 0, 0, 0, 0, 0])  # Of flowers.
_SNOW_BELOW_K = 264.0


@dataclasses.dataclass(frozen=True)
class Acquisitions:
  """The images of a year.

  Attributes:
    days: int [A], days since 1 January 2018, ascending.
    counts: uint16 [A, 10, Y, X], reflectance x 10,000, bands of
      `composites.BANDS`.
    scene_class: uint8 [A, Y, X], classes of the scene classification (SCL).
  """

  days: np.ndarray
  counts: np.ndarray
  scene_class: np.ndarray

  @property
  def months(self) -> np.ndarray:
    """Months of the images: bool [A, 12], one True in every row."""
    ends = np.cumsum([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    return np.searchsorted(ends, self.days, side='right')[:, None] == np.arange(
      12
    )


def draw(
  site: europe.Site, habitat: habitats.Habitat, rng: np.random.Generator
) -> Acquisitions:
  """Draws the images of the central 9 x 9 pixels around a point.

  Args:
    site: the LUCAS point.
    habitat: what covers the point and its surroundings.
    rng: generator of clouds, noise and the variation between years.
  """
  days, cloudy = _dates(site, rng)
  own, beside = _surfaces(site, habitat, days, rng)
  share = _edge(habitat.share, CORE, rng)
  scene = _texture(site, habitat, share, rng)
  return _observe(site, days, cloudy, own, beside, share, scene, rng)


def around(
  core: Acquisitions,
  site: europe.Site,
  habitat: habitats.Habitat,
  size: int,
  rng: np.random.Generator,
) -> Acquisitions:
  """Puts images in the middle of a larger patch of the neighbouring cover.

  Only an archive needs it; the centre does not change.

  Args:
    core: images of the central 9 x 9 pixels.
    site: the LUCAS point.
    habitat: what covers the point and its surroundings.
    size: pixels per side of the patch, more than 9.
    rng: generator that nothing else draws from.
  """
  start = size // 2 - CORE // 2
  _, beside = _surfaces(site, habitat, core.days, rng)
  share = np.zeros((size, size))
  cloudy = core.scene_class[:, 0, 0] >= MEDIUM
  whole = _observe(
    site,
    core.days,
    cloudy,
    beside,
    beside,
    share,
    _texture(site, habitat, share, rng),
    rng,
  )
  middle = np.s_[start : start + CORE]
  whole.counts[..., middle, middle] = core.counts
  whole.scene_class[..., middle, middle] = core.scene_class
  return whole


def _dates(
  site: europe.Site, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Draws days with an image, and whether the point is under a cloud."""
  days = np.arange(rng.integers(_REVISIT_DAYS), 365, _REVISIT_DAYS)
  winter = np.cos(2 * np.pi * (days - 15) / 365)
  north = np.clip((site.place.lat - 44) / 12, -0.6, 1)
  mean = np.clip(0.33 + 0.12 * north + 0.12 * winter * (0.5 + north), 0.1, 0.9)
  cover = rng.beta(2.2 * mean, 2.2 * (1 - mean))
  usable = cover < _MOST_CLOUD
  if not usable.any():
    usable[np.argmin(cover)] = True
  return days[usable], rng.random(usable.sum()) < cover[usable]


def _surfaces(
  site: europe.Site,
  habitat: habitats.Habitat,
  days: np.ndarray,
  rng: np.random.Generator,
) -> list[np.ndarray]:
  """Returns the spectra [A, 10] of the two covers of a patch, on its days."""
  moisture = np.clip(
    0.35
    + 0.25 * np.cos(2 * np.pi * (days - 20) / 365)
    + 0.15 * rng.standard_normal(len(days)),
    0,
    1,
  )
  spectra_of_covers = []
  for code, use in ((habitat.cover, habitat.use), (habitat.neighbour, '')):
    cover = phenology.cover_at(code, site.bioregion, use)
    green = phenology.greenness(cover, site.place, days, rng)
    mixed = phenology.shares(cover, green, days)
    soil = site.place.soil + 0.25 * rng.dirichlet(np.ones(3))
    bright = np.exp([0.22, 0.14] * rng.standard_normal(2))
    dry, wet = (
      spectra.endmembers(soil / soil.sum(), m, bright)[:, _COLUMNS]
      for m in (0.0, 1.0)
    )
    spectrum = mixed @ dry + moisture[:, None] * (mixed @ (wet - dry))
    flowers = phenology.bloom(
      cover, days, 0.6 * phenology.delay_days(site.place)
    )
    spectrum += flowers[:, None] * _YELLOW
    spectra_of_covers.append(spectrum.astype(np.float32))
  return spectra_of_covers


def _edge(share: float, size: int, rng: np.random.Generator) -> np.ndarray:
  """Draws the share 0..1 [size, size] of the point's cover, with a border."""
  angle = rng.uniform(0, 2 * np.pi)
  steps = np.arange(size) - size // 2
  across = steps[:, None] * np.sin(angle) + steps[None] * np.cos(angle)
  middle = np.log((share + 0.02) / (1.02 - share))
  return 1 / (1 + np.exp(-(middle + rng.uniform(0.1, 0.9) * across)))


def _texture(
  site: europe.Site,
  habitat: habitats.Habitat,
  share: np.ndarray,
  rng: np.random.Generator,
) -> np.ndarray:
  """Draws the brightness [size, size] of crowns and roofs, with mean 1."""
  own, beside = (
    phenology.cover_at(code, site.bioregion).rough
    for code in (habitat.cover, habitat.neighbour)
  )
  rough = share * own + (1 - share) * beside
  return 1 + rough * rng.standard_normal(share.shape)


def _observe(
  site: europe.Site,
  days: np.ndarray,
  cloudy: np.ndarray,
  own: np.ndarray,
  beside: np.ndarray,
  share: np.ndarray,
  texture: np.ndarray,
  rng: np.random.Generator,
) -> Acquisitions:
  """Simulates what the sensor and its scene classification observe."""
  size, number = len(share), len(days)
  share, texture = share.astype(np.float32), texture.astype(np.float32)
  surface = beside[:, :, None, None] + (own - beside)[:, :, None, None] * share
  surface *= texture
  snow = _snow(site, days, rng)[:, None, None, None]
  surface += snow * (
    spectra.SPECTRA[spectra.PURE.index('snow')][_COLUMNS][:, None, None]
    - surface
  )
  light = np.exp(0.05 * rng.standard_normal(number))
  haze = rng.gamma(1.5, 0.08, number)
  surface *= light[:, None, None, None]
  surface += (haze[:, None] * spectra.HAZE[_COLUMNS])[..., None, None]
  kind = rng.choice(_CLOUD_KINDS, number, p=_CLOUD_SHARES)
  kind = np.where(cloudy, kind, VEGETATION)
  kind = np.where(~cloudy & (snow[:, 0, 0, 0] > 0.4), SNOW, kind)
  depth = _depth(kind, rng)[:, None, None, None]
  surface += depth * (_CLOUD[:, None, None] - surface)
  surface *= np.where(kind == SHADOW, rng.uniform(0.35, 0.7, number), 1)[
    :, None, None, None
  ]
  noise = rng.standard_normal(surface.shape, np.float32)
  surface += (np.float32(0.004) + np.float32(0.02) * surface) * noise
  counts = np.clip(np.rint(surface * 10_000), 1, 20_000).astype(np.uint16)
  scene_class = np.broadcast_to(kind[:, None, None], (number, size, size))
  return Acquisitions(days, counts, _ground(scene_class, counts))


def _snow(
  site: europe.Site, days: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Returns the share [A] of the ground under snow."""
  normal = climate.daily_normal(site.place, (days + _JANUARY_1) * 86_400)
  cold = _SNOW_BELOW_K - normal - 3.0 * rng.standard_normal(len(days))
  return np.clip(cold / 5, 0, 0.9)


def _depth(kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Draws the share [A] of the light from clouds, some of them undetected."""
  low = np.select(
    [kind == HIGH, kind == CIRRUS, kind == MEDIUM], [0.6, 0.1, 0.2], 0.0
  )
  span = np.select(
    [kind == HIGH, kind == CIRRUS, kind == MEDIUM], [0.4, 0.25, 0.4], 0.0
  )
  missed = (kind == VEGETATION) & (rng.random(len(kind)) < 0.05)
  span = np.where(missed, 0.35, span)
  return low + span * rng.random(len(kind))


def _ground(scene_class: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """Separates clear vegetation, soil and water by red and near infrared."""
  red, infrared = counts[:, 2].astype(int), counts[:, 6].astype(int)
  index = (infrared - red) / np.maximum(infrared + red, 1)
  clear = np.where(
    infrared < 500, WATER, np.where(index > 0.3, VEGETATION, BARE)
  )
  return np.where(scene_class == VEGETATION, clear, scene_class).astype(
    np.uint8
  )


assert len(_COLUMNS) == len(composites.BANDS)
assert set(habitats.CROPS) <= set(phenology.COVERS)
