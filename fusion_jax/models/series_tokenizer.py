"""Tokenizer of weather series: convolutions, FSQ, mirrored convolutions.

Source: the fusion paper, Sec. 3.1.2: residual blocks and dilated convolutions
in one dimension, FSQ with its Eq. (1), levels as in its Table 4. Widths,
depths and dilations are not stated; those of configs/series_tokenizer.py are
ours.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from fusion_jax.nn import layers
from fusion_jax.ops import fsq as fsq_lib


class Convolution(nn.Module):
  """Dilated convolution over time, [B, T, D] to [B, T, features].

  Written as one matrix product of shifted copies, which XLA runs several times
  as fast on a CPU as its own convolution in one dimension.
  """

  features: int
  kernel: int = 3  # Steps it sees at once, odd.
  dilation: int = 1  # Steps from one of them to the next.
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, inputs):
    steps = inputs.shape[1]
    reach = self.kernel // 2 * self.dilation
    padded = jnp.pad(inputs, ((0, 0), (reach, reach), (0, 0)))
    shifted = [
      padded[:, i * self.dilation : i * self.dilation + steps]
      for i in range(self.kernel)
    ]
    return layers.Linear(self.features, True, dtype=self.dtype, name='taps')(
      jnp.concatenate(shifted, axis=-1)
    )


class Block(nn.Module):
  """Residual block: a dilated convolution, then a map of every step."""

  width: int
  kernel: int
  dilation: int
  dtype: Any = jnp.float32

  def setup(self):
    self.convolution = Convolution(
      self.width, self.kernel, self.dilation, self.dtype
    )
    self.out = layers.Linear(self.width, True, dtype=self.dtype)

  def __call__(self, inputs, inside):
    """Inputs [B, T, D], inside [B, T, 1]: 0 where the series has ended."""
    hidden = self.convolution(nn.gelu(inputs) * inside)
    return inputs + self.out(nn.gelu(hidden))


class SeriesTokenizer(nn.Module):
  """Series <-> codes, one code for every `stride` steps.

  Attributes:
    levels: of FSQ, one channel each; their product is the codebook size.
    width: of the hidden layers.
    dilations: of the encoder's blocks; the decoder has them in reverse.
    kernel: steps a convolution sees at once, odd.
    stride: steps of a series that share a code.
    num_waves: the encoder also sees sines and cosines of a value, periods 8,
      4, 2, .. standard deviations. A code's digits run up and down many times
      over the range of a value; from the value alone that is learned slowly
      (Tancik et al. 2020, arXiv:2006.10739).
    latent_scale: latents are so many times the output of the last layer, and
      start spread over all levels: a channel that starts out on one of them
      mostly stays there.
    dtype: of the computation; parameters and codes are float32.
  """

  levels: tuple[int, ...]
  width: int = 48
  dilations: tuple[int, ...] = (1, 2)
  kernel: int = 3
  stride: int = 1
  num_waves: int = 6
  latent_scale: float = 3.0
  dtype: Any = jnp.float32

  def setup(self):
    if self.kernel % 2 == 0:
      raise ValueError(f'kernel={self.kernel} has no middle; make it odd.')
    if self.stride < 1:
      raise ValueError(f'stride={self.stride} is less than one step.')
    settings = dict(dtype=self.dtype)
    self.encoder_in = Convolution(self.width, self.kernel, **settings)
    self.encoder_blocks = [
      Block(self.width, self.kernel, dilation, **settings)
      for dilation in self.dilations
    ]
    self.to_latents = layers.Linear(len(self.levels), True, dtype=jnp.float32)
    self.from_codes = Convolution(
      self.width * self.stride, self.kernel, **settings
    )
    self.decoder_blocks = [
      Block(self.width, self.kernel, dilation, **settings)
      for dilation in self.dilations[::-1]
    ]
    self.decoder_out = layers.Linear(1, True, dtype=jnp.float32)
    self.shortcut = layers.Linear(self.stride, dtype=jnp.float32)

  @property
  def fsq(self):
    """The grid of codes, in the paper's convention."""
    return fsq_lib.FSQ(self.levels, **fsq_lib.PAPER)

  def __call__(self, values, present, inside):
    """Encodes, quantizes and decodes.

    Args:
      values: [B, T] standardised; what stands where nothing is present does
        not matter.
      present: [B, T] bool, False where the value is missing.
      inside: [B, T] bool, False after the end of a shorter series.

    Returns:
      {'values': [B, T] reconstruction, 'latents': [B, S, C] before FSQ,
      'codes': [B, S, C] on the grid, straight-through, 'known': [B, S] bool:
      whether any step of the code is present}, S = T / stride.
    """
    latents = self.encode(values, present, inside)
    known = self.known(present)
    codes = self.fsq.quantize(latents)
    return {
      'values': self.decode(codes, known, inside),
      'latents': latents,
      'codes': codes,
      'known': known,
    }

  def known(self, present):
    """Which codes [B, S] have a present step [B, T]."""
    batch, steps = present.shape
    self._check_steps(steps)
    return present.reshape(batch, -1, self.stride).any(-1)

  def encode(self, values, present, inside):
    """Latents [B, S, C]; arguments as in `__call__`."""
    batch, steps = values.shape
    self._check_steps(steps)
    values = jnp.where(present, values, 0)[..., None]
    phases = values * (np.pi / 4 * 2.0 ** np.arange(self.num_waves))[
      None, None
    ].astype(np.float32)
    seen = jnp.concatenate(
      [values, jnp.sin(phases), jnp.cos(phases), jnp.ones_like(values)], -1
    )
    seen = seen * present[..., None]  # The last channel: is it there?
    inside = inside[..., None].astype(self.dtype)
    hidden = self.encoder_in(seen.astype(self.dtype))
    for block in self.encoder_blocks:
      hidden = block(hidden, inside)
    hidden = nn.gelu(hidden).reshape(
      batch, steps // self.stride, self.stride * self.width
    )
    return self.to_latents(hidden) * self.latent_scale

  def decode(self, codes, known, inside):
    """Reconstruction [B, T] of codes alone.

    Args:
      codes: [B, S, C] on the grid.
      known: [B, S] bool; False where a code stands for nothing.
      inside: [B, T] bool, as in `__call__`.
    """
    batch, steps = inside.shape
    codes = jnp.where(known[..., None], codes, 0)
    inside = inside[..., None].astype(self.dtype)
    hidden = self.from_codes(codes.astype(self.dtype))
    hidden = hidden.reshape(batch, steps, self.width)
    for block in self.decoder_blocks:
      hidden = block(hidden, inside)
    coarse = self.shortcut(codes).reshape(batch, steps)
    return coarse + self.decoder_out(nn.gelu(hidden))[..., 0]

  def _check_steps(self, steps):
    if steps % self.stride:
      raise ValueError(
        f'A series of {steps} steps does not divide into codes of '
        f'stride={self.stride} steps; choose a divisor.'
      )
