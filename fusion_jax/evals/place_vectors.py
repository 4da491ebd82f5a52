"""Vectors of the places of a split: from their pixels and from their photos."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fusion_jax.evals import gather, validation
from fusion_jax.ops import calendar, contrastive
from fusion_jax.tasks import align_pixels
from fusion_jax.types import Array, Batch, Params


class PlaceVectors(NamedTuple):
  """Vectors of the P places of a split, in its order, on the host.

  Attributes:
    pixels: {temporal setting: [P, E]}, vectors of length 1.
    photos: [P, E], vectors of length 1 that are pooled over the views; 0 where
      `seen` is False.
    seen: bool [P], whether a place has a photo.
    labels: {name: int32 [P]}, -1 where a place has no label.
  """

  pixels: dict[str, np.ndarray]
  photos: np.ndarray
  seen: np.ndarray
  labels: dict[str, np.ndarray]


class Embedder:
  """Embeds splits with the parameters of a state; compiles once."""

  def __init__(
    self,
    task: align_pixels.AlignPixels,
    place: validation.Place,
    settings: Sequence[str] = tuple(calendar.SETTINGS),
  ):
    """Takes what it works with; nothing runs yet.

    Args:
      task: task of the run.
      place: function from this process's share of a batch to global arrays.
      settings: temporal settings, keys of `calendar.SETTINGS`.
    """
    self._task = task
    self._place = place
    self._settings = tuple(settings)
    self._embed = jax.jit(self._vectors)

  def __call__(self, params: Params, split: str) -> PlaceVectors:
    """Embeds all places of a split.

    Args:
      params: nested dict of the task's arrays, `eval_params` of a state.
      split: name of a split other than 'train', whose batches are endless.
    """
    rows = []
    for batch in self._task.batches(split):
      placed = self._place(batch)
      arrays = self._embed(params, placed)
      arrays |= {
        name: placed[name] for name in batch if name.startswith('label/')
      }
      arrays['seen'] = placed['has_photo']
      arrays['valid'] = placed['valid']
      arrays = gather.fetch(arrays)
      rows.append({name: x[arrays['valid']] for name, x in arrays.items()})
    whole = {
      name: np.concatenate([row[name] for row in rows]) for name in rows[0]
    }
    return PlaceVectors(
      {setting: whole[setting] for setting in self._settings},
      whole['photos'],
      np.any(whole['seen'], axis=1),
      {
        name.removeprefix('label/'): x
        for name, x in whole.items()
        if name.startswith('label/')
      },
    )

  def _vectors(self, params: Params, batch: Batch) -> dict[str, Array]:
    """Vectors [B, E] of pixels in every setting and of photos."""
    vectors: dict[str, Any] = {
      setting: self._task.embed(params, batch, setting)
      for setting in self._settings
    }
    vectors['photos'] = self._task.pool_views(params, batch)
    return {name: contrastive.normalise(x) for name, x in vectors.items()}
