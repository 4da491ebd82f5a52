"""CLIP vectors of simulated ground photos, and of the texts that fit them.

Every class of every task is a direction of a space of 512 dimensions; a photo
mixes those of what it shows. Photos and texts lie in two cones (the modality
gap), photos of a place share its light and camera, each view has noise of its
own, and the prompts of a class differ.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fusion_jax.data import labels
from fusion_jax.data import prompts as prompts_lib
from fusion_jax.simulation import europe, habitats

WIDTH = 512
NUM_VIEWS = 4  # West, east, north, south.
_SENTENCES = (  # For the five descriptive prompts of a class.
  'The view is typical of {}.',
  'Signs of {} as far as one can see.',
  '{} in summer light.',
  'A walker stands amid {}.',
  'From the road one notices {}.',
)
# Prompts of each kind, and how far each is from what it should say.
KINDS = {
  'class_names': 0.55,
  'paper': 0.65,
  'validation': 0.6,
  'descriptive': 0.75,
}

# Strength of what a photo shows; each concept is a unit vector.
_WEIGHTS = {
  'land_cover': 0.9,
  'cover': 0.75,
  'land_use': 0.6,
  'eunis': 0.6,
  'bioregion': 0.55,
  'country': 0.4,
}
_GAP_PHOTO, _GAP_TEXT = 3.0, 2.2
_NUISANCE_RANK = 40
_PLACE_NUISANCE, _VIEW_NUISANCE = 1.0, 0.8  # Light, weather, camera.
_PLACE_NOISE, _VIEW_NOISE = 1.5, 2.4  # In all dimensions.
_NEIGHBOUR = (1.0, 2.6)  # Beta distribution of its share of the photos,
_TURN = 0.2  # and standard deviation of a view's around it.
_LOST = 0.02  # Share of the views without a photo.
_NORM = 10.0  # Of CLIP ViT-B/32's vectors, about.


class Concepts:
  """The directions of the concepts of one simulated Earth.

  Args:
    seed: seed of the Earth; the same seed is the same space.
  """

  def __init__(self, seed: int):
    rng = np.random.default_rng([seed, 512])
    self._photo_cone, self._text_cone = _units(rng, 2)
    self._nuisance = _units(rng, _NUISANCE_RANK)
    self._of = {
      task: _units(rng, len(labels.classes(task))) for task in labels.TASKS
    }
    self._codes = sorted(labels.codes('land_cover'))
    self._of['cover'] = _units(rng, len(self._codes))
    codes = labels.codes('crops')
    for code, crop in codes.items():  # A crop is what is on the photo.
      self._of['cover'][self._codes.index(code)] = self._of['crops'][crop]
    self._seed = seed

  def views(
    self, site: europe.Site, habitat: habitats.Habitat, rng: np.random.Generator
  ) -> np.ndarray:
    """Draws CLIP vectors of a point's photos to west, east, north and south.

    Args:
      site: the LUCAS point.
      habitat: what covers the point and its surroundings.
      rng: generator of light, camera and noise.

    Returns:
      float32 [4, 512], not of unit length, NaN where there is no photo; at
      least one photo exists.
    """
    number = NUM_VIEWS
    lost = rng.random(number) < _LOST
    away = np.clip(
      rng.beta(*_NEIGHBOUR) + _TURN * rng.standard_normal((number, 1)), 0, 1
    )
    content = (1 - away) * self._content(
      site, habitat, habitat.cover
    ) + away * self._content(site, habitat, habitat.neighbour)
    light = _PLACE_NUISANCE * rng.standard_normal(
      _NUISANCE_RANK
    ) + _VIEW_NUISANCE * rng.standard_normal((number, _NUISANCE_RANK))
    content += light @ self._nuisance / np.sqrt(_NUISANCE_RANK)
    content += _PLACE_NOISE * _gaussian(rng, 1) + _VIEW_NOISE * _gaussian(
      rng, number
    )
    vectors = _GAP_PHOTO * self._photo_cone + content
    vectors *= _NORM / 4 * np.exp(0.05 * rng.standard_normal((number, 1)))
    vectors[lost & ~lost.all()] = np.nan
    return vectors.astype(np.float32)

  def _content(
    self, site: europe.Site, habitat: habitats.Habitat, cover: str
  ) -> np.ndarray:
    """Returns the vector [512] of the content of a photo of an LC1 code."""
    use = habitat.use if cover == habitat.cover else habitats.likely_use(cover)
    classes = habitat.labels | {
      'land_cover': labels.of_code('land_cover', cover),
      'land_use': labels.of_code('land_use', use),
      'cover': self._codes.index(cover),
      'eunis': labels.of_name(
        'eunis', habitats.habitat_name(cover, use, site.bioregion)
      ),
    }
    content = np.zeros(WIDTH)
    for name, weight in _WEIGHTS.items():
      content = content + weight * self._of[name][classes[name]]
    return content

  def prompts(self, task: str, kind: str) -> prompts_lib.Prompts:
    """Returns prompts of the classes of a task, with vectors.

    The classes are those of the paper: 8 of the bioregions, all others whole.

    Args:
      task: one of `labels.TASKS`.
      kind: one of `KINDS`: 'class_names' (one text a class), 'paper' (one, its
        template), 'validation' (six templates) or 'descriptive' (five
        sentences).
    """
    names = labels.in_paper(task)
    frames = (
      _SENTENCES if kind == 'descriptive' else prompts_lib.template_sets()[kind]
    )
    texts = prompts_lib.from_classes(
      [labels.pretty(name) for name in names], frames
    )
    rng = np.random.default_rng(
      [self._seed, labels.TASKS.index(task), [*KINDS].index(kind)]
    )
    content = self._text_content(task)[
      [labels.of_name(task, name) for name in names]
    ]
    content = np.repeat(content, len(frames), axis=0)
    content += KINDS[kind] * _gaussian(rng, len(content))
    vectors = (_GAP_TEXT * self._text_cone + content) * _NORM / 2
    return dataclasses.replace(
      texts, classes=names, vectors=vectors.astype(np.float32)
    )

  def landscapes(
    self, covers: Sequence[str], rng: np.random.Generator
  ) -> np.ndarray:
    """Draws vectors of texts that tell of land covers.

    Args:
      covers: N LUCAS codes LC1, one for each text.
      rng: generator of what the texts say otherwise.

    Returns:
      float32 [N, 512].
    """
    content = np.stack(
      [
        self._of['land_cover'][labels.of_code('land_cover', cover)]
        + self._of['cover'][self._codes.index(cover)]
        for cover in covers
      ]
    )
    content += KINDS['descriptive'] * _gaussian(rng, len(content))
    vectors = (_GAP_TEXT * self._text_cone + content) * _NORM / 2
    return vectors.astype(np.float32)

  def _text_content(self, task: str) -> np.ndarray:
    """Returns vectors [classes, 512] of classes and what they belong to."""
    content = self._of[task].copy()
    if task == 'crops':  # The text of a crop also mentions cropland.
      cropland = labels.of_name('land_cover', 'Cropland')
      content += 0.35 * self._of['land_cover'][cropland]
    return content


def _units(rng: np.random.Generator, count: int) -> np.ndarray:
  vectors = rng.standard_normal((count, WIDTH))
  return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _gaussian(rng: np.random.Generator, count: int) -> np.ndarray:
  """Draws vectors [count, 512] of about unit length."""
  return rng.standard_normal((count, WIDTH)) / np.sqrt(WIDTH)
