"""Finite scalar quantisation (FSQ): latents <-> grid codes <-> indices.

Four conventions are in use, named by where they come from:

| preset | bound of a latent z | codes of a channel | least significant |
| --- | --- | --- | --- |
| TERRAMIND | sigmoid(z) | n / (L - 1), in [0, 1] | first channel |
| PAPER | tanh(z) | 2 n / (L - 1) - 1, in [-1, 1] | last channel |
| GOOGLE | tanh, shrunk by 0.1 % | n / floor(L / 2) - 1 | first channel |
| LUCIDRAINS | tanh, stretched by 0.1 % | as GOOGLE | first channel |

n = 0..L-1 is the level. With even L the last two have a code 0 and end below 1.
All round half to even. Use: `FSQ((8, 8, 8, 6, 5), **TERRAMIND)`.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

# Public image tokenizers: terrastackai/terratorch, commit 85467a9.
TERRAMIND = dict(bound='sigmoid', order='first')
# The fusion paper, Sec. 3.1.2 and Eq. (1). It bounds nothing itself; tanh is
# ours, so that a latent cannot run away from the outermost level.
PAPER = dict(bound='tanh', order='last')
# Mentzer et al. 2023, arXiv:2309.15505, appendix A.1.
GOOGLE = dict(bound='google', order='first')
# lucidrains/vector-quantize-pytorch 1.31.
LUCIDRAINS = dict(bound='lucidrains', order='first')

_SLACK = {'google': -1e-3, 'lucidrains': 1e-3}  # How much wider than the grid.


@dataclasses.dataclass(frozen=True)
class FSQ:
  """One grid, with the way onto it and the order of its indices.

  Attributes:
    levels: how many each channel has, ints >= 2; their product is the codebook
      size.
    bound: how latents are brought onto the grid, and its ends; see above.
    order: which channel is the least significant digit of an index.
  """

  levels: tuple[int, ...]
  bound: Literal['sigmoid', 'tanh', 'google', 'lucidrains'] = 'sigmoid'
  order: Literal['first', 'last'] = 'first'

  def __post_init__(self):
    object.__setattr__(self, 'levels', tuple(map(int, self.levels)))
    if not self.levels or min(self.levels) < 2 or self.num_codes >= 2**31:
      raise ValueError(
        f'levels={self.levels} must be two or more a channel, '
        'with a product that an int32 holds.'
      )
    if self.bound not in ('sigmoid', 'tanh', *_SLACK):
      raise ValueError(
        f"bound={self.bound!r} is none of 'sigmoid', 'tanh', "
        "'google', 'lucidrains'."
      )
    if self.order not in ('first', 'last'):
      raise ValueError(f"order={self.order!r} is neither 'first' nor 'last'.")

  @property
  def num_channels(self):
    return len(self.levels)

  @property
  def num_codes(self):
    return math.prod(self.levels)

  def quantize(self, latents):
    """Snaps latents [..., C] to their codes [..., C], both float32.

    The gradient is that of the bound; the rounding is skipped.

    Raises:
      ValueError: if there is not one channel per level.
    """
    position = self.position(latents)
    snapped = jax.lax.stop_gradient(jnp.round(position))
    # In this order the sum is the snapped value to the last bit.
    return self._codes(snapped + (position - jax.lax.stop_gradient(position)))

  def position(self, latents):
    """Where latents [..., C] fall before rounding, in levels: 0 .. L - 1."""
    self._check_channels(latents)
    latents = jnp.asarray(latents, jnp.float32)
    levels = self._row(self.levels, latents.ndim)
    if self.bound == 'sigmoid':
      return jax.nn.sigmoid(latents) * (levels - 1)
    if self.bound == 'tanh':
      return (jnp.tanh(latents) + 1) / 2 * (levels - 1)
    half = (levels - 1) / 2 * (1 + _SLACK[self.bound])
    shift = np.where(levels % 2 == 0, 0.5, 0.0)
    # Google's own code has tan where the inverse of tanh was meant.
    inverse = np.tan if self.bound == 'google' else np.arctanh
    offset = inverse(shift / half).astype(np.float32)
    bounded = jnp.tanh(latents + offset) * half.astype(np.float32)
    return bounded - shift.astype(np.float32) + levels // 2

  def to_indices(self, codes):
    """Index [...] int32 of codes [..., C]. NumPy or JAX."""
    self._check_channels(codes)
    xp = jnp if isinstance(codes, jax.Array) else np
    digits = xp.round(self._levels_of(xp.asarray(codes, np.float32)))
    digits = digits.astype(np.int32)
    return (
      (digits * self._row(self._places, digits.ndim)).sum(-1).astype(np.int32)
    )

  def from_indices(self, indices):
    """Codes [..., C] float32 of indices [...]. NumPy or JAX.

    Raises:
      ValueError: if an index is no integer or outside 0 .. num_codes - 1.
        Inside `jax.jit`, where values are not known, it is taken modulo
        num_codes instead.
    """
    self.check(indices)
    xp = jnp if isinstance(indices, jax.Array) else np
    indices = xp.asarray(indices)[..., None]
    places, levels = (
      self._row(values, indices.ndim) for values in (self._places, self.levels)
    )
    return self._codes((indices // places % levels).astype(np.float32))

  def check(self, indices):
    """Raises a ValueError if a known index is outside the codebook."""
    if not np.size(indices):
      return
    dtype = (
      indices if isinstance(indices, jax.Array) else np.asarray(indices)
    ).dtype
    if np.dtype(dtype).kind not in 'iu':
      raise ValueError(f'Ids are integers, not {dtype}.')
    if isinstance(indices, jax.core.Tracer):
      return
    low, high = int(np.min(indices)), int(np.max(indices))
    if low < 0 or high >= self.num_codes:
      raise ValueError(
        f'Ids run from {low} to {high}, but FSQ levels {self.levels} have '
        f'ids 0..{self.num_codes - 1}; were they made by another tokenizer?'
      )

  @property
  def _places(self):
    """What one level of each channel is worth in an index."""
    levels = self.levels if self.order == 'first' else self.levels[::-1]
    places = np.cumprod((1, *levels[:-1]))
    return places if self.order == 'first' else places[::-1]

  def _codes(self, digits):
    """Codes of levels 0 .. L - 1."""
    levels = self._row(self.levels, digits.ndim)
    if self.bound == 'sigmoid':
      return digits / (levels - 1).astype(np.float32)
    if self.bound == 'tanh':
      return digits * (2 / (levels - 1)).astype(np.float32) - 1
    return (digits - levels // 2) / (levels // 2).astype(np.float32)

  def _levels_of(self, codes):
    """Levels 0 .. L - 1 of codes, up to rounding."""
    levels = self._row(self.levels, codes.ndim)
    if self.bound == 'sigmoid':
      return codes * (levels - 1)
    if self.bound == 'tanh':
      return (codes + 1) / 2 * (levels - 1)
    return codes * (levels // 2) + levels // 2

  def _check_channels(self, array):
    if np.ndim(array) < 1 or array.shape[-1] != self.num_channels:
      raise ValueError(
        f'{np.shape(array)} does not end in {self.num_channels} channels, '
        f'one for each of the FSQ levels {self.levels}.'
      )

  def _row(self, values, ndim):
    """Integers of the channels, shaped to go with an array of `ndim` axes."""
    return np.asarray(values, np.int32).reshape((1,) * (ndim - 1) + (-1,))


def translate(indices, source, target):
  """The indices in `target` of what `indices` mean in `source`.

  The levels of the channels stay; only what an index or a code looks like
  changes. NumPy or JAX.

  Raises:
    ValueError: if the two grids differ, or an index is outside.
  """
  if source.levels != target.levels:
    raise ValueError(
      f'FSQ levels {source.levels} and {target.levels} are '
      'different grids; ids cannot be translated.'
    )
  same_codes = dataclasses.replace(source, order=target.order)
  return same_codes.to_indices(source.from_indices(indices))


def codebook_use(counts):
  """How much of a codebook is used.

  Args:
    counts: [num_codes], how often each index occurred. NumPy or JAX.

  Returns:
    {'used': how many occurred at all, 'perplexity': exp of the entropy of the
    indices in nats, between 1 and `used`; both 0 if nothing was counted}.
  """
  xp = jnp if isinstance(counts, jax.Array) else np
  counts = xp.asarray(counts)
  total = counts.sum()
  share = counts / xp.maximum(total, 1)
  terms = xp.where(counts > 0, share * xp.log(xp.maximum(share, 1e-30)), 0)
  return {
    'used': (counts > 0).sum(),
    'perplexity': xp.where(total > 0, xp.exp(-terms.sum()), 0.0),
  }
