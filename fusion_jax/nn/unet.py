"""The UNet that removes noise from an image, given its codes.

Source: terrastackai/terratorch, commit 85467a9, `tokenizer/models/unet`, after
Dhariwal and Nichol 2021, arXiv:2105.05233. It works on patches of 4 x 4 pixels
and predicts the clean image.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax.nn import convolutions, layers
from fusion_jax.ops import patches


class Part(NamedTuple):
  """One layer of a UNet.

  Attributes:
    kind: 'convolution', 'residual', 'attention', 'down' or 'up'.
    inputs: channels, skip connections included.
    features: channels of the output.
  """

  kind: str
  inputs: int
  features: int


def layout(channels, width, multipliers, blocks, attention_rates):
  """The layers of a UNet, as lists of `Part`s.

  Args:
    channels: of its input.
    width: channels of the finest level.
    multipliers: of the width, one a level, fine to coarse.
    blocks: residual blocks a level on the way down; up there is one more.
    attention_rates: by how much an image is reduced where attention follows
      every residual block.

  Returns:
    {'input': list of blocks, 'middle': one block, in a list, 'output': list}.
    The output of each input block is kept; each output block takes the last.
  """

  def residual(inputs, features, rate):
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
    channels: of the images.
    width: channels of the finest level, a multiple of `groups`.
    multipliers: see `layout`.
    blocks: see `layout`.
    attention_rates: see `layout`.
    groups: of the group normalisation.
    patch: pixels a side of what one position of the finest level holds.
    dtype: of the computation.
  """

  channels: int
  width: int = 256
  multipliers: tuple[int, ...] = (1, 2, 2, 2)
  blocks: int = 3
  attention_rates: tuple[int, ...] = (4, 8)
  groups: int = 32
  patch: int = 4
  dtype: Any = jnp.float32

  @property
  def multiple(self):
    """What the sides of an image must divide by."""
    return self.patch * 2 ** (len(self.multipliers) - 1)

  def parts(self, code_channels):
    """Its `layout` for codes of `code_channels`."""
    return layout(
      self.channels * self.patch**2 + code_channels,
      self.width,
      self.multipliers,
      self.blocks,
      self.attention_rates,
    )

  @nn.compact
  def __call__(self, noisy, t, codes):
    """The clean images [B, Y, X, C] float32.

    Args:
      noisy: [B, Y, X, C].
      t: [B] or [] int, the noise levels, 0..999.
      codes: [B, rows, columns, channels]; one covers several pixels.

    Raises:
      ValueError: if the sides do not divide by `multiple`.
    """
    batch, height, width, channels = noisy.shape
    if height % self.multiple or width % self.multiple:
      raise ValueError(
        f'The UNet halves images {len(self.multipliers) - 1} times: sides of '
        f'{height} x {width} pixels must be multiples of {self.multiple}.'
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

  def _run(self, block, name, images, time):
    for i, part in enumerate(block):
      images = self._run_part(part, f'{name}_{i}', images, time)
    return images

  def _run_part(self, part, name, images, time):
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

  def _norm(self, name):
    return convolutions.GroupNorm(self.groups, self.dtype, name=name)


class TimeEmbedding(nn.Module):
  """Noise levels [B] int to vectors [B, 4 * width]."""

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, t):
    width = 4 * self.width
    hidden = convolutions.Projection(width, dtype=self.dtype, name='fc1')(
      waves(t, self.width)
    )
    return convolutions.Projection(width, dtype=self.dtype, name='fc2')(
      jax.nn.silu(hidden)
    )


class Residual(nn.Module):
  """Two normalised 3 x 3 convolutions beside a direct way."""

  features: int
  groups: int = 32
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images, time):
    """Images [B, Y, X, C], time [B, T] after its SiLU."""
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

  def _norm(self, name):
    return convolutions.GroupNorm(self.groups, self.dtype, name=name)


class Attention(nn.Module):
  """Every position looks at every other one, with one head."""

  groups: int = 32
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images):
    batch, height, width, channels = images.shape
    tokens = convolutions.GroupNorm(self.groups, self.dtype, name='norm')(
      images
    ).reshape(batch, -1, channels)
    qkv = convolutions.Projection(3 * channels, dtype=self.dtype, name='qkv')(
      tokens
    )
    mixed = layers.attend(
      *layers.split_heads(qkv, 3, 1), jnp.ones((1, 1, 1, 1), bool)
    )
    mixed = convolutions.Projection(
      channels, zero=True, dtype=self.dtype, name='out'
    )(mixed)
    return images + mixed.reshape(batch, height, width, channels)


def waves(t, width):
  """Cosines, then sines, of noise levels [B], [B, width] float32."""
  frequencies = jnp.exp(
    -math.log(10_000) * jnp.arange(width // 2) / (width // 2)
  )
  angles = t.astype(jnp.float32)[:, None] * frequencies[None, :]
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


def _enlarge(images, grid):
  """Repeats the pixels of [B, rows, columns, C] up to `grid`."""
  _, rows, columns, _ = images.shape
  return images.repeat(grid[0] // rows, 1).repeat(grid[1] // columns, 2)
