"""The backbone's encoder alone: whole images and codes to features.

Source: TerraMind (terrastackai/terratorch, commit 85467a9,
`terramind_vit.py`). Its parameters are a part of those of the backbone.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax import modalities as modality_table
from fusion_jax.nn import blocks, embeddings, layers, positions
from fusion_jax.ops import patches
from fusion_jax.types import Array, Params

# Features [B, N, D] of all modalities, or one array for each modality.
Features = jax.Array | dict[str, jax.Array]

MERGES = ('mean', 'max', 'concat', 'dict', 'none')
_SHARED = (
  'encoder',
  'encoder_embeddings',
  'encoder_norm',
  'modality_embeddings',
)


class Encoder(nn.Module):
  """Encodes every token of its inputs and merges the modalities.

  Attributes:
    modalities: modalities in the order of the output, whatever the order of the
      inputs.
    width: D, width of the tokens.
    depth: number of layers.
    num_heads: number of attention heads; must divide D.
    mlp: kind of MLP, 'gelu' or 'swiglu'.
    use_bias: whether attention and MLPs have biases.
    dtype: data type of the computation.
    image_size: pixels per side of the images that the position table was made
      for.
    unroll: layers per iteration of the loop over layers.
    merge: how features of modalities are merged: 'mean' or 'max' over image
      modalities, 'concat' of their features (a learned token stands for absent
      modalities, after all that are present), 'dict' by modality name, 'none'
      for all tokens one after the other. The first three leave sequences out.
  """

  modalities: tuple[modality_table.Modality, ...]
  width: int
  depth: int
  num_heads: int
  mlp: str = 'swiglu'
  use_bias: bool = False
  dtype: DTypeLike = jnp.float32
  image_size: int = 224
  unroll: int = 1
  merge: str = 'mean'

  def __post_init__(self) -> None:
    super().__post_init__()
    blocks.check_sizes(self.width, self.num_heads, self.mlp)
    if self.merge not in MERGES:
      raise ValueError(f'merge={self.merge!r} is none of {MERGES}.')

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    embedding = (self.modalities, self.width, self.dtype)
    self.encoder_embeddings = embeddings.EncoderEmbeddings(*embedding)
    self.modality_embeddings = embeddings.ModalityEmbeddings(*embedding)
    self.encoder = blocks.Stack(
      blocks.EncoderBlock(
        self.width, self.num_heads, self.mlp, self.use_bias, self.dtype
      ),
      self.depth,
      self.unroll,
    )
    self.encoder_norm = layers.layer_norm(self.dtype)
    if self.merge == 'concat':
      self.missing_token = self.param(
        'missing_token', nn.initializers.normal(0.02), (self.width,)
      )

  def __call__(self, inputs: Mapping[str, Array]) -> list[Features]:
    """Returns the features of every layer.

    Args:
      inputs: arrays by modality name: standardised pixels [B, Y, X, C] float of
        a raw modality, or int codes, [B, rows, columns] of a grid or [B, N] of
        a square grid or a sequence. Modalities may be absent.

    Returns:
      One array [B, N, D] per layer; with merge='concat' it is
      [B, N, D * modalities], with merge='dict' a dict of arrays. The last one
      is normalised, the others are not.

    Raises:
      ValueError: if an input is no modality of the model, or there is none.
    """
    tokens = {
      name: content + emb for name, (content, emb) in self.embed(inputs).items()
    }
    joined = jnp.concatenate(list(tokens.values()), axis=1)
    visible = jnp.ones((1, 1, 1, joined.shape[1]), bool)
    last, outputs = self.encoder(joined, visible, keep_all=True)
    features = [*outputs[:-1], self.encoder_norm(last)]
    lengths = {name: x.shape[1] for name, x in tokens.items()}
    return [self._merge(layer, lengths) for layer in features]

  def embed(
    self, inputs: Mapping[str, Array]
  ) -> dict[str, tuple[Array, jax.Array]]:
    """Returns the embedding of every input, by modality name.

    Args:
      inputs: pixels and codes, see `__call__`.

    Returns:
      The content, and the sum of position and modality vectors, [B, N, D] each.

    Raises:
      ValueError: if an input is no modality of the model, or there is none.
    """
    names = [m.name for m in self.modalities]
    if not inputs or set(inputs) - set(names):
      raise ValueError(
        f'The inputs are {sorted(inputs)}; give one or more of {names}.'
      )
    return {
      m.name: self._embed_one(m, inputs[m.name])
      for m in self.modalities
      if m.name in inputs
    }

  def _embed_one(
    self, modality: modality_table.Modality, values: Array
  ) -> tuple[Array, jax.Array]:
    rows, columns = 1, values.shape[1]
    if modality.kind == 'image':
      rows, columns = (n // modality_table.PATCH for n in values.shape[1:3])
      values = patches.patchify(values)
    elif modality.kind == 'tokens':
      rows, columns = _grid(values, modality.name)
      values = values.reshape(values.shape[0], -1)
    content = self.encoder_embeddings.embed(modality.name, values)
    if modality.is_sequence:
      table = positions.sequence_table(self.width)[: values.shape[1]]
    else:
      table = positions.resized_grid_table(
        self.image_size // modality_table.PATCH, (rows, columns), self.width
      )
    emb = (
      jnp.asarray(table, self.dtype)
      + self.modality_embeddings.vector(modality.name)[None, :]
    )
    return content, jnp.broadcast_to(emb[None], content.shape)

  def _merge(self, tokens: jax.Array, lengths: Mapping[str, int]) -> Features:
    """Features of a layer from its tokens [B, N, D], `lengths` per modality."""
    if self.merge == 'none':
      return tokens
    ends = [sum(list(lengths.values())[: i + 1]) for i in range(len(lengths))]
    parts = dict(zip(lengths, jnp.split(tokens, ends[:-1], axis=1)))
    if self.merge == 'dict':
      return parts
    images = [m.name for m in self.modalities if not m.is_sequence]
    present = [parts[name] for name in images if name in parts]
    if self.merge == 'mean':
      return jnp.mean(jnp.stack(present), axis=0)
    if self.merge == 'max':
      return jnp.max(jnp.stack(present), axis=0)
    missing = jnp.broadcast_to(
      self.missing_token[None, None, :], present[0].shape
    ).astype(tokens.dtype)
    absent = [missing] * (len(images) - len(present))
    return jnp.concatenate(present + absent, axis=-1)


def param_shapes(model: Encoder) -> Params:
  """Returns the shapes of an encoder's parameters, without making arrays."""
  size = model.image_size
  grid = size // modality_table.PATCH
  inputs = {}
  for m in model.modalities:
    if m.kind == 'image':
      inputs[m.name] = jnp.zeros((1, size, size, len(m.bands)))
    else:
      shape = (1, 1) if m.is_sequence else (1, grid, grid)
      inputs[m.name] = jnp.zeros(shape, jnp.int32)
  return jax.eval_shape(model.init, jax.random.key(0), inputs)['params']


def encoder_params(params: Params) -> Params:
  """Returns the parameters of the backbone's encoder.

  They are those of an `Encoder` with the modalities of the backbone; one with
  merge='concat' also needs a 'missing_token' [D].

  Args:
    params: parameters of a `Backbone`.
  """
  return {name: params[name] for name in _SHARED}


def _grid(codes: Array, name: str) -> tuple[int, int]:
  """Rows and columns of codes [B, rows, columns] or [B, N]."""
  if codes.ndim == 3:
    return codes.shape[1], codes.shape[2]
  side = math.isqrt(codes.shape[1])
  if side**2 != codes.shape[1]:
    raise ValueError(
      f'{codes.shape[1]} codes of {name!r} are no square grid; give them as '
      '[B, rows, columns].'
    )
  return side, side
