"""Convolutions, 1 x 1 projections and group normalisation of image networks.

Weights start uniform within 1 / sqrt(inputs of an output), biases too, as
PyTorch's do, which the published tokenizers were trained with.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax.nn import layers

# Up to so many pixels a 3 x 3 convolution is one product with gathered
# neighbourhoods: 1.6 times as fast on a CPU at 7 x 7 and 1.2 at 14 x 14, equal
# at 28 x 28, half as fast at 56 x 56. With few channels, as in the small
# models, a training step takes twice as long with it.
GATHER_PIXELS, GATHER_CHANNELS = 400, 256


class Projection(nn.Module):
  """A linear map of the last axis with a bias, as one matrix product.

  Attributes:
    features: width of the output.
    zero: whether it starts at zero.
    dtype: of the computation; parameters are float32.
  """

  features: int
  zero: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, inputs):
    *leading, width = inputs.shape
    init = _initialiser(width, self.zero)
    kernel = self.param('kernel', init, (width, self.features))
    bias = self.param('bias', init, (self.features,))
    outputs = (
      inputs.reshape(-1, width).astype(self.dtype) @ kernel.astype(self.dtype)
      + bias.astype(self.dtype)[None, :]
    )
    return outputs.reshape(*leading, self.features)


class Convolution(nn.Module):
  """A 3 x 3 convolution with a bias, one pixel of zeros around the image.

  Attributes:
    features: channels of the output.
    stride: 1, or 2 to halve the image; zeros stand on both sides then too,
      unlike 'SAME', which puts them at the end alone.
    zero: whether it starts at zero.
    dtype: of the computation; parameters are float32.
  """

  features: int
  stride: int = 1
  zero: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images):
    """Images [B, Y, X, C] to [B, Y / stride, X / stride, features]."""
    _, height, width, channels = images.shape
    init = _initialiser(9 * channels, self.zero)
    kernel = self.param('kernel', init, (3, 3, channels, self.features))
    bias = self.param('bias', init, (self.features,))
    images, kernel = images.astype(self.dtype), kernel.astype(self.dtype)
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
    groups: must divide the channels.
    dtype: of the output.
  """

  groups: int = 32
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images):
    """Images [B, Y, X, C] to the same shape."""
    channels = images.shape[-1]
    if channels % self.groups:
      raise ValueError(
        f'{channels} channels do not divide into '
        f'{self.groups} groups; choose a multiple.'
      )
    scale = self.param('scale', nn.initializers.ones, (channels,))
    bias = self.param('bias', nn.initializers.zeros, (channels,))
    values = images.astype(jnp.float32)
    values -= self._group_mean(values)
    variance = self._group_mean(values**2)
    values *= jax.lax.rsqrt(variance + 1e-5) * scale[None, None, None, :]
    return (values + bias[None, None, None, :]).astype(self.dtype)

  def _group_mean(self, values):
    """[B, 1, 1, C]; over pixels first, which keeps channels in a row."""
    batch, *_, channels = values.shape
    means = values.mean((1, 2)).reshape(batch, self.groups, -1)
    means = jnp.broadcast_to(means.mean(-1, keepdims=True), means.shape)
    return means.reshape(batch, 1, 1, channels)


def _initialiser(fan_in, zero):
  return nn.initializers.zeros if zero else layers.uniform(fan_in**-0.5)


def _as_convolution(images, kernel, stride):
  return jax.lax.conv_general_dilated(
    images,
    kernel,
    (stride, stride),
    ((1, 1), (1, 1)),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _as_product(images, kernel, stride):
  """The same, with the nine neighbours of a pixel side by side."""
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
