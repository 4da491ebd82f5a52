"""The year of a land cover: its greenness and the surfaces it consists of.

Days are those of a mean continental place; a warm one is earlier. Humps are
double logistic curves, the usual model of NDVI series (Beck et al. 2006).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax.simulation import climate, planet, spectra

_YEAR_DAYS = 365.0
_WIDTH_DAYS = 8.0  # Width of a rise and of a fall.
_REFERENCE_DAY = 98.0  # Spring of the mean continental place.
_GROWTH_K = 279.5


@dataclasses.dataclass(frozen=True)
class Cover:
  """The appearance of a land cover in a year.

  Attributes:
    leaf: shares of `spectra.PURE` when all of it is green.
    dead: shares of `spectra.PURE` when none of it is green.
    base: greenness outside of all humps, 0..1.
    humps: (day of rise, day of fall, height) each; days may leave the year.
    cuts: days on which it is mown or harvested in part.
    flowers: (day, width, strength) of a yellow bloom, or none.
    flood: (first day, last day) under water, or none.
    wild: whether summer drought browns it.
    rough: standard deviation of brightness between pixels.
  """

  leaf: dict[str, float]
  dead: dict[str, float]
  base: float = 0.06
  humps: tuple[tuple[float, float, float], ...] = ()
  cuts: tuple[float, ...] = ()
  flowers: tuple[float, float, float] | None = None
  flood: tuple[float, float] | None = None
  wild: bool = False
  rough: float = 0.04


def _field(*humps: tuple[float, float, float], **changes: Any) -> Cover:
  """Returns the cover of an arable field."""
  return Cover({'crop': 1}, {'soil': 0.8, 'straw': 0.2}, humps=humps, **changes)


_GRASS = (82, 312, 0.5)
COVERS = {
  'A11': Cover(
    {'grass': 0.5, 'forest': 0.1, 'town': 0.4},
    {'town': 0.75, 'soil': 0.25},
    0.25,
    ((100, 300, 0.35),),
    rough=0.14,
  ),
  'A12': Cover(
    {'grass': 0.25, 'town': 0.75},
    {'town': 1},
    0.1,
    ((105, 300, 0.2),),
    rough=0.2,
  ),
  'A21': Cover(
    {'grass': 0.35, 'town': 0.65},
    {'town': 0.8, 'soil': 0.2},
    0.15,
    ((95, 305, 0.3),),
    rough=0.1,
  ),
  'B11': _field((68, 192, 0.84), (-70, 80, 0.25), (296, 480, 0.25)),
  'B12': _field((52, 166, 0.8), (-45, 60, 0.25), (320, 480, 0.2)),
  'B13': _field((88, 181, 0.8)),
  'B14': _field((58, 184, 0.74), (-85, 70, 0.4), (283, 480, 0.4)),
  'B16': _field((158, 268, 0.92)),
  'B17': _field((168, 262, 0.86), flood=(112, 172)),
  'B21': _field((150, 236, 0.86)),
  'B22': _field((146, 302, 0.92)),
  'B31': _field((138, 231, 0.78), flowers=(186, 9, 0.35)),
  'B32': _field(
    (58, 181, 0.88), (-110, 66, 0.5), (262, 480, 0.5), flowers=(121, 10, 0.6)
  ),
  'B33': _field((162, 256, 0.86)),
  'B52': _field((76, 312, 0.6), base=0.28, cuts=(138, 178, 218, 260)),
  'B55': Cover(
    {'grass': 0.7, 'crop': 0.3},
    {'soil': 0.5, 'straw': 0.5},
    0.34,
    ((72, 318, 0.52),),
    (150, 232),
  ),
  'B71': Cover(
    {'forest': 0.55, 'grass': 0.45},
    {'twigs': 0.5, 'grass': 0.3, 'soil': 0.2},
    0.12,
    ((104, 305, 0.75),),
    rough=0.08,
  ),
  'B81': Cover(
    {'forest': 0.55, 'grass': 0.1, 'soil': 0.35},
    {'soil': 0.8, 'twigs': 0.2},
    0.62,
    ((-60, 140, 0.18), (315, 500, 0.18)),
    rough=0.09,
  ),
  'B82': Cover(
    {'crop': 0.4, 'grass': 0.1, 'soil': 0.5},
    {'soil': 0.78, 'twigs': 0.22},
    0.08,
    ((124, 292, 0.8),),
    rough=0.07,
  ),
  'C10': Cover(
    {'forest': 1},
    {'twigs': 0.85, 'soil': 0.15},
    0.1,
    ((112, 302, 0.85),),
    rough=0.1,
  ),
  'C22': Cover(
    {'forest': 0.72, 'twigs': 0.28},
    {'twigs': 1},
    0.8,
    ((110, 300, 0.12),),
    rough=0.1,
  ),
  'C31': Cover(
    {'forest': 0.88, 'twigs': 0.12},
    {'twigs': 0.9, 'soil': 0.1},
    0.44,
    ((112, 300, 0.48),),
    rough=0.1,
  ),
  'D10': Cover(
    {'forest': 0.55, 'grass': 0.35, 'twigs': 0.1},
    {'twigs': 0.6, 'straw': 0.25, 'soil': 0.15},
    0.34,
    ((100, 304, 0.42),),
    wild=True,
    rough=0.1,
  ),
  'D20': Cover(
    {'forest': 0.35, 'grass': 0.45, 'twigs': 0.2},
    {'twigs': 0.5, 'straw': 0.25, 'soil': 0.25},
    0.28,
    ((98, 306, 0.4),),
    wild=True,
    rough=0.08,
  ),
  'E10': Cover(
    {'grass': 0.85, 'forest': 0.15},
    {'straw': 0.65, 'soil': 0.2, 'twigs': 0.15},
    0.3,
    (_GRASS,),
    wild=True,
    rough=0.07,
  ),
  'E20': Cover(
    {'grass': 1}, {'straw': 0.65, 'soil': 0.35}, 0.34, (_GRASS,), wild=True
  ),
  'E30': Cover(
    {'grass': 0.75, 'crop': 0.25},
    {'straw': 0.8, 'soil': 0.2},
    0.18,
    ((102, 290, 0.6),),
    wild=True,
    rough=0.07,
  ),
  'F10': Cover(
    {'grass': 0.5, 'soil': 0.5},
    {'soil': 0.5, 'town': 0.5},
    0.05,
    ((110, 290, 0.15),),
    wild=True,
    rough=0.12,
  ),
  'F20': Cover(
    {'grass': 0.4, 'soil': 0.6},
    {'soil': 1},
    0.04,
    ((100, 300, 0.12),),
    wild=True,
    rough=0.05,
  ),
  'F40': Cover(
    {'grass': 0.6, 'soil': 0.4},
    {'soil': 0.9, 'straw': 0.1},
    0.08,
    ((105, 290, 0.2),),
    wild=True,
    rough=0.06,
  ),
  'G11': Cover({'water': 1}, {'water': 1}, rough=0.03),
  'G21': Cover(
    {'water': 0.75, 'grass': 0.25},
    {'water': 0.82, 'soil': 0.18},
    0.3,
    ((95, 305, 0.5),),
    rough=0.06,
  ),
  'H11': Cover(
    {'grass': 0.7, 'water': 0.3},
    {'straw': 0.5, 'water': 0.5},
    0.15,
    ((118, 292, 0.72),),
    rough=0.07,
  ),
  'H12': Cover(
    {'grass': 0.55, 'twigs': 0.25, 'water': 0.2},
    {'straw': 0.35, 'twigs': 0.35, 'water': 0.3},
    0.3,
    ((120, 288, 0.42),),
    rough=0.06,
  ),
}
_EVERGREEN = dataclasses.replace(  # Holm and cork oak.
  COVERS['C10'],
  leaf={'forest': 0.85, 'twigs': 0.15},
  base=0.75,
  humps=((100, 300, 0.1),),
)


def cover_at(code: str, bioregion: str, use: str = '') -> Cover:
  """Returns how a land cover looks in a region under a use.

  Args:
    code: LUCAS code LC1.
    bioregion: name of the biogeographical region.
    use: LUCAS code LU1; '' if it is not known.
  """
  cover = COVERS[code]
  if code == 'C10' and bioregion == 'Mediterranean':
    cover = _EVERGREEN
  if code in ('E10', 'E20') and use == 'U111':
    cover = dataclasses.replace(cover, cuts=(158, 226))
  if use == 'U362':  # It is mown all summer, and watered.
    cover = dataclasses.replace(
      cover, wild=False, base=0.5, humps=((85, 315, 0.3),)
    )
  return cover


def delay_days(place: planet.Place) -> float:
  """Returns by how many days spring is later than at the mean place."""
  days = np.arange(0, 213)
  warm = climate.daily_normal(place, _seconds(days)) > _GROWTH_K
  first = float(np.argmax(warm)) if warm.any() else 200.0
  return float(np.clip(0.35 * (first - _REFERENCE_DAY), -25, 25))


def greenness(
  cover: Cover, place: planet.Place, days: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Returns the share of living leaves on days of the year.

  Args:
    cover: how the land cover looks in a year.
    place: the place.
    days: [A] days of the year, 0..364.
    rng: generator of the onset, length and strength of this stand's season.

  Returns:
    float64 [A] in 0..1.
  """
  late = delay_days(place) + 4.0 * rng.standard_normal()
  longer = 3.5 * rng.standard_normal()
  lush = np.exp(0.14 * rng.standard_normal())
  green = np.full(len(days), cover.base)
  for rise, fall, height in cover.humps:
    green = green + height * _step(days - rise - late) * _step(
      fall + 0.6 * late + longer - days
    )
  for cut in cover.cuts:
    since = days - cut - late - 6.0 * rng.standard_normal()
    regrown = np.where(since > 0, 1 - np.exp(-since / 14), 1)
    green = green * (0.35 + 0.65 * regrown)
  if cover.wild:
    green = green * (
      1 - _drought(place) * np.exp(-(((days - 215) / 48) ** 2) / 2)
    )
  return np.clip(green * lush, 0, 1)


def shares(cover: Cover, green: np.ndarray, days: np.ndarray) -> np.ndarray:
  """Returns shares [A, E] of the pure surfaces of `spectra.PURE`.

  Args:
    cover: how the land cover looks in a year.
    green: [A] share of living leaves, 0..1.
    days: [A] days of the year, 0..364.
  """
  leaf, dead = _vector(cover.leaf), _vector(cover.dead)
  mixed = green[:, None] * leaf + (1 - green)[:, None] * dead
  if cover.flood:
    first, last = cover.flood
    wet = 0.85 * _step(days - first) * _step(last - days)
    mixed = (1 - wet)[:, None] * mixed + wet[:, None] * _vector({'water': 1})
  return mixed


def bloom(cover: Cover, days: np.ndarray, late: float = 0.0) -> np.ndarray:
  """Returns the strength [A] of yellow flowers, 0..1.

  Args:
    cover: how the land cover looks in a year.
    days: [A] days of the year, 0..364.
    late: days by which the bloom is later than usual.
  """
  if not cover.flowers:
    return np.zeros(len(days))
  day, width, strength = cover.flowers
  return strength * np.exp(-(((days - day - late) / width) ** 2) / 2)


def _drought(place: planet.Place) -> float:
  return float(np.clip((0.47 - place.wetness) * 3, 0, 0.85))


def _step(x: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-x / _WIDTH_DAYS))


def _vector(pure: Mapping[str, float]) -> np.ndarray:
  return np.array([pure.get(name, 0.0) for name in spectra.PURE])


def _seconds(days: np.ndarray) -> np.ndarray:
  return (np.asarray(days, np.float64) + 17_532) * 86_400  # From 2018-01-01.
