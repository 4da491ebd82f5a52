"""Land cover, use and habitat of simulated LUCAS points.

The land cover is drawn by region, then its kind, its use and its habitat; and
the cover next to it, which pixels and photos also show.
"""

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from fusion_jax.data import labels
from fusion_jax.simulation import europe

T = TypeVar('T')

NATURAL = 'U420'
# Chance of each LUCAS code of land cover: where its region is not named below.
_COVERS = {
  'A11': 6,
  'A12': 2,
  'A21': 4,
  'B': 30,
  'C10': 8,
  'C22': 8,
  'C31': 4,
  'D10': 4,
  'D20': 5,
  'E10': 4,
  'E20': 12,
  'E30': 2,
  'F10': 2,
  'F20': 2,
  'F40': 4,
  'G11': 4,
  'G21': 3,
  'H11': 3,
  'H12': 3,
}
_BY_REGION = {  # Times so much.
  'Alpine': {
    'B': 0.2,
    'C22': 2,
    'C31': 2,
    'F10': 6,
    'D20': 1.5,
    'F20': 0,
    'E20': 1.5,
    'A12': 0.3,
  },
  'Boreal': {
    'C22': 2.2,
    'C31': 2,
    'C10': 0.6,
    'H12': 3,
    'G11': 2,
    'D20': 0.6,
    'B': 0.7,
    'F40': 0.4,
  },
  'Mediterranean': {
    'D10': 2.2,
    'D20': 2.2,
    'F40': 2,
    'F10': 1.6,
    'H12': 0,
    'E20': 0.6,
    'C31': 0.4,
    'B': 1.1,
  },
  'Atlantic': {'E20': 1.7, 'C22': 0.6, 'F20': 1.8},
  'Pannonian': {'B': 1.3, 'H12': 0.3},
  'Steppic': {'B': 1.3, 'C22': 0.3, 'E10': 1.6},
  'BlackSea': {'F20': 2},
}
_CROPS = {
  'B11': 16,
  'B13': 12,
  'B14': 6,
  'B16': 14,
  'B21': 7,
  'B22': 7,
  'B31': 8,
  'B32': 10,
  'B33': 5,
  'B52': 6,
  'B55': 9,
  'B71': 5,
  'B82': 4,
}
_CROPS_OF = {
  'Mediterranean': {
    'B12': 14,
    'B13': 8,
    'B16': 8,
    'B17': 8,
    'B31': 9,
    'B52': 7,
    'B71': 6,
    'B81': 16,
    'B82': 14,
  },
  'Boreal': {'B11': 8, 'B13': 20, 'B14': 7, 'B21': 8, 'B32': 8, 'B55': 18},
  'Alpine': {'B13': 6, 'B16': 8, 'B21': 8, 'B55': 16, 'B71': 8, 'B82': 6},
}
CROPS = tuple(sorted(set(_CROPS).union(*_CROPS_OF.values())))
_USES = {  # By the longest prefix of the land cover.
  'A11': {'U370': 70, 'U221': 10, 'U350': 12, 'U341': 8},
  'A12': {'U370': 40, 'U341': 30, 'U350': 20, 'U226': 10},
  'A21': {'U312': 60, 'U361': 15, 'U210': 10, 'U330': 10, 'U322': 5},
  'B': {'U111': 100},
  'C': {'U120': 72, NATURAL: 28},
  'D': {NATURAL: 80, 'U111': 20},
  'E': {'U111': 66, NATURAL: 16, 'U362': 18},
  'E30': {NATURAL: 60, 'U415': 40},
  'F': {NATURAL: 100},
  'F40': {'U140': 45, 'U112': 55},
  'G': {NATURAL: 60, 'U130': 20, 'U321': 20},
  'H': {NATURAL: 100},
}
_HABITATS = {  # By the longest prefix, unless region or use decides.
  'A11': 'Low density buildings',
  'A12': 'Buildings of cities, towns and villages',
  'A21': 'Transport networks and other constructed hard-surfaced areas',
  'B': 'Arable land and market gardens',
  'B71': 'Lines of trees, small '
  'anthropogenic woodlands, recently felled woodland, early-stage woodland '
  'and coppice',
  'B8': 'Shrub plantations',
  'C10': 'Broadleaved deciduous woodland',
  'C22': 'Coniferous woodland',
  'C31': 'Mixed deciduous and coniferous woodland',
  'D': 'Temperate and mediterranean-montane scrub',
  'E': 'Mesic grasslands',
  'E10': 'Sparsely wooded grasslands',
  'E30': 'Seasonally wet and wet grasslands',
  'F10': 'Inland cliffs, rock pavements and outcrops',
  'F20': 'Coastal dunes and sandy shores',
  'F40': 'Miscellaneous inland habitats with very sparse or no vegetation',
  'G11': 'Surface standing waters',
  'G21': 'Surface running waters',
  'H11': 'Sedge and reedbeds, normally without free-standing water',
  'H12': 'Raised and blanket bogs',
}
_HABITATS_OF = {
  'Mediterranean': {
    'C10': 'Broadleaved evergreen woodland',
    'D10': 'Maquis, arborescent matorral and thermo-Mediterranean brushes',
    'D20': 'Garrigue',
    'E20': 'Dry grasslands',
  },
  'Alpine': {
    'D': 'Arctic, alpine and subalpine scrub',
    'F10': 'Screes',
    'E20': 'Alpine and subalpine grasslands',
  },
  'Boreal': {
    'D': 'Arctic, alpine and subalpine scrub',
    'H12': 'Aapa, palsa and polygon mires',
  },
  'Atlantic': {'D20': 'Temperate shrub heathland'},
  'Steppic': {'E20': 'Dry grasslands'},
}
_HABITATS_OF_USE = {
  'U140': 'Extractive industrial sites',
  'U322': 'Waste deposits',
  'U362': 'Cultivated areas of gardens and parks',
  'U321': 'Highly artificial man-made waters and associated structures',
}
_ASTRAY = 0.07  # Share of the pixels that lie mostly on the neighbour.


@dataclasses.dataclass(frozen=True)
class Habitat:
  """One LUCAS point on the ground.

  Attributes:
    cover: LUCAS code LC1 of the point.
    use: LUCAS code LU1 of the point.
    neighbour: LUCAS code LC1 of the cover next to the point.
    share: share 0..1 of the pixel that has the point's own cover.
    labels: {task: class index} (`data.labels`), -1 for none.
  """

  cover: str
  use: str
  neighbour: str
  share: float
  labels: dict[str, int]

  @property
  def seen(self) -> str:
    """LC1 code of the larger part of the pixel, the best prediction of it."""
    return self.cover if self.share >= 0.5 else self.neighbour


def draw(site: europe.Site, rng: np.random.Generator) -> Habitat:
  """Draws what a surveyor finds at a site.

  Args:
    site: the LUCAS point.
    rng: generator of cover, use and neighbour.
  """
  cover = draw_cover(site.bioregion, rng)
  use = _choose(_uses(cover), rng)
  neighbour = draw_cover(site.bioregion, rng)
  share = 0.5 + 0.5 * rng.beta(3.0, 1.0)
  if rng.random() < _ASTRAY:
    share = rng.uniform(0.05, 0.5)
  return Habitat(
    cover,
    use,
    neighbour,
    float(share),
    {
      'land_cover': labels.of_code('land_cover', cover),
      'land_use': labels.of_code('land_use', use),
      'crops': labels.of_code('crops', cover),
      'eunis': labels.of_name(
        'eunis', habitat_name(cover, use, site.bioregion)
      ),
      'bioregion': labels.of_name('bioregion', site.bioregion),
      'country': labels.of_code('country', site.country),
    },
  )


def draw_cover(bioregion: str, rng: np.random.Generator) -> str:
  """Draws an LC1 code of a biogeographical region."""
  factors = _BY_REGION.get(bioregion, {})
  cover = _choose(
    {code: chance * factors.get(code, 1) for code, chance in _COVERS.items()},
    rng,
  )
  if cover == 'B':
    cover = _choose(_CROPS_OF.get(bioregion, _CROPS), rng)
  return cover


def habitat_name(cover: str, use: str, bioregion: str) -> str:
  """Returns the EUNIS class of a land cover under a use in a region.

  Args:
    cover: LUCAS code LC1.
    use: LUCAS code LU1.
    bioregion: name of the biogeographical region.

  Raises:
    ValueError: if the land cover has no habitat.
  """
  if use in _HABITATS_OF_USE:
    return _HABITATS_OF_USE[use]
  name = _longest(_HABITATS_OF.get(bioregion, {}), cover) or _longest(
    _HABITATS, cover
  )
  if name is None:
    raise ValueError(f'The land cover {cover!r} has no habitat.')
  return name


def likely_use(cover: str) -> str:
  """Returns the most frequent LU1 code of a land cover."""
  uses = _uses(cover)
  return max(uses, key=lambda use: uses[use])


def _uses(cover: str) -> Mapping[str, float]:
  """Returns the chance of each LU1 code under a land cover."""
  uses = _longest(_USES, cover)
  if uses is None:
    raise ValueError(f'The land cover {cover!r} has no use.')
  return uses


def _longest(table: Mapping[str, T], code: str) -> T | None:
  """Returns the entry of the longest prefix of `code`; None without one."""
  for length in range(len(code), 0, -1):
    if code[:length] in table:
      return table[code[:length]]
  return None


def _choose(chances: Mapping[str, float], rng: np.random.Generator) -> str:
  names = list(chances)
  share = np.cumsum(list(chances.values()))
  return names[
    int(np.searchsorted(share, rng.random() * share[-1], side='right'))
  ]
