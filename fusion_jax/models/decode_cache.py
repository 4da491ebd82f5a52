"""What autoregressive decoding keeps between two tokens."""

import jax
from flax import struct

from fusion_jax.types import Params


class DecodeCache(struct.PyTreeNode):
  """State of autoregressive decoding between two tokens.

  Attributes:
    keys: keys of the decoded tokens, one array [B, H, T, K] per layer.
    values: values of the decoded tokens, one array [B, H, T, K] per layer.
    context: keys and values of the context, a pair of arrays [B, H, N, K] per
      layer.
    visible: bool [B, N], True where a token of the context exists.
    weights: parameters of every layer, which are sliced from the stack once
      and not at every token.
    length: int32 scalar, number of tokens decoded so far.
  """

  keys: tuple[jax.Array, ...]
  values: tuple[jax.Array, ...]
  context: tuple[tuple[jax.Array, jax.Array], ...]
  visible: jax.Array
  weights: tuple[Params, ...]
  length: jax.Array
