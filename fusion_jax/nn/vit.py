"""The vision transformers of the image tokenizers.

They differ from the backbone: patches and norms have biases, there is no final
norm, and an MLP with tanh stands at the end. Source: terrastackai/terratorch,
commit 85467a9, `tokenizer/models/vit_models.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax.nn import blocks, convolutions, layers, positions
from fusion_jax.ops import patches
from fusion_jax.types import Array, Params


class Transformer(nn.Module):
  """Pre-norm blocks on a grid of tokens, then an MLP with tanh.

  Attributes:
    width: D, width of the tokens, divisible by 4.
    depth: L, number of blocks.
    num_heads: number of heads; must divide D.
    built: tokens per side of the square grid that the positions were made for;
      tokens on another grid see this one stretched over them.
    unroll: blocks in one iteration of the loop.
    dtype: dtype of the computation; parameters are float32.
    stacked: whether the parameters of the blocks are stacked, `blocks`
      [L, ...]; otherwise each block has its own, `block_0` and so on, and there
      is no loop.
  """

  width: int
  depth: int
  num_heads: int
  built: int = 16
  unroll: int = 1
  dtype: DTypeLike = jnp.float32
  stacked: bool = True

  @nn.compact
  def __call__(self, tokens: jax.Array, keep_all: bool = False) -> Any:
    """Adds positions to tokens and runs all blocks.

    Args:
      tokens: [B, rows, columns, D].
      keep_all: whether to return the output of every block as well.

    Returns:
      [B, rows, columns, D]; with `keep_all` a pair of this and the outputs of
      all blocks, [L, B, N, D].
    """
    batch, rows, columns, width = tokens.shape
    table = positions.resized_grid_table(self.built, (rows, columns), width)
    tokens = (
      tokens.reshape(batch, -1, width) + jnp.asarray(table, self.dtype)[None]
    )
    tokens, every = self._run_blocks(tokens)
    tokens += _TanhMlp(self.width, self.dtype, name='post')(
      _layer_norm(self.dtype, name='post_norm')(tokens)
    )
    tokens = tokens.reshape(batch, rows, columns, width)
    return (tokens, every) if keep_all else tokens

  def _run_blocks(self, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the output of the last block, and of all blocks [L, B, N, D]."""
    common = (self.width, self.num_heads, self.dtype)
    if self.stacked:
      return blocks.Stack(
        Block(*common, name='blocks'), self.depth, self.unroll
      )(tokens, keep_all=True)
    every = []
    for i in range(self.depth):
      tokens = Block(*common, name=f'block_{i}')(tokens)
      every.append(tokens)
    return tokens, jnp.stack(every)


class PatchEncoder(nn.Module):
  """Encodes images as features of their patches.

  Attributes:
    transformer: transformer on the patches.
    patch: pixels per side of a patch.
  """

  transformer: Transformer
  patch: int = 16

  @nn.compact
  def __call__(self, images: Array, keep_all: bool = False) -> Any:
    """Encodes images.

    Args:
      images: [B, Y, X, C] float.
      keep_all: whether to return the output of every block as well.

    Returns:
      [B, Y / patch, X / patch, D]; with `keep_all` a pair of this and the
      outputs of all blocks, [L, B, N, D].
    """
    batch, height, width, _ = images.shape
    inner = self.transformer
    tokens = convolutions.Projection(
      inner.width, dtype=inner.dtype, name='patches'
    )(patches.patchify(images, self.patch))
    grid = tokens.reshape(
      batch, height // self.patch, width // self.patch, inner.width
    )
    return inner(grid, keep_all)


class PatchDecoder(nn.Module):
  """Decodes features of patches to images.

  Attributes:
    transformer: transformer on the patches.
    channels: C, channels of the images.
    patch: pixels per side of a patch.
  """

  transformer: Transformer
  channels: int
  patch: int = 16

  @nn.compact
  def __call__(self, features: jax.Array) -> jax.Array:
    """Decodes features [B, rows, columns, D] to [B, Y, X, C] float32."""
    batch, rows, columns, _ = features.shape
    inner = self.transformer
    values = layers.Linear(
      self.patch**2 * self.channels, True, dtype=inner.dtype, name='pixels'
    )(inner(features))
    return patches.unpatchify(
      values.astype(jnp.float32).reshape(batch, rows * columns, -1),
      (rows, columns),
      self.patch,
    )


class Block(nn.Module):
  """The block of `blocks.EncoderBlock` with biases; every token is visible.

  Attributes:
    width: D, width of the tokens.
    num_heads: number of heads; must divide D.
    dtype: dtype of the computation; parameters are float32.
  """

  width: int
  num_heads: int
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.norm1 = _layer_norm(self.dtype)
    self.attention = layers.SelfAttention(
      self.width, self.num_heads, True, self.dtype
    )
    self.norm2 = _layer_norm(self.dtype)
    self.feed = layers.GeluMlp(self.width, True, self.dtype)

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """Runs the block on tokens [B, N, D]; returns [B, N, D]."""
    visible = jnp.ones((1, 1, 1, 1), bool)
    tokens += self.attention(self.norm1(tokens), visible)
    return tokens + self.feed(self.norm2(tokens))


def unstacked(params: Params) -> dict[str, Any]:
  """Unstacks the parameters of the blocks of a `Transformer`.

  Args:
    params: parameters of a transformer with `stacked=True`: 'blocks', a tree of
      [L, ...], and others.

  Returns:
    The parameters of the transformer with `stacked=False`: 'block_0' and so on.
  """
  stacked = params['blocks']
  depth = len(jax.tree.leaves(stacked)[0])
  rest = {name: value for name, value in params.items() if name != 'blocks'}
  return rest | {
    f'block_{i}': jax.tree.map(lambda x, i=i: x[i], stacked)
    for i in range(depth)
  }


class _TanhMlp(nn.Module):
  """Two linear maps with tanh between, hidden width 4 D."""

  width: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, tokens: jax.Array) -> jax.Array:
    hidden = layers.Linear(4 * self.width, True, dtype=self.dtype, name='fc1')(
      tokens
    )
    return layers.Linear(self.width, True, dtype=self.dtype, name='fc2')(
      jnp.tanh(hidden)
    )


def _layer_norm(dtype: DTypeLike, name: str | None = None) -> nn.LayerNorm:
  """Returns a layer norm with scale and bias, statistics in float32."""
  return nn.LayerNorm(
    epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name
  )
