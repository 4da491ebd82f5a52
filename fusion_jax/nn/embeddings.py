"""Content, position and modality vectors of slots.

A slot is (modality, position, code or patch); modality -1 marks padding.
Source: 4M `fourm/models/encoder_embeddings.py`, `decoder_embeddings.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from fusion_jax import modalities as modality_table
from fusion_jax.nn import layers, positions

_PATCH_PIXELS = modality_table.PATCH**2


class EncoderEmbeddings(nn.Module):
  """Content vectors of what the encoder sees: a table or a linear map each.

  Attributes:
    modalities: `Modality` of every id, in order.
    width: D.
    dtype: of the vectors.
  """

  modalities: tuple[Any, ...]
  width: int
  dtype: Any = jnp.float32

  def setup(self):
    self.weights = {m.name: self._weight(m) for m in self.modalities if m.seen}

  def _weight(self, modality):
    if modality.vocab_size:
      return self.param(
        modality.name,
        nn.initializers.normal(0.02),
        (modality.vocab_size, self.width),
      )
    pixels = _PATCH_PIXELS * len(modality.bands)
    bound = (6 / (pixels + self.width)) ** 0.5
    return self.param(
      modality.name, layers.uniform(bound), (pixels, self.width)
    )

  def embed(self, name, values):
    """One modality: codes [...] or flattened patches [..., 256 C] to [..., D].

    Raises:
      ValueError: if patches have another number of values than the weight.
    """
    (modality,) = (m for m in self.modalities if m.name == name)
    weight = self.weights[name]
    if modality.vocab_size:
      return _look_up(weight, values, True, modality, self.dtype)
    *leading, pixels = values.shape
    if pixels != weight.shape[0]:
      raise ValueError(
        f'Patches of {name!r} hold {pixels} values, but its '
        f'{len(modality.bands)} bands make {weight.shape[0]}.'
      )
    patches = values.reshape(-1, pixels).astype(self.dtype)
    return (patches @ weight.astype(self.dtype)).reshape(*leading, self.width)

  def __call__(self, slots):
    """Content of slots, [B, N, D]; 0 in padding."""
    content = jnp.zeros((*slots['modality'].shape, self.width), self.dtype)
    for i, modality in enumerate(self.modalities):
      member = slots['modality'] == i
      if not modality.seen:
        continue
      if modality.vocab_size:
        content += _look_up(
          self.weights[modality.name],
          slots['code'],
          member,
          modality,
          self.dtype,
        )
      else:
        vectors = self.embed(modality.name, slots['patches'][modality.name])
        content += jnp.where(member[..., None], vectors, 0)
    return content


class DecoderEmbeddings(nn.Module):
  """Code tables of the decoder. They embed sequences and score every head.

  Attributes: as of `EncoderEmbeddings`.
  """

  modalities: tuple[Any, ...]
  width: int
  dtype: Any = jnp.float32

  def setup(self):
    self.tables = {
      m.name: self.param(
        m.name,
        layers.uniform((6 / (m.vocab_size + self.width)) ** 0.5),
        (m.vocab_size, self.width),
      )
      for m in self.modalities
      if m.is_target
    }

  def __call__(self, slots, mask_token):
    """Content of slots, [B, M, D].

    Args:
      slots: 'modality' and 'code', [B, M] each.
      mask_token: [D], the content of every image slot.
    """
    content = jnp.zeros((*slots['modality'].shape, self.width), self.dtype)
    for i, modality in enumerate(self.modalities):
      member = slots['modality'] == i
      if modality.is_sequence and not modality.is_target:
        continue
      if modality.is_sequence:
        content += _look_up(
          self.tables[modality.name],
          slots['code'],
          member,
          modality,
          self.dtype,
        )
      else:
        content += jnp.where(
          member[..., None], mask_token.astype(self.dtype)[None, None, :], 0
        )
    return content


class ModalityEmbeddings(nn.Module):
  """One learned vector a modality, the same in encoder and decoder."""

  modalities: tuple[Any, ...]
  width: int
  dtype: Any = jnp.float32

  def setup(self):
    self.vectors = [
      self.param(m.name, nn.initializers.normal(0.02), (self.width,))
      for m in self.modalities
    ]

  def __call__(self, modality):
    """Vectors [..., D] of modality ids [...]; 0 in padding."""
    one_hot = jax.nn.one_hot(modality, len(self.modalities))
    vectors = jnp.matmul(
      one_hot.reshape(-1, len(self.modalities)),
      jnp.stack(self.vectors),
      precision='highest',
    )
    return vectors.reshape(*modality.shape, self.width).astype(self.dtype)

  def vector(self, name):
    """The vector [D] of one modality."""
    index = [m.name for m in self.modalities].index(name)
    return self.vectors[index].astype(self.dtype)


def position_vectors(slots, modalities, grid_table):
  """Fixed position vectors of slots, [B, N, D] float32; any value in padding.

  Args:
    slots: 'modality' and 'position', [B, N] each.
    modalities: `Modality` of every id.
    grid_table: [grid positions, D], the table of image modalities.
  """
  grid_size, width = grid_table.shape
  table = np.concatenate([grid_table, positions.sequence_table(width)])
  is_sequence = jnp.asarray([m.is_sequence for m in modalities])
  offset = jnp.where(is_sequence[slots['modality']], grid_size, 0)
  return jnp.asarray(table)[slots['position'] + offset]


def _look_up(table, codes, member, modality, dtype):
  """Rows [..., D] of `table` where `member`, else 0.

  Code 0 of a sequence is padding: it has a row, and no gradient reaches the
  row from here (the reference's `padding_idx`).
  """
  vocab_size = table.shape[0]
  rows = jnp.where(member, codes, vocab_size)  # Out of range reads as 0.
  if not modality.is_sequence:
    return _rows(table, rows).astype(dtype)
  padding = jax.lax.stop_gradient(table[0])
  content = _rows(table, jnp.where(codes == 0, vocab_size, rows))
  is_padding = (rows == 0)[..., None]
  return (
    content + is_padding * jnp.broadcast_to(padding, content.shape)
  ).astype(dtype)


def _rows(table, indices):
  return jnp.asarray(table).at[indices].get(mode='fill', fill_value=0)
