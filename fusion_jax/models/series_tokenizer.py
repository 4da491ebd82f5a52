"""Tokenizer of weather series: convolutions, FSQ, mirrored convolutions.

Source: the fusion paper, Sec. 3.1.2: residual blocks and dilated convolutions
in one dimension, FSQ with the mixed radix of its Eq. (1), trained with the loss
of its Eq. (2), levels as in its Table 4. Widths, depths and dilations are not
stated; those of configs/series_tokenizer.py are ours.
"""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax.nn import layers
from fusion_jax.ops import fsq as fsq_lib
from fusion_jax.types import Array


class Convolution(nn.Module):
  """Dilated convolution over time, [B, T, D] to [B, T, features].

  Written as one matrix product of shifted copies, which XLA runs several times
  as fast on a CPU as its own convolution in one dimension.

  Attributes:
    features: width of the output.
    kernel: number of time steps that an output depends on; odd.
    dilation: distance between two of these time steps.
    dtype: data type of the computation.
  """

  features: int
  kernel: int = 3
  dilation: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, inputs: Array) -> jax.Array:
    """Maps inputs [B, T, D] to outputs [B, T, features]."""
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
  """Residual block: a dilated convolution, then a linear map of every step.

  Attributes:
    width: D, width of inputs and outputs.
    kernel: number of time steps that an output of the convolution depends on;
      odd.
    dilation: distance between two of these time steps.
    dtype: data type of the computation.
  """

  width: int
  kernel: int
  dilation: int
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.convolution = Convolution(
      self.width, self.kernel, self.dilation, self.dtype
    )
    self.out = layers.Linear(self.width, True, dtype=self.dtype)

  def __call__(self, inputs: jax.Array, inside: Array) -> jax.Array:
    """Maps inputs [B, T, D] to outputs [B, T, D].

    Args:
      inputs: [B, T, D] float.
      inside: [B, T, 1] float, 1 inside the series and 0 after its end.
    """
    hidden = self.convolution(nn.gelu(inputs) * inside)
    return inputs + self.out(nn.gelu(hidden))


class SeriesTokenizer(nn.Module):
  """Series <-> codes, one code for every `stride` time steps.

  Attributes:
    levels: number of FSQ levels of each channel; their product is the codebook
      size.
    width: width of the hidden layers.
    dilations: dilations of the encoder's blocks; the decoder has them in
      reverse order.
    kernel: number of time steps that an output of a convolution depends on;
      odd.
    stride: number of time steps that share a code.
    num_waves: number of sines and of cosines of every value that the encoder
      sees beside the value, with periods of 8, 4, 2, .. standard deviations. A
      code's digits rise and fall many times over the range of a value, which is
      learned slowly from the value alone (Tancik et al. 2020,
      arXiv:2006.10739).
    latent_scale: factor of the last layer's output, so that initial latents are
      spread over all levels: a channel that starts on one level mostly stays
      there.
    dtype: data type of the computation; parameters and codes are float32.
  """

  levels: tuple[int, ...]
  width: int = 48
  dilations: tuple[int, ...] = (1, 2)
  kernel: int = 3
  stride: int = 1
  num_waves: int = 6
  latent_scale: float = 3.0
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    if self.kernel % 2 == 0:
      raise ValueError(f'kernel={self.kernel} has no middle; make it odd.')
    if self.stride < 1:
      raise ValueError(
        f'stride={self.stride} is less than one time step; give 1 or more.'
      )
    dtype = self.dtype
    self.encoder_in = Convolution(self.width, self.kernel, dtype=dtype)
    self.encoder_blocks = [
      Block(self.width, self.kernel, dilation, dtype)
      for dilation in self.dilations
    ]
    self.to_latents = layers.Linear(len(self.levels), True, dtype=jnp.float32)
    self.from_codes = Convolution(
      self.width * self.stride, self.kernel, dtype=dtype
    )
    self.decoder_blocks = [
      Block(self.width, self.kernel, dilation, dtype)
      for dilation in self.dilations[::-1]
    ]
    self.decoder_out = layers.Linear(1, True, dtype=jnp.float32)
    self.shortcut = layers.Linear(self.stride, dtype=jnp.float32)

  @property
  def fsq(self) -> fsq_lib.FSQ:
    """The quantiser, in the convention of the fusion paper."""
    return fsq_lib.FSQ(self.levels, **fsq_lib.PAPER)

  def __call__(
    self, values: Array, present: Array, inside: Array
  ) -> dict[str, Array]:
    """Encodes, quantises and decodes series.

    Args:
      values: [B, T] float, standardised; values that are not present have no
        influence.
      present: bool [B, T], False where the value is missing.
      inside: bool [B, T], False after the end of a shorter series.

    Returns:
      'values' [B, T], the reconstruction; 'latents' [B, S, C], before FSQ;
      'codes' [B, S, C], on the grid, straight-through; and 'known' bool [B, S],
      whether any time step of the code is present. S = T / stride.
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

  def known(self, present: Array) -> Array:
    """Returns which codes have a time step that is present.

    Args:
      present: bool [B, T], False where the value is missing.

    Returns:
      bool [B, S], S = T / stride.
    """
    batch, steps = present.shape
    self._check_steps(steps)
    return cast(Array, present.reshape(batch, -1, self.stride).any(-1))

  def encode(self, values: Array, present: Array, inside: Array) -> jax.Array:
    """Returns latents [B, S, C] before FSQ, S = T / stride.

    Args:
      values: [B, T] float, see `__call__`.
      present: bool [B, T], see `__call__`.
      inside: bool [B, T], see `__call__`.
    """
    batch, steps = values.shape
    self._check_steps(steps)
    values = jnp.where(present, values, 0)[..., None]
    phases = values * (np.pi / 4 * 2.0 ** np.arange(self.num_waves))[
      None, None
    ].astype(np.float32)
    inputs = jnp.concatenate(
      [values, jnp.sin(phases), jnp.cos(phases), jnp.ones_like(values)], -1
    )
    inputs = inputs * present[..., None]  # The last channel becomes `present`.
    inside = inside[..., None].astype(self.dtype)
    hidden = self.encoder_in(inputs.astype(self.dtype))
    for block in self.encoder_blocks:
      hidden = block(hidden, inside)
    hidden = nn.gelu(hidden).reshape(
      batch, steps // self.stride, self.stride * self.width
    )
    return self.to_latents(hidden) * self.latent_scale

  def decode(self, codes: Array, known: Array, inside: Array) -> jax.Array:
    """Returns the reconstruction [B, T] float32 of codes, standardised.

    Args:
      codes: [B, S, C] float, on the grid.
      known: bool [B, S], False where no time step of a code was present.
      inside: bool [B, T], False after the end of a shorter series.
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

  def _check_steps(self, steps: int) -> None:
    if steps % self.stride:
      raise ValueError(
        f'A series of {steps} steps does not divide into codes of '
        f'stride={self.stride} steps; choose a divisor.'
      )
