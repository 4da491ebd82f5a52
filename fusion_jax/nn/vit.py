"""The vision transformers of the image tokenizers.

Source: terrastackai/terratorch, commit 85467a9,
`tokenizer/models/vit_models.py`. They differ from the backbone: patches and
norms have biases, no final norm, and an MLP with tanh stands at the end.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax.nn import convolutions, layers, positions
from fusion_jax.ops import patches


class Transformer(nn.Module):
  """Pre-norm blocks on a grid of tokens, then an MLP with tanh.

  Attributes:
    width: D, divisible by 4.
    depth: blocks.
    num_heads: must divide D.
    built: tokens a side of the square grid that the positions were made for;
      other grids see that one stretched over them.
    unroll: blocks a loop iteration.
    dtype: of the computation.
    stacked: whether the blocks share stacked parameters, `blocks` [L, ...], or
      have their own, `block_0` and on, without a loop.
  """

  width: int
  depth: int
  num_heads: int
  built: int = 16
  unroll: int = 1
  dtype: Any = jnp.float32
  stacked: bool = True

  @nn.compact
  def __call__(self, tokens, keep_all=False):
    """Tokens [B, rows, columns, D] to the same, with positions added first.

    With `keep_all` also the output of every block, [L, B, N, D].
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

  def _run_blocks(self, tokens):
    """Output of the last block, and of every one, [L, B, N, D]."""
    common = (self.width, self.num_heads, self.dtype)
    if self.stacked:
      return layers.Stack(
        Block(*common, name='blocks'), self.depth, self.unroll
      )(tokens, keep_all=True)
    every = []
    for i in range(self.depth):
      tokens = Block(*common, name=f'block_{i}')(tokens)
      every.append(tokens)
    return tokens, jnp.stack(every)


class PatchEncoder(nn.Module):
  """Images [B, Y, X, C] to features [B, Y / patch, X / patch, D]."""

  transformer: Transformer
  patch: int = 16

  @nn.compact
  def __call__(self, images, keep_all=False):
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
  """Features [B, rows, columns, D] to images with `channels`, float32."""

  transformer: Transformer
  channels: int
  patch: int = 16

  @nn.compact
  def __call__(self, features):
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
  """`layers.EncoderBlock` with biases everywhere, every token visible."""

  width: int
  num_heads: int
  dtype: Any = jnp.float32

  def setup(self):
    self.norm1 = _layer_norm(self.dtype)
    self.attention = layers.SelfAttention(
      self.width, self.num_heads, True, self.dtype
    )
    self.norm2 = _layer_norm(self.dtype)
    self.feed = layers.GeluMlp(self.width, True, self.dtype)

  def __call__(self, tokens):
    visible = jnp.ones((1, 1, 1, 1), bool)
    tokens += self.attention(self.norm1(tokens), visible)
    return tokens + self.feed(self.norm2(tokens))


def unstacked(params):
  """Parameters of a `Transformer` without `stacked`, from those with it."""
  blocks = params['blocks']
  depth = len(jax.tree.leaves(blocks)[0])
  rest = {name: value for name, value in params.items() if name != 'blocks'}
  return rest | {
    f'block_{i}': jax.tree.map(lambda x, i=i: x[i], blocks)
    for i in range(depth)
  }


class _TanhMlp(nn.Module):
  """Two linear maps with tanh between, hidden width 4 D."""

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, tokens):
    hidden = layers.Linear(4 * self.width, True, dtype=self.dtype, name='fc1')(
      tokens
    )
    return layers.Linear(self.width, True, dtype=self.dtype, name='fc2')(
      jnp.tanh(hidden)
    )


def _layer_norm(dtype, name=None):
  """Layer normalisation with scale and bias, statistics in float32."""
  return nn.LayerNorm(
    epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name
  )
