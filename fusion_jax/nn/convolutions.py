"""Convolutions, 1 x 1 projections and group normalisation of image networks.

Weights and biases start uniform within 1 / sqrt(number of inputs of an output),
like PyTorch's, which the published tokenizers were trained with.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax.nn import layers
from fusion_jax.types import Array

# Up to this number of pixels, and from this number of channels on, a 3 x 3
# convolution is computed as one matrix product with gathered neighbourhoods. On
# a CPU this is 1.6 times as fast at 7 x 7 pixels and 1.2 times at 14 x 14,
# equally fast at 28 x 28 and half as fast at 56 x 56. With few channels, as in
# the small models, it doubles the time of a training step.
GATHER_PIXELS, GATHER_CHANNELS = 400, 256


class Projection(nn.Module):
  """A linear map of the last axis with a bias, as one matrix product.

  Attributes:
    features: width of the output.
    zero: whether weights and biases start at zero.
    dtype: dtype of the computation; parameters are float32.
  """

  features: int
  zero: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, inputs: Array) -> jax.Array:
    """Maps inputs [..., width] to [..., features]."""
    *leading, width = inputs.shape
    init = _initialiser(width, self.zero)
    kernel = self.param('kernel', init, (width, self.features))
    bias = self.param('bias', init, (self.features,))
    outputs = (
      jnp.asarray(inputs.reshape(-1, width), self.dtype)
      @ kernel.astype(self.dtype)
      + bias.astype(self.dtype)[None, :]
    )
    return outputs.reshape(*leading, self.features)


class Convolution(nn.Module):
  """A 3 x 3 convolution with a bias; the image is padded by one zero pixel.

  Attributes:
    features: channels of the output.
    stride: 1, or 2 to halve the image. With 2 there is still one zero pixel on
      either side, unlike 'SAME', which puts zeros at the end alone.
    zero: whether weights and biases start at zero.
    dtype: dtype of the computation; parameters are float32.
  """

  features: int
  stride: int = 1
  zero: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, images: Array) -> jax.Array:
    """Maps images [B, Y, X, C] to [B, Y / stride, X / stride, features]."""
    _, height, width, channels = images.shape
    init = _initialiser(9 * channels, self.zero)
    kernel = self.param('kernel', init, (3, 3, channels, self.features))
    bias = self.param('bias', init, (self.features,))
    images, kernel = jnp.asarray(images, self.dtype), kernel.astype(self.dtype)
    pixels = height * width // self.stride**2
    gather = pixels <= GATHER_PIXELS and channels >= GATHER_CHANNELS
    convolve = _as_product if gather else _as_convolution
    return (
      convolve(images, kernel, self.stride)
      + bias.astype(self.dtype)[None, None, None, :]
    )


class GroupNorm(nn.Module):
  """Normalises groups of channels over the whole image, statistics in float32.

  Attributes:
    groups: number of groups, which must divide the number of channels.
    dtype: dtype of the output.
  """

  groups: int = 32
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, images: Array) -> jax.Array:
    """Normalises images [B, Y, X, C].

    Raises:
      ValueError: if the channels do not divide into groups.
    """
    channels = images.shape[-1]
    if channels % self.groups:
      raise ValueError(
        f'{channels} channels do not divide into {self.groups} groups; choose '
        f'a multiple of {self.groups}.'
      )
    scale = self.param('scale', nn.initializers.ones, (channels,))
    bias = self.param('bias', nn.initializers.zeros, (channels,))
    values = jnp.asarray(images, jnp.float32)
    values -= self._group_mean(values)
    variance = self._group_mean(values**2)
    values *= jax.lax.rsqrt(variance + 1e-5) * scale[None, None, None, :]
    return (values + bias[None, None, None, :]).astype(self.dtype)

  def _group_mean(self, values: jax.Array) -> jax.Array:
    """Returns the mean over pixels and a group, [B, 1, 1, C].

    Pixels are averaged first, which keeps the channels in a row.
    """
    batch, *_, channels = values.shape
    means = values.mean((1, 2)).reshape(batch, self.groups, -1)
    means = jnp.broadcast_to(means.mean(-1, keepdims=True), means.shape)
    return means.reshape(batch, 1, 1, channels)


def _initialiser(fan_in: int, zero: bool) -> Callable[..., jax.Array]:
  """Returns the initialiser of weights with `fan_in` inputs an output."""
  return nn.initializers.zeros if zero else layers.uniform(fan_in**-0.5)


def _as_convolution(
  images: jax.Array, kernel: jax.Array, stride: int
) -> jax.Array:
  """Convolves images [B, Y, X, C] with a kernel [3, 3, C, features]."""
  return jax.lax.conv_general_dilated(
    images,
    kernel,
    (stride, stride),
    ((1, 1), (1, 1)),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _as_product(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """Convolves like `_as_convolution`, by one product of gathered neighbours."""
  batch, height, width, channels = images.shape
  rows, columns = -(-height // stride), -(-width // stride)
  padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  neighbours = [
    padded[:, down : down + height : stride, across : across + width : stride]
    for down in range(3)
    for across in range(3)
  ]
  gathered = jnp.concatenate(neighbours, -1).reshape(-1, 9 * channels)
  product = gathered @ kernel.reshape(9 * channels, -1)
  return product.reshape(batch, rows, columns, -1)
