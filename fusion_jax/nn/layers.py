"""Transformer layers of the backbone: attention, MLPs, blocks, their stack.

Two families, as in TerraMind v1: 'gelu' (tiny, small) and 'swiglu' (base,
large). Source: 4M `fourm/models/fm_utils.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


class Linear(nn.Module):
  """A linear map of the last axis, as one product of two matrices.

  Leading axes are flattened before the product: on CPU a training step is 1.5
  times as fast as with batched operands.

  Attributes:
    features: width of the output.
    use_bias: whether to add a bias.
    parts: equal parts of the output that are initialised as separate maps.
    dtype: of the computation; parameters are float32.
  """

  features: int
  use_bias: bool = False
  parts: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, inputs):
    *leading, width = inputs.shape
    bound = (6 / (width + self.features // self.parts)) ** 0.5  # Xavier.
    kernel = self.param('kernel', uniform(bound), (width, self.features))
    outputs = inputs.reshape(-1, width).astype(self.dtype) @ kernel.astype(
      self.dtype
    )
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, (self.features,))
      outputs += bias.astype(self.dtype)[None, :]
    return outputs.reshape(*leading, self.features)


def uniform(bound):
  """Initialiser: uniform in [-bound, bound)."""

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def layer_norm(dtype):
  """Layer normalisation with a scale and no bias, statistics in float32."""
  return nn.LayerNorm(
    epsilon=1e-6, use_bias=False, use_fast_variance=False, dtype=dtype
  )


def attend(queries, keys, values, visible):
  """Softmax attention of [B, H, N, K] queries to [B, H, M, K] keys and values.

  Args:
    queries: [B, H, N, K].
    keys: [B, H, M, K].
    values: [B, H, M, K].
    visible: bool, True where a query may look, [B, 1, N or 1, M]. A query that
      may look nowhere gets the mean of all values.

  Returns:
    [B, N, H * K], heads concatenated.
  """
  batch, num_heads, num_queries, head_width = queries.shape
  scores_BHNM = jnp.einsum(
    'bhnk,bhmk->bhnm',
    queries * head_width**-0.5,
    keys,
    preferred_element_type=jnp.float32,
  )
  hidden = jnp.finfo(jnp.float32).min  # Finite, so that no row becomes NaN.
  weights_BHNM = jax.nn.softmax(jnp.where(visible, scores_BHNM, hidden))
  mixed_BHNK = jnp.einsum(
    'bhnm,bhmk->bhnk', weights_BHNM.astype(values.dtype), values
  )
  return mixed_BHNK.transpose(0, 2, 1, 3).reshape(
    batch, num_queries, num_heads * head_width
  )


def split_heads(tokens, parts, num_heads):
  """[B, N, parts * D] to [parts, B, H, N, K]."""
  batch, num_tokens, width = tokens.shape
  tokens = tokens.reshape(
    batch, num_tokens, parts, num_heads, width // parts // num_heads
  )
  return tokens.transpose(2, 0, 3, 1, 4)


class SelfAttention(nn.Module):
  """Multi-head attention of tokens among themselves."""

  width: int
  num_heads: int  # Must divide the width.
  use_bias: bool
  dtype: Any = jnp.float32

  def setup(self):
    self.qkv = Linear(3 * self.width, self.use_bias, 3, self.dtype)
    self.out = Linear(self.width, self.use_bias, dtype=self.dtype)

  def __call__(self, tokens, visible):
    """Tokens [B, N, D], visible bool [B, 1, N or 1, N]; returns [B, N, D]."""
    queries, keys, values = split_heads(self.qkv(tokens), 3, self.num_heads)
    return self.out(attend(queries, keys, values, visible))

  def step(self, token, cache, index):
    """Attends from one new token to itself and those before it.

    Args:
      token: [B, 1, D], the token number `index`.
      cache: pair of [B, H, T, K], the keys and values of earlier tokens.
      index: int32 scalar.

    Returns:
      [B, 1, D], and the cache with this token's key and value in it.
    """
    query, key, value = split_heads(self.qkv(token), 3, self.num_heads)
    keys, values = (
      jax.lax.dynamic_update_slice_in_dim(old, new, index, axis=2)
      for old, new in zip(cache, (key, value))
    )
    visible = jnp.arange(keys.shape[2]) <= index
    mixed = attend(query, keys, values, visible[None, None, None, :])
    return self.out(mixed), (keys, values)


class CrossAttention(nn.Module):
  """Multi-head attention from tokens to a context."""

  width: int
  num_heads: int  # Must divide the width.
  use_bias: bool
  dtype: Any = jnp.float32

  def setup(self):
    self.query = Linear(self.width, self.use_bias, dtype=self.dtype)
    self.kv = Linear(2 * self.width, self.use_bias, 2, self.dtype)
    self.out = Linear(self.width, self.use_bias, dtype=self.dtype)

  def __call__(self, tokens, context, visible):
    """Tokens [B, M, D], context [B, N, D], visible bool [B, 1, 1, N]."""
    return self.look(tokens, self.keys_values(context), visible)

  def keys_values(self, context):
    """The context's keys and values, [2, B, H, N, K]."""
    return split_heads(self.kv(context), 2, self.num_heads)

  def look(self, tokens, keys_values, visible):
    """Attention of tokens [B, M, D] to keys and values computed before."""
    (queries,) = split_heads(self.query(tokens), 1, self.num_heads)
    return self.out(attend(queries, *keys_values, visible))


class GeluMlp(nn.Module):
  """Two linear maps with the exact (erf) GELU between, hidden width 4 D."""

  width: int
  use_bias: bool
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, tokens):
    hidden = Linear(
      4 * self.width, self.use_bias, dtype=self.dtype, name='fc1'
    )(tokens)
    hidden = jax.nn.gelu(hidden, approximate=False)
    return Linear(self.width, self.use_bias, dtype=self.dtype, name='fc2')(
      hidden
    )


class SwigluMlp(nn.Module):
  """fc2(SiLU(fc1 x) * fc3 x), hidden width floor(8 D / 3)."""

  width: int
  use_bias: bool
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, tokens):
    hidden_width = 8 * self.width // 3
    gate, linear = (
      Linear(hidden_width, self.use_bias, dtype=self.dtype, name=name)(tokens)
      for name in ('fc1', 'fc3')
    )
    return Linear(self.width, self.use_bias, dtype=self.dtype, name='fc2')(
      jax.nn.silu(gate) * linear
    )


MLPS = {'gelu': GeluMlp, 'swiglu': SwigluMlp}


class EncoderBlock(nn.Module):
  """Pre-norm self-attention and MLP."""

  width: int
  num_heads: int
  mlp: str  # A key of MLPS.
  use_bias: bool
  dtype: Any = jnp.float32

  def setup(self):
    self.norm1 = layer_norm(self.dtype)
    self.attention = SelfAttention(
      self.width, self.num_heads, self.use_bias, self.dtype
    )
    self.norm2 = layer_norm(self.dtype)
    self.feed = MLPS[self.mlp](self.width, self.use_bias, self.dtype)

  def __call__(self, tokens, visible):
    """Tokens [B, N, D], visible bool [B, 1, 1, N]; returns [B, N, D]."""
    tokens += self.attention(self.norm1(tokens), visible)
    return tokens + self.feed(self.norm2(tokens))


class DecoderBlock(nn.Module):
  """Pre-norm self-attention, cross-attention to a context, and MLP."""

  width: int
  num_heads: int
  mlp: str  # A key of MLPS.
  use_bias: bool
  dtype: Any = jnp.float32

  def setup(self):
    common = (self.width, self.num_heads, self.use_bias, self.dtype)
    self.norm1 = layer_norm(self.dtype)
    self.self_attention = SelfAttention(*common)
    self.query_norm = layer_norm(self.dtype)
    self.context_norm = layer_norm(self.dtype)
    self.cross_attention = CrossAttention(*common)
    self.norm2 = layer_norm(self.dtype)
    self.feed = MLPS[self.mlp](self.width, self.use_bias, self.dtype)

  def __call__(self, tokens, context, attends, visible):
    """One block.

    Args:
      tokens: [B, M, D].
      context: [B, N, D].
      attends: bool [B, 1, M, M], which token may look at which.
      visible: bool [B, 1, 1, N], which part of the context exists.

    Returns:
      [B, M, D].
    """
    tokens += self.self_attention(self.norm1(tokens), attends)
    tokens += self.cross_attention(
      self.query_norm(tokens), self.context_norm(context), visible
    )
    return tokens + self.feed(self.norm2(tokens))

  def keys_values(self, context):
    """This block's keys and values of the context, [2, B, H, N, K]."""
    return self.cross_attention.keys_values(self.context_norm(context))

  def step(self, token, self_cache, keys_values, visible, index):
    """`__call__` for one new token [B, 1, D]; also returns the cache.

    Where the context has B / S rows, each belongs to S tokens in a row: the
    samples of one condition look at it together, and it is never repeated.
    """
    mixed, self_cache = self.self_attention.step(
      self.norm1(token), self_cache, index
    )
    token += mixed
    samples = self.query_norm(token).reshape(
      keys_values.shape[1], -1, self.width
    )
    token += self.cross_attention.look(samples, keys_values, visible).reshape(
      token.shape
    )
    return token + self.feed(self.norm2(token)), self_cache


class Stack(nn.Module):
  """A block repeated `depth` times; parameters are stacked, [L, ...]."""

  blocks: nn.Module  # One block; every layer has its own parameters.
  depth: int
  unroll: int = 1  # Layers a loop iteration; `depth` leaves no loop.

  def __call__(self, tokens, *args, keep_all=False):
    """Runs all layers.

    Args:
      tokens: [B, N, D].
      *args: further arguments of the block, the same for every layer.
      keep_all: whether to return the output of every layer as well.

    Returns:
      [B, N, D], and with `keep_all` also [L, B, N, D].
    """

    def body(block, tokens, *args):
      tokens = block(tokens, *args)
      return tokens, tokens if keep_all else None

    scan = nn.scan(
      body,
      variable_axes={'params': 0},
      split_rngs={'params': True},
      in_axes=(nn.broadcast,) * len(args),
      length=self.depth,
      unroll=self.unroll,
    )
    tokens, layers = scan(self.blocks, tokens, *args)
    return (tokens, layers) if keep_all else tokens
