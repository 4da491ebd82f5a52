"""The two towers of CLIP: images to vectors, and token ids to vectors.

Source: Radford et al. 2021, arXiv:2103.00020; layout of OpenAI's code.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax.nn import blocks, layers
from fusion_jax.ops import patches
from fusion_jax.types import Array


def quick_gelu(x: jax.Array) -> jax.Array:
  """Returns x sigmoid(1.702 x), OpenAI's approximation of the GELU of [...]."""
  return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: jax.Array) -> jax.Array:
  """Returns the exact (erf) GELU of x [...]."""
  return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
  'quick_gelu': quick_gelu,
  'gelu': gelu,
}


class VisionTower(nn.Module):
  """Image tower of `Clip`.

  Attributes:
    out_width: E, width of the shared space.
    image_size: pixels per side of an image.
    patch: pixels per side of a patch.
    width: D, width of the tower.
    depth: number of layers.
    num_heads: number of attention heads; must divide D.
    activation: activation of the MLPs, see `Clip`.
    dtype: data type of the computation.
    unroll: layers per iteration of the loop over layers.
  """

  out_width: int
  image_size: int
  patch: int
  width: int
  depth: int
  num_heads: int
  activation: str
  dtype: DTypeLike = jnp.float32
  unroll: int = 1

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    scale = self.width**-0.5
    self.patches = layers.Linear(self.width, dtype=self.dtype)
    self.class_token = self.param(
      'class_token', nn.initializers.normal(scale), (self.width,)
    )
    self.positions = self.param(
      'positions',
      nn.initializers.normal(scale),
      ((self.image_size // self.patch) ** 2 + 1, self.width),
    )
    self.norm_in = layer_norm(self.dtype)
    self.encoder = blocks.Stack(
      Block(self.width, self.num_heads, self.activation, self.dtype),
      self.depth,
      self.unroll,
    )
    self.norm_out = layer_norm(self.dtype)
    self.projection = self.param(
      'projection', nn.initializers.normal(scale), (self.width, self.out_width)
    )

  def __call__(self, pixels: Array) -> jax.Array:
    """Returns vectors [B, E] float32 of standardised pixels [B, Y, X, 3]."""
    tokens = self.embed(pixels)
    tokens = self.encoder(tokens, jnp.ones((1, 1, 1, tokens.shape[1]), bool))
    pooled = self.norm_out(tokens[:, 0])
    return _project(pooled, self.projection, self.dtype)

  def embed(self, pixels: Array) -> jax.Array:
    """Returns the input of the first block, [B, N, D], class token first.

    Args:
      pixels: [B, Y, X, 3] float, standardised.

    Raises:
      ValueError: if the images have another size.
    """
    batch, *shape = pixels.shape
    if shape != [self.image_size, self.image_size, 3]:
      raise ValueError(
        f'Images are {tuple(shape)}; this model takes '
        f'{(self.image_size, self.image_size, 3)}. Prepare them with '
        'data.clip_images.preprocess.'
      )
    content = self.patches(patches.patchify(pixels, self.patch))
    first = jnp.broadcast_to(
      self.class_token.astype(self.dtype)[None, None], (batch, 1, self.width)
    )
    tokens = jnp.concatenate([first, content], axis=1)
    return self.norm_in(tokens + self.positions.astype(self.dtype)[None])


class TextTower(nn.Module):
  """Text tower of `Clip`.

  Attributes:
    out_width: E, width of the shared space.
    vocab_size: number of token ids; the highest id ends a text.
    context: largest number of tokens of a text, start and end included.
    width: D, width of the tower.
    depth: number of layers.
    num_heads: number of attention heads; must divide D.
    activation: activation of the MLPs, see `Clip`.
    dtype: data type of the computation.
    unroll: layers per iteration of the loop over layers.
  """

  out_width: int
  vocab_size: int
  context: int
  width: int
  depth: int
  num_heads: int
  activation: str
  dtype: DTypeLike = jnp.float32
  unroll: int = 1

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.table = self.param(
      'table', nn.initializers.normal(0.02), (self.vocab_size, self.width)
    )
    self.positions = self.param(
      'positions', nn.initializers.normal(0.01), (self.context, self.width)
    )
    self.encoder = blocks.Stack(
      Block(self.width, self.num_heads, self.activation, self.dtype),
      self.depth,
      self.unroll,
    )
    self.norm_out = layer_norm(self.dtype)
    self.projection = self.param(
      'projection',
      nn.initializers.normal(self.width**-0.5),
      (self.width, self.out_width),
    )

  def __call__(self, ids: Array) -> jax.Array:
    """Returns vectors [B, E] float32 of texts with the token ids [B, N] int."""
    tokens = self.encode(ids)
    last = jnp.argmax(ids, axis=1)  # The end of a text has the highest id.
    pooled = jnp.take_along_axis(tokens, last[:, None, None], axis=1)[:, 0]
    return _project(pooled, self.projection, self.dtype)

  def encode(self, ids: Array) -> jax.Array:
    """Returns the normalised output of every token, [B, N, D].

    Args:
      ids: int [B, N].

    Raises:
      ValueError: if there are more than `context` tokens.
    """
    num_tokens = ids.shape[1]
    if num_tokens > self.context:
      raise ValueError(
        f'Texts of {num_tokens} tokens; this model takes at '
        f'most {self.context}.'
      )
    causal = jnp.tril(jnp.ones((num_tokens, num_tokens), bool))
    return self.norm_out(self.encoder(self.embed(ids), causal[None, None]))

  def embed(self, ids: Array) -> jax.Array:
    """Returns the input of the first block, [B, N, D], of ids [B, N] int."""
    tokens = jnp.take(self.table, ids, axis=0)
    return (tokens + self.positions[None, : ids.shape[1]]).astype(self.dtype)


class Block(nn.Module):
  """Pre-norm self-attention and MLP of hidden width 4 D, all with biases.

  Attributes:
    width: D, width of the tokens.
    num_heads: number of attention heads; must divide D.
    activation: activation of the MLP, see `Clip`.
    dtype: data type of the computation.
  """

  width: int
  num_heads: int
  activation: str
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.norm1 = layer_norm(self.dtype)
    self.attention = layers.SelfAttention(
      self.width, self.num_heads, True, self.dtype
    )
    self.norm2 = layer_norm(self.dtype)
    self.fc1 = layers.Linear(4 * self.width, True, dtype=self.dtype)
    self.fc2 = layers.Linear(self.width, True, dtype=self.dtype)

  def __call__(self, tokens: jax.Array, visible: Array) -> jax.Array:
    """Returns the tokens [B, N, D] after the block.

    Args:
      tokens: [B, N, D] float.
      visible: bool [1, 1, N or 1, N], True where a query may attend to a key.
    """
    tokens += self.attention(self.norm1(tokens), visible)
    hidden = self.fc1(self.norm2(tokens))
    return tokens + self.fc2(ACTIVATIONS[self.activation](hidden))


def layer_norm(dtype: DTypeLike) -> nn.LayerNorm:
  """Returns CLIP's layer normalisation: with bias, statistics in float32."""
  return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=dtype)


def _project(
  pooled: jax.Array, projection: jax.Array, dtype: DTypeLike
) -> jax.Array:
  """Vectors [B, E] float32 of pooled tokens [B, D]."""
  return (pooled @ projection.astype(dtype)).astype(jnp.float32)
