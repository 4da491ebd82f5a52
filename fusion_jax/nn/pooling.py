"""Pooling of several views of a place into one vector.

Source: TimeSenCLIP `src/models/pooling.py`, SenCLIP `src/attention_pool.py`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax.nn import layers

KINDS = ('per_image', 'per_dimension', 'mean')
REDUCTIONS = ('sum', 'mean', 'max')
_HIDDEN = jnp.finfo(jnp.float32).min


class ViewPool(nn.Module):
  """Pools views [B, V, D] into [B, D], in float32.

  Attributes:
    kind: 'per_image' weighs whole views (D parameters), 'per_dimension' every
      feature of them on its own (D x D), 'mean' weighs nothing.
    reduction: of the weighed views: 'sum', 'mean' or 'max'. Sum and mean
      differ by a factor only, which normalising removes.
  """

  kind: str = 'per_image'
  reduction: str = 'sum'

  @nn.compact
  def __call__(self, views, there=None):
    """Pools.

    Args:
      views: [B, V, D], of CLIP's image tower, not normalised.
      there: bool [B, V], which views exist; the others may hold anything. A
        row without any gives 0. None: all.

    Returns:
      [B, D] float32.

    Raises:
      ValueError: for an unknown kind or reduction.
    """
    if self.kind not in KINDS or self.reduction not in REDUCTIONS:
      raise ValueError(
        f'kind={self.kind!r}, reduction={self.reduction!r}: choose of '
        f'{KINDS} and of {REDUCTIONS}.'
      )
    batch, number, width = views.shape
    there = (
      jnp.ones((batch, number, 1), bool) if there is None else there[:, :, None]
    )
    views = jnp.where(there, views.astype(jnp.float32), 0)
    if self.kind == 'mean':
      return _mean(views, there)
    features = 1 if self.kind == 'per_image' else width
    kernel = self.param(
      'kernel', layers.uniform(width**-0.5), (width, features)
    )
    scores = (views.reshape(-1, width) @ kernel).reshape(
      batch, number, features
    )
    weights = jax.nn.softmax(jnp.where(there, scores, _HIDDEN), axis=1)
    weighed = weights * views
    if self.reduction == 'mean':
      return _mean(weighed, there)
    if self.reduction == 'max':
      highest = jnp.where(there, weighed, -jnp.inf).max(axis=1)
      return jnp.where(there.any(axis=1), highest, 0)
    return weighed.sum(axis=1)


def _mean(views, there):
  """Mean over the views that are there."""
  number = jnp.maximum(there.sum(axis=1), 1)
  return views.sum(axis=1) / number
