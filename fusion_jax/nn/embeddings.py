"""Content, position and modality vectors of the slots of the backbone.

A slot is a modality, a position and a code or a patch; the modality -1 marks
padding. Source: 4M `fourm/models/encoder_embeddings.py`,
`decoder_embeddings.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax import modalities as modality_table
from fusion_jax.nn import layers, positions
from fusion_jax.ops import partitioning
from fusion_jax.types import Array

_PATCH_PIXELS = modality_table.PATCH**2


class EncoderEmbeddings(nn.Module):
  """Content vectors of encoder slots: a code table or a linear map of patches.

  Attributes:
    modalities: modalities of the model; the number of a modality is its place
      in this tuple.
    width: D, width of the vectors.
    dtype: dtype of the vectors; parameters are float32.
  """

  modalities: tuple[modality_table.Modality, ...]
  width: int
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.weights = {m.name: self._weight(m) for m in self.modalities if m.seen}

  def _weight(self, modality: modality_table.Modality) -> jax.Array:
    """Returns the code table [V, D] or the linear map [256 C, D]."""
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

  def embed(self, name: str, values: Array) -> jax.Array:
    """Returns the content vectors of one modality.

    Args:
      name: name of the modality.
      values: [...] int codes, or [..., 256 C] float flattened patches.

    Returns:
      [..., D].

    Raises:
      ValueError: if patches have another number of values than the bands of the
        modality make.
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
    patches = jnp.asarray(values.reshape(-1, pixels), self.dtype)
    vectors = partitioning.product(patches, weight, self.dtype)
    return vectors.reshape(*leading, self.width)

  def __call__(self, slots: Mapping[str, Any]) -> jax.Array:
    """Returns the content vectors [B, N, D] of slots; 0 in padding.

    Args:
      slots: 'modality' and 'code', [B, N] int each, and 'patches', {name of a
        raw modality: [B, N, 256 C] float}. A modality that has no entry has no
        slot, either.
    """
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
      elif modality.name in slots['patches']:
        vectors = self.embed(modality.name, slots['patches'][modality.name])
        content += jnp.where(member[..., None], vectors, 0)
    return content


class DecoderEmbeddings(nn.Module):
  """Code tables of the decoder, which embed sequences and score every head.

  Attributes:
    modalities: modalities of the model; the number of a modality is its place
      in this tuple.
    width: D, width of the vectors.
    dtype: dtype of the vectors; parameters are float32.
  """

  modalities: tuple[modality_table.Modality, ...]
  width: int
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.tables = {
      m.name: self.param(
        m.name,
        layers.uniform((6 / (m.vocab_size + self.width)) ** 0.5),
        (m.vocab_size, self.width),
      )
      for m in self.modalities
      if m.is_target
    }

  def __call__(
    self, slots: Mapping[str, Array], mask_token: jax.Array
  ) -> jax.Array:
    """Returns the content vectors [B, M, D] of slots; 0 in padding.

    Args:
      slots: 'modality' and 'code', [B, M] int each.
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
          member[..., None],
          jnp.broadcast_to(mask_token, content.shape).astype(self.dtype),
          0,
        )
    return content


class ModalityEmbeddings(nn.Module):
  """One learned vector for each modality, shared by encoder and decoder.

  Attributes:
    modalities: modalities of the model; the number of a modality is its place
      in this tuple.
    width: D, width of the vectors.
    dtype: dtype of the vectors; parameters are float32.
  """

  modalities: tuple[modality_table.Modality, ...]
  width: int
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.vectors = [
      self.param(m.name, nn.initializers.normal(0.02), (self.width,))
      for m in self.modalities
    ]

  def __call__(self, modality: Array) -> jax.Array:
    """Returns the vectors [..., D] of modalities [...] int; 0 in padding."""
    one_hot = jax.nn.one_hot(modality, len(self.modalities))
    vectors = jnp.matmul(
      one_hot.reshape(-1, len(self.modalities)),
      jnp.stack(self.vectors),
      precision='highest',
    )
    return vectors.reshape(*modality.shape, self.width).astype(self.dtype)

  def vector(self, name: str) -> jax.Array:
    """Returns the vector [D] of one modality, given its name."""
    index = [m.name for m in self.modalities].index(name)
    return self.vectors[index].astype(self.dtype)


def position_vectors(
  slots: Mapping[str, Array],
  modalities: Sequence[modality_table.Modality],
  grid_table: np.ndarray,
) -> jax.Array:
  """Returns the fixed position vectors of slots.

  Args:
    slots: 'modality' and 'position', [B, N] int each.
    modalities: modalities of the model; the number of a modality is its place
      in this sequence.
    grid_table: [grid positions, D] float32, position vectors of images.

  Returns:
    [B, N, D] float32; the values in padding have no meaning.
  """
  grid_size, width = grid_table.shape
  table = np.concatenate([grid_table, positions.sequence_table(width)])
  is_sequence = jnp.asarray([m.is_sequence for m in modalities])
  offset = jnp.where(is_sequence[slots['modality']], grid_size, 0)
  return jnp.asarray(table)[slots['position'] + offset]


def _look_up(
  table: jax.Array,
  codes: Array,
  member: Array | bool,
  modality: modality_table.Modality,
  dtype: DTypeLike,
) -> jax.Array:
  """Returns rows [..., D] of `table`, and 0 where `member` is False.

  Code 0 of a sequence is padding: it has a row, but no gradient reaches this
  row from here (the reference's `padding_idx`).
  """
  rows = jnp.where(member, codes, table.shape[0])  # Out of range reads as 0.
  frozen = 0 if modality.is_sequence else None
  return partitioning.look_up(table, rows, dtype, frozen=frozen)
