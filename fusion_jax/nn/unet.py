"""The UNet that removes noise from an image, given the image's codes.

It works on patches of 4 x 4 pixels and predicts the clean image. Source:
terrastackai/terratorch, commit 85467a9, `tokenizer/models/unet`, after
Dhariwal and Nichol 2021, arXiv:2105.05233.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax.nn import convolutions, layers
from fusion_jax.ops import patches
from fusion_jax.types import Array, ArrayT


class Part(NamedTuple):
  """One layer of a UNet.

  Attributes:
    kind: 'convolution', 'residual', 'attention', 'down' or 'up'.
    inputs: channels of the input, skip connections included.
    features: channels of the output.
  """

  kind: str
  inputs: int
  features: int


def layout(
  channels: int,
  width: int,
  multipliers: Sequence[int],
  blocks: int,
  attention_rates: Sequence[int],
) -> dict[str, list[list[Part]]]:
  """Returns the layers of a UNet.

  Args:
    channels: channels of the input.
    width: channels of the finest level.
    multipliers: factors on the width, one for each level from fine to coarse.
    blocks: residual blocks of a level on the way down; a level has one more on
      the way up.
    attention_rates: factors by which an image is reduced on levels where
      attention follows every residual block.

  Returns:
    {'input': list of blocks, 'middle': list of one block, 'output': list of
    blocks}; a block is a list of layers. The output of each input block is
    kept, and each output block takes the last one that is still kept.
  """

  def residual(inputs: int, features: int, rate: int) -> list[Part]:
    block = [Part('residual', inputs, features)]
    return block + (
      [Part('attention', features, features)] if rate in attention_rates else []
    )

  down = [[Part('convolution', channels, width)]]
  kept, features = [width], width
  for level, multiplier in enumerate(multipliers):
    for _ in range(blocks):
      down.append(residual(features, width * multiplier, 2**level))
      features = width * multiplier
      kept.append(features)
    if level < len(multipliers) - 1:
      down.append([Part('down', features, features)])
      kept.append(features)
  middle = [
    Part('residual', features, features),
    Part('attention', features, features),
    Part('residual', features, features),
  ]
  up = []
  for level, multiplier in reversed(list(enumerate(multipliers))):
    for i in range(blocks + 1):
      up.append(residual(features + kept.pop(), width * multiplier, 2**level))
      features = width * multiplier
      if level and i == blocks:
        up[-1].append(Part('up', features, features))
  return {'input': down, 'middle': [middle], 'output': up}


class UNet(nn.Module):
  """Predicts clean images from noisy ones.

  Attributes:
    channels: channels of the images.
    width: channels of the finest level, a multiple of `groups`.
    multipliers: factors on the width, one for each level from fine to coarse.
    blocks: residual blocks of a level on the way down; a level has one more on
      the way up.
    attention_rates: factors by which an image is reduced on levels where
      attention follows every residual block.
    groups: number of groups of the group normalisation.
    patch: pixels per side of the patch that one position of the finest level
      holds.
    dtype: dtype of the computation; parameters are float32.
  """

  channels: int
  width: int = 256
  multipliers: tuple[int, ...] = (1, 2, 2, 2)
  blocks: int = 3
  attention_rates: tuple[int, ...] = (4, 8)
  groups: int = 32
  patch: int = 4
  dtype: DTypeLike = jnp.float32

  @property
  def multiple(self) -> int:
    """Number of pixels that must divide the sides of an image."""
    return self.patch * 2 ** (len(self.multipliers) - 1)

  def parts(self, code_channels: int) -> dict[str, list[list[Part]]]:
    """Returns the layers for codes of `code_channels`, as `layout` does."""
    return layout(
      self.channels * self.patch**2 + code_channels,
      self.width,
      self.multipliers,
      self.blocks,
      self.attention_rates,
    )

  @nn.compact
  def __call__(self, noisy: Array, t: Array, codes: Array) -> jax.Array:
    """Predicts the clean images.

    Args:
      noisy: [B, Y, X, C] float, noisy images.
      t: [B] or [] int in 0..999, noise levels.
      codes: [B, rows, columns, channels] float; one code covers several pixels.

    Returns:
      [B, Y, X, C] float32.

    Raises:
      ValueError: if the sides of the images do not divide by `multiple`.
    """
    batch, height, width, channels = noisy.shape
    if height % self.multiple or width % self.multiple:
      raise ValueError(
        f'The UNet halves images {len(self.multipliers) - 1} times: sides of '
        f'{height} x {width} pixels must be multiples of {self.multiple}; crop '
        'or pad the images.'
      )
    grid = (height // self.patch, width // self.patch)
    pixels = patches.patchify(noisy, self.patch).reshape(batch, *grid, -1)
    images = jnp.concatenate([pixels, _enlarge(codes, grid)], -1).astype(
      self.dtype
    )
    time = TimeEmbedding(self.width, self.dtype, name='time')(
      jnp.broadcast_to(t, (batch,))
    )
    time = jax.nn.silu(time)
    kept, parts = [], self.parts(codes.shape[-1])
    for i, block in enumerate(parts['input']):
      images = self._run(block, f'input_{i}', images, time)
      kept.append(images)
    images = self._run(parts['middle'][0], 'middle_0', images, time)
    for i, block in enumerate(parts['output']):
      images = jnp.concatenate([images, kept.pop()], -1)
      images = self._run(block, f'output_{i}', images, time)
    images = jax.nn.silu(self._norm('norm')(images))
    pixels = convolutions.Convolution(
      channels * self.patch**2, zero=True, dtype=self.dtype, name='out'
    )(images)
    return patches.unpatchify(
      pixels.astype(jnp.float32).reshape(batch, grid[0] * grid[1], -1),
      grid,
      self.patch,
    )

  def _run(
    self, block: list[Part], name: str, images: jax.Array, time: jax.Array
  ) -> jax.Array:
    """Runs a block on images [B, Y, X, C] with time vectors [B, T]."""
    for i, part in enumerate(block):
      images = self._run_part(part, f'{name}_{i}', images, time)
    return images

  def _run_part(
    self, part: Part, name: str, images: jax.Array, time: jax.Array
  ) -> jax.Array:
    """Runs one layer on images [B, Y, X, C] with time vectors [B, T]."""
    convolution = convolutions.Convolution
    if part.kind == 'residual':
      return Residual(part.features, self.groups, self.dtype, name=name)(
        images, time
      )
    if part.kind == 'attention':
      return Attention(self.groups, self.dtype, name=name)(images)
    stride = 2 if part.kind == 'down' else 1
    if part.kind == 'up':
      _, rows, columns, _ = images.shape
      images = _enlarge(images, (2 * rows, 2 * columns))
    return convolution(part.features, stride, dtype=self.dtype, name=name)(
      images
    )

  def _norm(self, name: str) -> convolutions.GroupNorm:
    return convolutions.GroupNorm(self.groups, self.dtype, name=name)


class TimeEmbedding(nn.Module):
  """Vectors of noise levels.

  Attributes:
    width: a quarter of the width of the vectors.
    dtype: dtype of the computation; parameters are float32.
  """

  width: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, t: Array) -> jax.Array:
    """Returns the vectors [B, 4 * width] of noise levels [B] int."""
    width = 4 * self.width
    hidden = convolutions.Projection(width, dtype=self.dtype, name='fc1')(
      waves(t, self.width)
    )
    return convolutions.Projection(width, dtype=self.dtype, name='fc2')(
      jax.nn.silu(hidden)
    )


class Residual(nn.Module):
  """Two normalised 3 x 3 convolutions, added to their input.

  Attributes:
    features: channels of the output.
    groups: number of groups of the group normalisation.
    dtype: dtype of the computation; parameters are float32.
  """

  features: int
  groups: int = 32
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array, time: jax.Array) -> jax.Array:
    """Runs the layer.

    Args:
      images: [B, Y, X, C].
      time: [B, T], vectors of the noise levels after a SiLU.

    Returns:
      [B, Y, X, features].
    """
    hidden = jax.nn.silu(self._norm('norm1')(images))
    hidden = convolutions.Convolution(
      self.features, dtype=self.dtype, name='conv1'
    )(hidden)
    hidden += convolutions.Projection(
      self.features, dtype=self.dtype, name='time'
    )(time)[:, None, None, :]
    hidden = jax.nn.silu(self._norm('norm2')(hidden))
    hidden = convolutions.Convolution(
      self.features, zero=True, dtype=self.dtype, name='conv2'
    )(hidden)
    if images.shape[-1] != self.features:
      images = convolutions.Projection(
        self.features, dtype=self.dtype, name='direct'
      )(images)
    return images + hidden

  def _norm(self, name: str) -> convolutions.GroupNorm:
    return convolutions.GroupNorm(self.groups, self.dtype, name=name)


class Attention(nn.Module):
  """Attention of every position to every other one, with one head.

  Attributes:
    groups: number of groups of the group normalisation.
    dtype: dtype of the computation; parameters are float32.
  """

  groups: int = 32
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """Maps images [B, Y, X, C] to [B, Y, X, C]."""
    batch, height, width, channels = images.shape
    tokens = convolutions.GroupNorm(self.groups, self.dtype, name='norm')(
      images
    ).reshape(batch, -1, channels)
    qkv = convolutions.Projection(3 * channels, dtype=self.dtype, name='qkv')(
      tokens
    )
    queries, keys, values = layers.split_heads(qkv, 3, 1)
    mixed = layers.attend(queries, keys, values, jnp.ones((1, 1, 1, 1), bool))
    mixed = convolutions.Projection(
      channels, zero=True, dtype=self.dtype, name='out'
    )(mixed)
    return images + mixed.reshape(batch, height, width, channels)


def waves(t: Array, width: int) -> jax.Array:
  """Returns cosines, then sines, of noise levels.

  Args:
    t: [B] int, noise levels.
    width: number of features, even.

  Returns:
    [B, width] float32.
  """
  frequencies = jnp.exp(
    -math.log(10_000) * jnp.arange(width // 2) / (width // 2)
  )
  angles = t.astype(jnp.float32)[:, None] * frequencies[None, :]
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


def _enlarge(images: ArrayT, grid: tuple[int, int]) -> ArrayT:
  """Repeats the pixels of images [B, rows, columns, C] up to `grid`."""
  _, rows, columns, _ = images.shape
  return images.repeat(grid[0] // rows, 1).repeat(grid[1] // columns, 2)
