"""Transformer blocks of the backbone, and their stack.

Source: 4M `fourm/models/fm_utils.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax.nn import layers
from fusion_jax.ops import partitioning
from fusion_jax.types import Array


class EncoderBlock(nn.Module):
  """Self-attention and an MLP, each after a layer normalisation.

  Attributes:
    width: D, width of the tokens.
    num_heads: number of heads; must divide the width.
    mlp: kind of MLP, a key of MLPS.
    use_bias: whether the linear maps have biases.
    dtype: dtype of the computation; parameters are float32.
  """

  width: int
  num_heads: int
  mlp: str
  use_bias: bool
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.norm1 = layers.layer_norm(self.dtype)
    self.attention = layers.SelfAttention(
      self.width, self.num_heads, self.use_bias, self.dtype
    )
    self.norm2 = layers.layer_norm(self.dtype)
    self.feed = layers.MLPS[self.mlp](self.width, self.use_bias, self.dtype)

  def __call__(self, tokens: jax.Array, visible: Array) -> jax.Array:
    """Runs the block.

    Args:
      tokens: [B, N, D].
      visible: [B, 1, 1, N] bool, True for tokens that exist.

    Returns:
      [B, N, D].
    """
    tokens += self.attention(self.norm1(tokens), visible)
    return tokens + self.feed(self.norm2(tokens))


class DecoderBlock(nn.Module):
  """Self-attention, attention to a context and an MLP, each after a norm.

  Attributes:
    width: D, width of the tokens.
    num_heads: number of heads; must divide the width.
    mlp: kind of MLP, a key of MLPS.
    use_bias: whether the linear maps have biases.
    dtype: dtype of the computation; parameters are float32.
  """

  width: int
  num_heads: int
  mlp: str
  use_bias: bool
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    common = (self.width, self.num_heads, self.use_bias, self.dtype)
    self.norm1 = layers.layer_norm(self.dtype)
    self.self_attention = layers.SelfAttention(*common)
    self.query_norm = layers.layer_norm(self.dtype)
    self.context_norm = layers.layer_norm(self.dtype)
    self.cross_attention = layers.CrossAttention(*common)
    self.norm2 = layers.layer_norm(self.dtype)
    self.feed = layers.MLPS[self.mlp](self.width, self.use_bias, self.dtype)

  def __call__(
    self,
    tokens: jax.Array,
    context: jax.Array,
    attends: Array,
    visible: Array,
  ) -> jax.Array:
    """Runs the block.

    Args:
      tokens: [B, M, D].
      context: [B, N, D].
      attends: [B, 1, M, M] bool, True where a token may look at another one.
      visible: [B, 1, 1, N] bool, True for the parts of the context that exist.

    Returns:
      [B, M, D].
    """
    tokens += self.self_attention(self.norm1(tokens), attends)
    tokens += self.cross_attention(
      self.query_norm(tokens), self.context_norm(context), visible
    )
    return tokens + self.feed(self.norm2(tokens))

  def keys_values(self, context: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns this block's keys and values of a context, [B, H, N, K] each."""
    return self.cross_attention.keys_values(self.context_norm(context))

  def step(
    self,
    token: jax.Array,
    self_cache: tuple[jax.Array, jax.Array],
    keys_values: tuple[jax.Array, jax.Array],
    visible: Array,
    index: Array | int,
  ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Runs the block for one new token.

    The context may have fewer rows than the tokens, B / S. Then each of its
    rows belongs to S consecutive tokens: the S samples of one condition look at
    it together, and it is never repeated.

    Args:
      token: [B, 1, D], the new token.
      self_cache: keys and values of earlier tokens, [B, H, T, K] each.
      keys_values: [B / S, H, N, K] each, as `keys_values` returns them.
      visible: [B / S, 1, 1, N] bool, True for the parts of the context that
        exist.
      index: int32 scalar, position of the new token, counted from 0.

    Returns:
      [B, 1, D], and the cache with the new token's key and value in it.
    """
    mixed, self_cache = self.self_attention.step(
      self.norm1(token), self_cache, index
    )
    token += mixed
    samples = self.query_norm(token).reshape(
      keys_values[0].shape[0], -1, self.width
    )
    token += self.cross_attention.look(samples, keys_values, visible).reshape(
      token.shape
    )
    return token + self.feed(self.norm2(token)), self_cache


class Stack(nn.Module):
  """A block repeated `depth` times; parameters are stacked, [L, ...].

  Attributes:
    blocks: one block; every layer has parameters of its own.
    depth: L, number of layers.
    unroll: layers in one iteration of the loop; `depth` leaves no loop.
    remat: whether only the input of each layer is kept for the gradient,
      which then computes the layer once more: less memory, more time.
  """

  blocks: nn.Module
  depth: int
  unroll: int = 1
  remat: bool = False

  def __call__(
    self, tokens: jax.Array, *args: Any, keep_all: bool = False
  ) -> Any:
    """Runs all layers.

    Args:
      tokens: [B, N, D].
      *args: further arguments of the block, [B, ...] or [1, ...] each, which
        every layer receives.
      keep_all: whether to return the output of every layer as well.

    Returns:
      [B, N, D]; with `keep_all` a pair of this and the outputs of all layers,
      [L, B, N, D].
    """

    def body(block, tokens, *args):
      tokens = partitioning.split_rows(
        block(partitioning.split_rows(tokens), *partitioning.split_rows(args))
      )
      return tokens, tokens if keep_all else None

    scan = nn.scan(
      nn.remat(body, prevent_cse=False) if self.remat else body,
      variable_axes={'params': 0},
      split_rngs={'params': True},
      # Flax documents pytrees of axes, but its default reads as an int.
      in_axes=(nn.broadcast,) * len(args),  # pyright: ignore[reportArgumentType]
      length=self.depth,
      unroll=self.unroll,
    )
    tokens, outputs = scan(self.blocks, tokens, *args)
    return (tokens, outputs) if keep_all else tokens


def check_sizes(width: int, num_heads: int, mlp: str) -> None:
  """Checks the sizes of a model of these blocks.

  Args:
    width: D, width of the tokens.
    num_heads: number of attention heads.
    mlp: kind of MLP.

  Raises:
    ValueError: if the width is not divisible by `num_heads` and by 4, or there
      is no such MLP.
  """
  if width % num_heads:
    raise ValueError(f'width={width} does not divide by num_heads={num_heads}.')
  if width % 4:
    raise ValueError(
      f'width={width} must be divisible by 4: half of the '
      'position vector is for rows, half for columns.'
    )
  if mlp not in layers.MLPS:
    raise ValueError(f'mlp={mlp!r} is none of {sorted(layers.MLPS)}.')
