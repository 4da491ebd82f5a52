"""The backbone's encoder alone: whole images and codes to features.

Source: TerraMind (terrastackai/terratorch, commit 85467a9,
`terramind_vit.py`). Its parameters are a part of the backbone's.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax import modalities as modality_table
from fusion_jax.models import backbone
from fusion_jax.nn import embeddings, layers, positions
from fusion_jax.ops import patches

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
    modalities: in the order of the output, whatever the order of the inputs.
    width: D.
    depth: layers.
    num_heads: must divide D.
    mlp: 'gelu' or 'swiglu'.
    use_bias: whether attention and MLPs have biases.
    dtype: of the computation.
    image_size: pixels a side of the images that the positions were made for.
    unroll: layers a loop iteration.
    merge: 'mean' or 'max' over image modalities, 'concat' of their features (a
      learned token stands for absent ones, after all that are present),
      'dict' by modality name, 'none' for all tokens in a row. The first three
      leave sequences out.
  """

  modalities: tuple[modality_table.Modality, ...]
  width: int
  depth: int
  num_heads: int
  mlp: str = 'swiglu'
  use_bias: bool = False
  dtype: Any = jnp.float32
  image_size: int = 224
  unroll: int = 1
  merge: str = 'mean'

  def __post_init__(self):
    super().__post_init__()
    backbone.check(self.width, self.num_heads, self.mlp)
    if self.merge not in MERGES:
      raise ValueError(f'merge={self.merge!r} is none of {MERGES}.')

  def setup(self):
    embedding = (self.modalities, self.width, self.dtype)
    self.encoder_embeddings = embeddings.EncoderEmbeddings(*embedding)
    self.modality_embeddings = embeddings.ModalityEmbeddings(*embedding)
    self.encoder = layers.Stack(
      layers.EncoderBlock(
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

  def __call__(self, inputs):
    """Features of every layer.

    Args:
      inputs: {name: standardised pixels [B, Y, X, C] of a raw modality, or
        codes, [B, rows, columns] of a grid or [B, N] of a square grid or a
        sequence}. Modalities may be absent.

    Returns:
      A list of [B, N, D] (or [B, N, D * modalities], or dicts), one a layer;
      the last is normalised, the others are not.

    Raises:
      ValueError: if an input is no modality of the model, or there is none.
    """
    tokens = {
      name: content + emb for name, (content, emb) in self.embed(inputs).items()
    }
    joined = jnp.concatenate(list(tokens.values()), axis=1)
    visible = jnp.ones((1, 1, 1, joined.shape[1]), bool)
    last, every = self.encoder(joined, visible, keep_all=True)
    features = [*every[:-1], self.encoder_norm(last)]
    lengths = {name: x.shape[1] for name, x in tokens.items()}
    return [self._merge(layer, lengths) for layer in features]

  def embed(self, inputs):
    """{name: (content, position plus modality vector)}, [B, N, D] each."""
    names = [m.name for m in self.modalities]
    if not inputs or set(inputs) - set(names):
      raise ValueError(f'Inputs {sorted(inputs)} must be some of {names}.')
    return {
      m.name: self._embed_one(m, inputs[m.name])
      for m in self.modalities
      if m.name in inputs
    }

  def _embed_one(self, modality, values):
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

  def _merge(self, tokens, lengths):
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


def param_shapes(model):
  """Nested dict of the shapes of an `Encoder`'s parameters; makes no array."""
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


def encoder_params(params):
  """The part of a `Backbone`'s parameters that an `Encoder` of the same
  modalities takes. 'concat' needs a 'missing_token' [D] besides."""
  return {name: params[name] for name in _SHARED}


def _grid(codes, name):
  if codes.ndim == 3:
    return codes.shape[1:]
  side = math.isqrt(codes.shape[1])
  if side**2 != codes.shape[1]:
    raise ValueError(
      f'{codes.shape[1]} codes of {name!r} are no square grid; give them as '
      '[B, rows, columns].'
    )
  return side, side
