"""What can be known of simulated pixels and photos: scores to stand between.

oracle   of whoever knows what covers most of the pixel, its use as a rule
         and its region, but not which part of it the surveyor stood on:
         no classifier of pixels can be better, and noise takes its part
naive    of the most frequent class of the training split
photos   zero-shot by text vectors alone, mean of the four photos
photo    the same by the photo to the west
"""

import collections

import numpy as np

from fusion_jax.data import labels
from fusion_jax.simulation import habitats

_WITH_ORACLE = ('land_cover', 'land_use', 'crops', 'eunis')


def scores(earth, split='test', kind='validation'):
  """{task: {score: share of places that are right}} of a split.

  Args:
    earth: `pixels.SimulatedPixels` with this split and 'train'.
    split: name.
    kind: of prompts, see `photos.KINDS`.
  """
  train = [
    earth.ground('train', i)[1].labels for i in range(earth.splits['train'])
  ]
  ground = [earth.ground(split, i) for i in range(earth.splits[split])]
  views = np.stack([earth.views(split, i) for i in range(len(ground))])
  views = _unit(views)
  found = {}
  for task in labels.TASKS:
    truth = np.array([habitat.labels[task] for _, habitat in ground])
    classes, vectors = class_vectors(earth.concepts, task, kind)
    seen = {'photos': np.nanmean(views, axis=1), 'photo': views[:, 0]}
    found[task] = {'naive': _accuracy(_majority(train, task), truth)}
    if task in _WITH_ORACLE:
      guess = np.array([_best_guess(*place)[task] for place in ground])
      found[task]['oracle'] = _accuracy(guess, truth)
    for name, vector in seen.items():
      there = np.isfinite(vector).all(1)
      guess = classes[np.argmax(vector[there] @ vectors.T, axis=1)]
      found[task][name] = _accuracy(guess, truth[there])
  return found


def class_vectors(concepts, task, kind):
  """(indices [C], unit vectors [C, 512]) of the classes with prompts."""
  texts = concepts.prompts(task, kind)
  vectors = np.zeros((len(texts.classes), texts.vectors.shape[1]))
  np.add.at(vectors, list(texts.class_of), _unit(texts.vectors))
  return np.array([labels.of_name(task, name) for name in texts.classes]), (
    _unit(vectors)
  )


def _best_guess(site, habitat):
  """{task: class} of the larger part of the pixel."""
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


def _majority(train, task):
  counts = collections.Counter(
    place[task] for place in train if place[task] != labels.NONE
  )
  return max(counts, key=counts.get) if counts else labels.NONE


def _accuracy(guess, truth):
  """Over the places that have a label."""
  known = truth != labels.NONE
  right = (guess == truth)[known]
  return float(right.mean()) if right.size else float('nan')


def _unit(vectors):
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
