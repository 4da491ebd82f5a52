"""Retrieval between pixels and ground photos, by class (Table 3).

A query finds a place if the place has its label. From the satellite to the
ground (S2G) the queries are pixels and the gallery photos; G2S is the reverse.
Source: TimeSenCLIP, Sec. 4.3. No code is published; that a hit is of the class
follows from its numbers: 0.4 to 0.7 among 50,000 places of 8 classes.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.ops import intervals
from fusion_jax.types import Array

KS = (1, 5, 10)
DIRECTIONS = ('s2g', 'g2s')
_BLOCK = 256  # Queries at a time: 50 MB of scores against 50,000 places.


@dataclasses.dataclass(frozen=True)
class Recall:
  """Recall@k of one direction.

  Attributes:
    at: {k: share of the queries with their label among the k nearest}.
    interval: {k: (low, high)}, the 95 % interval of this share over queries.
    chance: {k: share of the queries with their label among k random places}.
    count: number of queries.
  """

  at: dict[int, float]
  interval: dict[int, tuple[float, float]]
  chance: dict[int, float]
  count: int


def evaluate(
  pixels: np.ndarray,
  photos: np.ndarray,
  truth: np.ndarray,
  *,
  ks: Sequence[int] = KS,
  own: bool = True,
) -> dict[str, Recall]:
  """Measures the retrieval among the places that have a label.

  Args:
    pixels: [P, E], vectors of length 1.
    photos: [P, E], vectors of length 1 of the places of `pixels`.
    truth: int [P], negative for places that do not count: those without a
      label or without a photo.
    ks: numbers of neighbours; those that exceed the number of places are left
      out.
    own: whether a query may find its own place; the paper does not say.

  Returns:
    {direction: recall}; {} if no k is left.
  """
  counted = np.asarray(truth) >= 0
  pixels, photos, truth = pixels[counted], photos[counted], truth[counted]
  ks = [k for k in ks if k <= len(truth) - (not own)]
  if not ks:
    return {}
  pairs = {'s2g': (pixels, photos), 'g2s': (photos, pixels)}
  chance = {k: chance_level(truth, k, own=own) for k in ks}
  recalls = {}
  for direction, (queries, gallery) in pairs.items():
    near = nearest(queries, gallery, max(ks), exclude_own=not own)
    same = truth[near] == truth[:, None]
    hits = {k: same[:, :k].any(axis=1) for k in ks}
    recalls[direction] = Recall(
      {k: float(hit.mean()) for k, hit in hits.items()},
      {k: intervals.of_share(hit) for k, hit in hits.items()},
      chance,
      len(truth),
    )
  return recalls


def nearest(
  queries: np.ndarray,
  gallery: np.ndarray,
  k: int,
  *,
  exclude_own: bool = False,
  block: int = _BLOCK,
) -> np.ndarray:
  """Finds the places with the highest cosine.

  Scores are computed for a block of queries at a time, so memory holds
  `block` x G of them.

  Args:
    queries: [Q, E], vectors of length 1.
    gallery: [G, E], vectors of length 1.
    k: number of places to find, at most G.
    exclude_own: whether row i of the gallery is left out for query i.
    block: number of queries at a time.

  Returns:
    int [Q, k], indices of rows of the gallery, best first; of equal scores the
    lowest index comes first.

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
  placed, rows = jax.device_put(np.asarray(gallery, np.float32)), []
  for start in range(0, len(queries), block):
    part = np.asarray(queries[start : start + block], np.float32)
    padded = np.zeros((block, part.shape[1]), np.float32)
    padded[: len(part)] = part
    indices = _nearest(padded, placed, jnp.int32(start), k, exclude_own)
    rows.append(np.asarray(indices)[: len(part)])
  return np.concatenate(rows)


def chance_level(truth: np.ndarray, k: int = 1, *, own: bool = True) -> float:
  """Computes the share of queries with their label among k random places.

  Args:
    truth: int [P], a class of every place; every place is a query, too.
    k: number of places drawn, none twice.
    own: whether a query's own place is among those drawn from.
  """
  _, of_place, counts = np.unique(
    truth, return_inverse=True, return_counts=True
  )
  size = len(truth) - (not own)
  same = counts - (not own)
  miss_rate = np.ones(len(counts))
  for i in range(min(k, size)):
    miss_rate *= np.maximum(size - same - i, 0) / (size - i)
  return float((1 - miss_rate)[of_place].mean())


def metrics(path: str, recalls: Mapping[str, Recall]) -> dict[str, float]:
  """Turns the result of `evaluate` into {path: number}.

  Args:
    path: start of the paths, which are '<path>_<direction>@k' and the like.
    recalls: {direction: recall}.
  """
  numbers = {}
  for direction, recall in recalls.items():
    for k, value in recall.at.items():
      name = f'{path}_{direction}@{k}'
      numbers |= {
        name: value,
        f'{name}_low': recall.interval[k][0],
        f'{name}_high': recall.interval[k][1],
        f'{path}_chance@{k}': recall.chance[k],
      }
  return numbers


def over_chance(
  numbers: Mapping[str, float], path: str, direction: str, k: int = 1
) -> float:
  """Divides the lower 95 % bound by chance; NaN if chance is 0.

  Args:
    numbers: {path: number} of `metrics`.
    path: start of the paths.
    direction: 's2g' or 'g2s'.
    k: number of places found.
  """
  chance = numbers[f'{path}_chance@{k}']
  return numbers[f'{path}_{direction}@{k}_low'] / chance if chance else math.nan


@functools.partial(jax.jit, static_argnums=(3, 4))
def _nearest(
  queries: Array, gallery: Array, start: Array, k: int, exclude_own: bool
) -> jax.Array:
  scores = queries @ gallery.T
  if exclude_own:
    query = start + jax.lax.broadcasted_iota(jnp.int32, scores.shape, 0)
    place = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    scores = jnp.where(query == place, -jnp.inf, scores)
  return jax.lax.top_k(scores, k)[1]  # Ties keep their order.
