"""Post-norm transformer layers with dropout, as torch's encoder layer.

Source: PyTorch `nn.TransformerEncoderLayer` with `norm_first=False`, with the
initial values of that class.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax.nn import layers
from fusion_jax.types import Array

# Scores [B, M, H, N] or [B, H, M, N] to attention weights of the same shape.
_Weigh = Callable[[jax.Array], jax.Array]

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
  'relu': jax.nn.relu,
  'gelu': lambda x: jax.nn.gelu(x, approximate=False),
}  # Exact: erf.
_HIDDEN = jnp.finfo(jnp.float32).min  # Finite, so that no row becomes NaN.
_FEW_KEYS = 16  # Twelve months and a class token are 13.
_LEVELS = 2**16  # Number of values of the random numbers of dropout.


class Linear(nn.Module):
  """A linear map of the last axis.

  Attributes:
    features: width of the output.
    bound: kernel and bias are initially uniform in [-bound, bound); 0 takes
      1 / sqrt(width of the input).
    zero_bias: whether the bias is initially 0 instead.
    dtype: data type of the computation; parameters are float32.
  """

  features: int
  bound: float = 0.0
  zero_bias: bool = False
  dtype: DTypeLike = jnp.float32

  def __call__(self, inputs: Array) -> jax.Array:
    """Maps inputs [..., C] to outputs [..., features]."""
    return _affine(inputs, *self.weights(inputs.shape[-1]))

  @nn.compact
  def weights(self, width: int) -> tuple[jax.Array, jax.Array]:
    """Returns the matrix [C, features] and the bias [features], C = `width`."""
    start = layers.uniform(self.bound or width**-0.5)
    kernel = self.param('kernel', start, (width, self.features))
    bias = self.param(
      'bias',
      nn.initializers.zeros if self.zero_bias else start,
      (self.features,),
    )
    return kernel.astype(self.dtype), bias.astype(self.dtype)


def _affine(
  inputs: Array, kernel: jax.Array, bias: jax.Array | None = None
) -> jax.Array:
  """Maps [..., C] to [..., features] by one product of two matrices."""
  *leading, width = inputs.shape
  outputs = jnp.matmul(inputs.reshape(-1, width).astype(kernel.dtype), kernel)
  if bias is not None:
    outputs += bias[None, :]
  return outputs.reshape(*leading, -1)


def layer_norm(dtype: DTypeLike) -> nn.LayerNorm:
  """Returns a layer normalisation with scale, bias and torch's epsilon."""
  return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=dtype)


class Dropout(nn.Module):
  """Sets a share of the values to 0 and scales the others up.

  The share is a multiple of 2^-16: two values are drawn from one random word,
  because drawing takes a good part of a step on CPU. Draws belong to the
  example, so they do not depend on the mesh.

  Attributes:
    rate: share of the values that are set to 0.
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Drops values of x [B, ...]; the random stream is 'dropout'.

    Args:
      x: [B, ...] float.
      train: whether to drop; False returns x.
    """
    threshold = round(self.rate * _LEVELS)
    if not train or not threshold:
      return x
    size = x[0].size
    words = jax.random.bits(
      self.make_rng('dropout'), (len(x), -(-size // 2)), 'uint32'
    )
    draws = jax.lax.bitcast_convert_type(words, jnp.uint16)
    keep = draws.reshape(len(x), -1)[:, :size].reshape(x.shape) >= threshold
    return jnp.where(keep, x * (_LEVELS / (_LEVELS - threshold)), 0)


class Attention(nn.Module):
  """Multi-head attention with one product for queries, keys and values.

  Attributes:
    width: D, width of the tokens.
    num_heads: number of heads; must divide the width.
    dropout: dropout rate of the attention weights.
    dtype: data type of the computation.
  """

  width: int
  num_heads: int
  dropout: float
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.qkv = Linear(
      3 * self.width,
      (6 / (4 * self.width)) ** 0.5,
      zero_bias=True,
      dtype=self.dtype,
    )  # Xavier's bound for the three matrices as one.
    self.out = Linear(self.width, zero_bias=True, dtype=self.dtype)
    self.drop = Dropout(self.dropout)

  def __call__(
    self,
    tokens: jax.Array,
    visible: jax.Array,
    train: bool,
    *,
    first_only: bool = False,
    factors: tuple[jax.Array, jax.Array] | None = None,
  ) -> jax.Array:
    """Computes the attention of tokens among themselves.

    Args:
      tokens: [B, N, D].
      visible: bool [B or 1, 1, 1, N], True where a key exists.
      train: whether to apply dropout.
      first_only: whether only the first token is a query, M = 1; else M = N.
      factors: features [B, N, F] and rows [F, D], whose product are the tokens.
        Attention is then computed with the features, which takes fewer
        operations where F is less than the width of a head. The result is the
        same up to rounding.

    Returns:
      [B, M, D].
    """

    def weigh(scores: jax.Array) -> jax.Array:
      weights = jax.nn.softmax(jnp.where(visible, scores, _HIDDEN))
      return self.drop(weights, train).astype(self.dtype)

    if first_only:
      return self.out(self._first(tokens, weigh))
    if factors is not None:
      return self._factored(*factors, weigh)
    return self.out(self._all(tokens, weigh, train))

  def _all(self, tokens: jax.Array, weigh: _Weigh, train: bool) -> jax.Array:
    """Weighted sums of values for every token, [B, N, D]."""
    queries, keys, values = layers.split_heads(
      self.qkv(tokens), 3, self.num_heads
    )
    scores_BHNN = jnp.einsum(
      'bhmk,bhnk->bhmn',
      queries * queries.shape[-1] ** -0.5,
      keys,
      preferred_element_type=jnp.float32,
    )
    mixed_BHNK = _mix(weigh(scores_BHNN), values, train)
    return mixed_BHNK.swapaxes(1, 2).reshape(tokens.shape)

  def _factored(
    self, features: jax.Array, rows: jax.Array, weigh: _Weigh
  ) -> jax.Array:
    """The output [B, N, D] for the tokens `features @ rows`.

    Matrices are multiplied with each other first, then with the features
    [B, N, F]: queries, keys, values and their sums are F + 1 wide, not D.
    """
    batch, num_tokens, _ = features.shape
    kernel, bias = self.qkv.weights(self.width)
    of_out, bias_out = self.out.weights(self.width)
    # The biases are the row of one more feature, which is always 1.
    features = jnp.pad(features, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    kernel = jnp.concatenate([rows @ kernel, bias[None]])
    of_query, of_key, of_value = jnp.moveaxis(
      kernel.reshape(len(kernel), 3, self.num_heads, -1), 1, 0
    )  # [F, H, K] each.
    queries_BMF = _affine(
      features,
      jnp.einsum('fhk,ghk->fhg', of_query, of_key).reshape(len(kernel), -1)
      * of_query.shape[2] ** -0.5,
    ).reshape(batch, num_tokens * self.num_heads, -1)
    scores_BMN = jnp.einsum(
      'bmf,bnf->bmn', queries_BMF, features, preferred_element_type=jnp.float32
    )
    weights_BNHN = weigh(scores_BMN.reshape(batch, num_tokens, -1, num_tokens))
    sums_BMF = jnp.einsum(
      'bmn,bnf->bmf', weights_BNHN.reshape(scores_BMN.shape), features
    )
    of_sums = jnp.einsum(
      'fhk,hkd->hfd', of_value, of_out.reshape(*of_value.shape[1:], -1)
    ).reshape(-1, self.width)
    return _affine(sums_BMF.reshape(batch, num_tokens, -1), of_sums, bias_out)

  def _first(self, tokens: jax.Array, weigh: _Weigh) -> jax.Array:
    """The weighted sum of values for the first token, [B, 1, D].

    The matrices of keys and values are applied to the only query and to the
    only sum of tokens, not to all tokens. The bias of the keys adds the same
    number to all scores of the query, so it has no effect.
    """
    batch, _, width = tokens.shape
    shape = 3, self.num_heads, width // self.num_heads
    kernel, bias = self.qkv.weights(width)
    of_query, of_key, of_value = jnp.moveaxis(
      kernel.reshape(width, *shape), 1, 0
    )  # [D, H, K] each.
    bias_query, _, bias_value = bias.reshape(shape)
    tokens = tokens.astype(self.dtype)
    queries_BHK = (tokens[:, 0] @ of_query.reshape(width, width)).reshape(
      batch, *shape[1:]
    ) + bias_query[None]
    moved_BHD = jnp.einsum(
      'bhk,dhk->bhd', queries_BHK * shape[2] ** -0.5, of_key
    )
    scores_BHN = jnp.einsum(
      'bhd,bnd->bhn', moved_BHD, tokens, preferred_element_type=jnp.float32
    )
    weights_BHN = weigh(scores_BHN[:, :, None])[:, :, 0]
    sums_BHD = jnp.einsum('bhn,bnd->bhd', weights_BHN, tokens)
    mixed_BHK = jnp.einsum('bhd,dhk->bhk', sums_BHD, of_value)
    total = weights_BHN.sum(axis=-1)[..., None]  # 1 without dropout.
    return (mixed_BHK + total * bias_value[None]).reshape(batch, 1, width)


def _mix(weights: jax.Array, values: jax.Array, train: bool) -> jax.Array:
  """Weighted sums of values: [B, H, M, N] and [B, H, N, K] to [B, H, M, K].

  For few keys the sum is written out: on CPU such small products then take a
  third less time, but their gradients take more.
  """
  num_keys = values.shape[2]
  if train or num_keys > _FEW_KEYS:
    return jnp.einsum('bhmn,bhnk->bhmk', weights, values)
  total = jnp.zeros((), jnp.float32)
  for i in range(num_keys):
    total = total + (
      weights[:, :, :, i, None].astype(jnp.float32) * values[:, :, None, i]
    )
  return total.astype(values.dtype)


class PostNormBlock(nn.Module):
  """Attention and MLP, each added, then normalised.

  Attributes:
    width: D, width of the tokens.
    num_heads: number of attention heads; must divide the width.
    hidden: width of the hidden layer of the MLP.
    activation: name of the activation, a key of ACTIVATIONS.
    dropout: dropout rate in four places: weights and output of the attention,
      inside and after the MLP.
    dtype: data type of the computation.
  """

  width: int
  num_heads: int
  hidden: int
  activation: str
  dropout: float
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.attention = Attention(
      self.width, self.num_heads, self.dropout, self.dtype
    )
    self.norm1 = layer_norm(self.dtype)
    self.linear1 = Linear(self.hidden, dtype=self.dtype)
    self.linear2 = Linear(self.width, dtype=self.dtype)
    self.norm2 = layer_norm(self.dtype)
    self.drop = Dropout(self.dropout)

  def __call__(
    self,
    tokens: jax.Array,
    visible: jax.Array,
    train: bool,
    *,
    first_only: bool = False,
    factors: tuple[jax.Array, jax.Array] | None = None,
  ) -> jax.Array:
    """Maps tokens [B, N, D] to [B, M, D]; see `Attention` for the arguments."""
    mixed = self.attention(
      tokens, visible, train, first_only=first_only, factors=factors
    )
    if first_only:
      tokens = tokens[:, :1]
    tokens = self.norm1(tokens + self.drop(mixed, train))
    hidden = ACTIVATIONS[self.activation](self.linear1(tokens))
    fed = self.linear2(self.drop(hidden, train))
    return self.norm2(tokens + self.drop(fed, train))
