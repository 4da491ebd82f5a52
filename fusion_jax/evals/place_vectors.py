"""Vectors of the places of a split: from their pixels and from their photos."""

from typing import NamedTuple

import jax
import numpy as np

from fusion_jax.evals import gather
from fusion_jax.ops import calendar, contrastive


class PlaceVectors(NamedTuple):
  """P places of a split, in its order, on the host.

  Attributes:
    pixels: {setting: [P, E]}, length 1.
    photos: [P, E], pooled over the views, length 1; 0 where `seen` is False.
    seen: bool [P], whether a place has a photo.
    labels: {name: int32 [P]}, -1 for none.
  """

  pixels: dict[str, np.ndarray]
  photos: np.ndarray
  seen: np.ndarray
  labels: dict[str, np.ndarray]


class Embedder:
  """Embeds splits with the parameters of a state; compiles once."""

  def __init__(self, task, place, settings=tuple(calendar.SETTINGS)):
    """Prepares; nothing runs yet.

    Args:
      task: `tasks.align_pixels.AlignPixels`.
      place: from this process's share of a batch to global arrays.
      settings: keys of `calendar.SETTINGS`.
    """
    self._task = task
    self._place = place
    self._settings = tuple(settings)
    self._embed = jax.jit(self._vectors)

  def __call__(self, params, split):
    """`PlaceVectors` of all places of a split.

    Args:
      params: of the task; a state's `eval_params`.
      split: other than 'train', whose batches are endless.
    """
    rows = []
    for batch in self._task.batches(split):
      placed = self._place(batch)
      found = self._embed(params, placed)
      found |= {
        name: placed[name] for name in batch if name.startswith('label/')
      }
      found['seen'] = placed['there']
      found['valid'] = placed['valid']
      found = gather.fetch(found)
      rows.append({name: x[found['valid']] for name, x in found.items()})
    whole = {
      name: np.concatenate([row[name] for row in rows]) for name in rows[0]
    }
    return PlaceVectors(
      {setting: whole[setting] for setting in self._settings},
      whole['photos'],
      whole['seen'].any(axis=1),
      {
        name.removeprefix('label/'): x
        for name, x in whole.items()
        if name.startswith('label/')
      },
    )

  def _vectors(self, params, batch):
    found = {
      setting: self._task.embed(params, batch, setting)
      for setting in self._settings
    }
    found['photos'] = self._task.pool_views(params, batch)
    return {name: contrastive.normalise(x) for name, x in found.items()}
