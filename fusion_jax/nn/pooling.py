"""Pooling of several views of a place into one vector.

Source: TimeSenCLIP `src/models/pooling.py`, SenCLIP `src/attention_pool.py`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax.nn import layers
from fusion_jax.types import Array

KINDS = ('per_image', 'per_dimension', 'mean')
REDUCTIONS = ('sum', 'mean', 'max')
_HIDDEN = jnp.finfo(jnp.float32).min


class ViewPool(nn.Module):
  """Pools views [B, V, D] into one vector [B, D], in float32.

  Attributes:
    kind: 'per_image' weighs whole views (D parameters), 'per_dimension' weighs
      every feature of a view on its own (D x D), 'mean' has no weights.
    reduction: how weighed views are combined: 'sum', 'mean' or 'max'. Sum and
      mean differ by a factor only, which normalisation removes.
  """

  kind: str = 'per_image'
  reduction: str = 'sum'

  @nn.compact
  def __call__(self, views: Array, exists: Array | None = None) -> jax.Array:
    """Pools views.

    Args:
      views: [B, V, D] float, outputs of CLIP's image tower, not normalised.
      exists: [B, V] bool, True for views that exist; the others may contain
        anything. A row without any view gives 0. None: all views exist.

    Returns:
      [B, D] float32.

    Raises:
      ValueError: if there is no such kind or reduction.
    """
    if self.kind not in KINDS or self.reduction not in REDUCTIONS:
      raise ValueError(
        f'kind={self.kind!r}, reduction={self.reduction!r}: choose a kind of '
        f'{KINDS} and a reduction of {REDUCTIONS}.'
      )
    batch, number, width = views.shape
    exists = (
      jnp.ones((batch, number, 1), bool)
      if exists is None
      else exists[:, :, None]
    )
    views = jnp.where(exists, views.astype(jnp.float32), 0)
    if self.kind == 'mean':
      return _mean(views, exists)
    features = 1 if self.kind == 'per_image' else width
    kernel = self.param(
      'kernel', layers.uniform(width**-0.5), (width, features)
    )
    scores = (views.reshape(-1, width) @ kernel).reshape(
      batch, number, features
    )
    weights = jax.nn.softmax(jnp.where(exists, scores, _HIDDEN), axis=1)
    weighed = weights * views
    if self.reduction == 'mean':
      return _mean(weighed, exists)
    if self.reduction == 'max':
      highest = jnp.where(exists, weighed, -jnp.inf).max(axis=1)
      return jnp.where(exists.any(axis=1), highest, 0)
    return weighed.sum(axis=1)


def _mean(views: jax.Array, exists: Array) -> jax.Array:
  """Returns the mean [B, D] over the views that exist, [B, V, 1] bool."""
  number = jnp.maximum(exists.sum(axis=1), 1)
  return views.sum(axis=1) / number
