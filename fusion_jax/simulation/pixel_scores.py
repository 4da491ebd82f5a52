"""Best and naive scores of simulated pixels and photos, for comparison.

oracle   of whoever knows what covers most of the pixel, its use as a rule
         and its region, but not which part of it the surveyor stood on:
         no classifier of pixels can be better, and noise takes its part
naive    of the most frequent class of the training split
photos   zero-shot by text vectors alone, mean of the four photos
photo    zero-shot by text vectors alone, by the photo to the west
"""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from fusion_jax.data import labels
from fusion_jax.simulation import europe, habitats, photos, pixels

_WITH_ORACLE = ('land_cover', 'land_use', 'crops', 'eunis')


def scores(
  earth: pixels.SimulatedPixels, split: str = 'test', kind: str = 'validation'
) -> dict[str, dict[str, float]]:
  """Returns the best and naive scores, between which those of a model lie.

  Args:
    earth: simulated places with this split and 'train'.
    split: name of the split that is judged.
    kind: kind of the prompts, one of `photos.KINDS`.

  Returns:
    {task: {score: share of the places that are right}}.
  """
  train = [
    earth.ground('train', i)[1].labels for i in range(earth.splits['train'])
  ]
  ground = [earth.ground(split, i) for i in range(earth.splits[split])]
  views = np.stack([earth.views(split, i) for i in range(len(ground))])
  views = _unit(views)
  result: dict[str, dict[str, float]] = {}
  for task in labels.TASKS:
    truth = np.array([habitat.labels[task] for _, habitat in ground])
    classes, vectors = class_vectors(earth.concepts, task, kind)
    view_vectors = {'photos': np.nanmean(views, axis=1), 'photo': views[:, 0]}
    result[task] = {'naive': _accuracy(_majority(train, task), truth)}
    if task in _WITH_ORACLE:
      guess = np.array([_best_guess(*place)[task] for place in ground])
      result[task]['oracle'] = _accuracy(guess, truth)
    for name, vector in view_vectors.items():
      present = np.isfinite(vector).all(1)
      guess = classes[np.argmax(vector[present] @ vectors.T, axis=1)]
      result[task][name] = _accuracy(guess, truth[present])
  return result


def class_vectors(
  concepts: photos.Concepts, task: str, kind: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the classes with prompts: (indices [C], unit vectors [C, 512]).

  Args:
    concepts: space of photos and texts.
    task: one of `labels.TASKS`.
    kind: kind of the prompts, one of `photos.KINDS`.
  """
  texts = concepts.prompts(task, kind)
  assert texts.vectors is not None
  vectors = np.zeros((len(texts.classes), texts.vectors.shape[1]))
  np.add.at(vectors, list(texts.class_of), _unit(texts.vectors))
  return np.array([labels.of_name(task, name) for name in texts.classes]), (
    _unit(vectors)
  )


def _best_guess(site: europe.Site, habitat: habitats.Habitat) -> dict[str, int]:
  """Returns {task: class} of the larger part of the pixel."""
  cover = habitat.seen
  use = habitats.likely_use(cover)
  return {
    'land_cover': labels.of_code('land_cover', cover),
    'land_use': labels.of_code('land_use', use),
    'crops': labels.of_code('crops', cover),
    'eunis': labels.of_name(
      'eunis', habitats.habitat_name(cover, use, site.bioregion)
    ),
  }


def _majority(train: Sequence[Mapping[str, int]], task: str) -> int:
  counts = collections.Counter(
    place[task] for place in train if place[task] != labels.NONE
  )
  return max(counts, key=lambda label: counts[label]) if counts else labels.NONE


def _accuracy(guess: np.ndarray | int, truth: np.ndarray) -> float:
  """Returns the share of labelled places whose guess is right."""
  known = truth != labels.NONE
  right = np.equal(guess, truth)[known]
  return float(right.mean()) if right.size else float('nan')


def _unit(vectors: np.ndarray) -> np.ndarray:
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
