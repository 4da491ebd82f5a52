"""Retrieval between pixels and ground photos, by class (Table 3).

A query finds a place if the place has its label. From the satellite to the
ground (S2G) the queries are pixels and the gallery photos; G2S is the reverse.
Source: TimeSenCLIP, Sec. 4.3. No code is published; that a hit is of the class
follows from its numbers: 0.4 to 0.7 among 50,000 places of 8 classes.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.ops import intervals

KS = (1, 5, 10)
DIRECTIONS = ('s2g', 'g2s')
_BLOCK = 256  # Queries at a time: 50 MB of scores against 50,000 places.


class Recall(NamedTuple):
  """Recall@k of one direction.

  Attributes:
    at: {k: share of the queries with their label among the k nearest}.
    interval: {k: (low, high)}, 95 %, over queries.
    chance: {k: the same share for k random places}.
    count: queries.
  """

  at: dict[int, float]
  interval: dict[int, tuple[float, float]]
  chance: dict[int, float]
  count: int


def evaluate(pixels, photos, truth, *, ks=KS, own=True):
  """{direction: `Recall`} among the places that have the label.

  Args:
    pixels: [P, E], length 1.
    photos: [P, E], length 1, of the same places.
    truth: int [P], negative for places that do not count: those without a
      label or without a photo.
    ks: numbers of neighbours; those that the places do not suffice for are
      left out.
    own: whether a query may find its own place; the paper does not say.
  """
  counted = np.asarray(truth) >= 0
  pixels, photos, truth = pixels[counted], photos[counted], truth[counted]
  ks = [k for k in ks if k <= len(truth) - (not own)]
  if not ks:
    return {}
  pairs = {'s2g': (pixels, photos), 'g2s': (photos, pixels)}
  chance = {k: chance_level(truth, k, own=own) for k in ks}
  found = {}
  for direction, (queries, gallery) in pairs.items():
    near = nearest(queries, gallery, max(ks), exclude_own=not own)
    same = truth[near] == truth[:, None]
    hits = {k: same[:, :k].any(axis=1) for k in ks}
    found[direction] = Recall(
      {k: float(hit.mean()) for k, hit in hits.items()},
      {k: intervals.of_share(hit) for k, hit in hits.items()},
      chance,
      len(truth),
    )
  return found


def nearest(queries, gallery, k, *, exclude_own=False, block=_BLOCK):
  """Indices [Q, k] of the places with the highest cosine, best first.

  Scores are computed a block of queries at a time, so memory holds `block` x G
  of them. Of equal scores the lowest index comes first.

  Args:
    queries: [Q, E], length 1.
    gallery: [G, E], length 1.
    k: at most G.
    exclude_own: leave row i of the gallery out for query i.
    block: queries at a time.

  Raises:
    ValueError: if the gallery has not enough places.
  """
  k_at_most = len(gallery) - bool(exclude_own)
  if not 0 < k <= k_at_most:
    raise ValueError(
      f'k={k}, but a query has {k_at_most} places to find; '
      'use a larger gallery or smaller k.'
    )
  block = min(block, len(queries))
  gallery, rows = jax.device_put(np.asarray(gallery, np.float32)), []
  for start in range(0, len(queries), block):
    part = np.asarray(queries[start : start + block], np.float32)
    padded = np.zeros((block, part.shape[1]), np.float32)
    padded[: len(part)] = part
    found = _nearest(padded, gallery, jnp.int32(start), k, exclude_own)
    rows.append(np.asarray(found)[: len(part)])
  return np.concatenate(rows)


def chance_level(truth, k=1, *, own=True):
  """Share of the queries with their label among k random places.

  Args:
    truth: int [P], a class of every place; queries and gallery are the same.
    k: places drawn, none twice.
    own: whether a query's own place is among those drawn from.
  """
  _, of_place, counts = np.unique(
    truth, return_inverse=True, return_counts=True
  )
  size = len(truth) - (not own)
  same = counts - (not own)
  missed = np.ones(len(counts))
  for i in range(min(k, size)):
    missed *= np.maximum(size - same - i, 0) / (size - i)
  return float((1 - missed)[of_place].mean())


def metrics(path, found):
  """{path: number} of `evaluate`'s answer: '<path>_<direction>@k', ..."""
  numbers = {}
  for direction, recall in found.items():
    for k, value in recall.at.items():
      name = f'{path}_{direction}@{k}'
      numbers |= {
        name: value,
        f'{name}_low': recall.interval[k][0],
        f'{name}_high': recall.interval[k][1],
        f'{path}_chance@{k}': recall.chance[k],
      }
  return numbers


def over_chance(numbers, path, direction, k=1):
  """The lower 95 % bound over chance; NaN if no two places share a label.

  Args:
    numbers: of `metrics`.
    path: as there.
    direction: 's2g' or 'g2s'.
    k: places found.
  """
  chance = numbers[f'{path}_chance@{k}']
  return numbers[f'{path}_{direction}@{k}_low'] / chance if chance else math.nan


@functools.partial(jax.jit, static_argnums=(3, 4))
def _nearest(queries, gallery, start, k, exclude_own):
  scores = queries @ gallery.T
  if exclude_own:
    query = start + jax.lax.broadcasted_iota(jnp.int32, scores.shape, 0)
    place = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    scores = jnp.where(query == place, -jnp.inf, scores)
  return jax.lax.top_k(scores, k)[1]  # Of equal ones the first comes first.
