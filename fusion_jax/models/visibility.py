"""Which slots of the backbone's decoder see which.

Source: 4M `fourm/models/fm.py`, which stores this as a compressed mask.
"""

import jax
import jax.numpy as jnp

from fusion_jax.types import Array


def decoder_mask(
  modality: Array, attention: Array, *, causal: bool, separate: bool
) -> jax.Array:
  """Returns which decoder slot sees which, bool [B, M (slot), M (seen slot)].

  Slot i sees the slots before c_i, the sum of `attention` up to and including
  i. Images have the number of their targets on their first slot, so that all
  see all; sequences have 1 on each slot, which makes them causal.

  Args:
    modality: int [B, M], modality of every slot.
    attention: int [B, M], compressed mask.
    causal: whether a slot sees all slots up to itself instead.
    separate: whether a slot sees only slots of its modality.
  """
  num_slots = modality.shape[1]
  slot = jnp.arange(num_slots)
  limit = jnp.cumsum(attention, axis=1)
  if causal:
    limit = jnp.broadcast_to(slot + 1, attention.shape)
  attends = slot[None, None, :] < limit[:, :, None]
  if separate:
    attends &= modality[:, :, None] == modality[:, None, :]
  return attends
