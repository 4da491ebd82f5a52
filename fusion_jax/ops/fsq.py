"""Finite scalar quantisation (FSQ): latents <-> grid codes <-> indices.

Four conventions are in use; each is named after its source:

| preset | bound of a latent z | codes of a channel | least significant |
| --- | --- | --- | --- |
| TERRAMIND | sigmoid(z) | n / (L - 1), in [0, 1] | first channel |
| PAPER | tanh(z) | 2 n / (L - 1) - 1, in [-1, 1] | last channel |
| GOOGLE | tanh, shrunk by 0.1 % | n / floor(L / 2) - 1 | first channel |
| LUCIDRAINS | tanh, stretched by 0.1 % | as GOOGLE | first channel |

n = 0 .. L - 1 is the level of a channel. With an even L, the codes of GOOGLE
and LUCIDRAINS contain 0 and end below 1. All four round half to even.
Use: `FSQ((8, 8, 8, 6, 5), **TERRAMIND)`.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, TypedDict

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from fusion_jax.types import Array, ArrayT

Bound = Literal['sigmoid', 'tanh', 'google', 'lucidrains']
Order = Literal['first', 'last']


class Convention(TypedDict):
  """How latents are bounded, and the order of the channels in an index."""

  bound: Bound
  order: Order


# Public image tokenizers: terrastackai/terratorch, commit 85467a9.
TERRAMIND: Convention = {'bound': 'sigmoid', 'order': 'first'}
# The fusion paper, Sec. 3.1.2, with the mixed radix of its Eq. (1) as index.
# Differs from the paper: it does not bound latents; tanh is added here, so that
# a latent cannot run away from the outermost level.
PAPER: Convention = {'bound': 'tanh', 'order': 'last'}
# Mentzer et al. 2023, arXiv:2309.15505, appendix A.1.
GOOGLE: Convention = {'bound': 'google', 'order': 'first'}
# lucidrains/vector-quantize-pytorch 1.31.
LUCIDRAINS: Convention = {'bound': 'lucidrains', 'order': 'first'}

# How much wider than the grid the bound is, as a fraction.
_SLACK = {'google': -1e-3, 'lucidrains': 1e-3}


@dataclasses.dataclass(frozen=True)
class FSQ:
  """A quantisation grid: the way onto it, and the order of its indices.

  Attributes:
    levels: number of levels of each channel, ints >= 2; their product is the
      codebook size.
    bound: function that brings latents onto the grid, which also fixes the
      codes at its ends, as in the table above.
    order: which channel is the least significant digit of an index, the first
      one or the last one.
  """

  levels: tuple[int, ...]
  bound: Bound = 'sigmoid'
  order: Order = 'first'

  def __post_init__(self) -> None:
    object.__setattr__(self, 'levels', tuple(map(int, self.levels)))
    if not self.levels or min(self.levels) < 2 or self.num_codes >= 2**31:
      raise ValueError(
        f'levels={self.levels} are not valid: give at least one channel, two '
        'or more levels for each channel, and a product below 2^31.'
      )
    if self.bound not in ('sigmoid', 'tanh', *_SLACK):
      raise ValueError(
        f"bound={self.bound!r} is not one of 'sigmoid', 'tanh', 'google' and "
        "'lucidrains'."
      )
    if self.order not in ('first', 'last'):
      raise ValueError(f"order={self.order!r} is neither 'first' nor 'last'.")

  @property
  def num_channels(self) -> int:
    """Number of channels C of a latent."""
    return len(self.levels)

  @property
  def num_codes(self) -> int:
    """Size of the codebook: the product of the levels."""
    return math.prod(self.levels)

  def quantize(self, latents: ArrayLike) -> jax.Array:
    """Snaps latents to their codes, straight-through.

    Args:
      latents: [..., C] float, unbounded.

    Returns:
      [..., C] float32 codes. Their gradient is that of the bound; the rounding
      is skipped.

    Raises:
      ValueError: if there is not exactly one channel for each entry of
        `levels`.
    """
    position = self.position(latents)
    snapped = jax.lax.stop_gradient(jnp.round(position))
    # In this order the sum is the snapped value to the last bit.
    return self._codes(snapped + (position - jax.lax.stop_gradient(position)))

  def position(self, latents: ArrayLike) -> jax.Array:
    """Returns where latents fall before they are rounded, counted in levels.

    Args:
      latents: [..., C] float, unbounded.

    Returns:
      [..., C] float32 in [0, L - 1], where L is the number of levels of the
      channel; GOOGLE and LUCIDRAINS exceed this range by their 0.1 %.

    Raises:
      ValueError: if there is not exactly one channel for each entry of
        `levels`.
    """
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

  def to_indices(self, codes: ArrayLike) -> Array:
    """Returns the indices of codes.

    With `order='last'` this is Eq. (1) of the fusion paper: the levels of the
    channels are the digits of a mixed-radix number.

    Args:
      codes: [..., C] float, codes as `quantize` or `from_indices` return them.

    Returns:
      [...] int32 in 0 .. num_codes - 1; a JAX array if `codes` is one,
      otherwise a NumPy array.

    Raises:
      ValueError: if there is not exactly one channel for each entry of
        `levels`.
    """
    self._check_channels(codes)
    xp = jnp if isinstance(codes, jax.Array) else np
    digits = xp.round(self._levels_of(xp.asarray(codes, np.float32)))
    digits = digits.astype(np.int32)
    return (
      (digits * self._row(self._places, digits.ndim)).sum(-1).astype(np.int32)
    )

  def from_indices(self, indices: ArrayLike) -> Array:
    """Returns the codes of indices, the inverse of `to_indices`.

    Args:
      indices: [...] int in 0 .. num_codes - 1.

    Returns:
      [..., C] float32; a JAX array if `indices` is one, otherwise a NumPy
      array.

    Raises:
      ValueError: if an index is not an integer or is outside 0 .. num_codes -
        1. Inside `jax.jit`, where values are not known, an index is taken
        modulo num_codes instead.
    """
    self.check(indices)
    xp = jnp if isinstance(indices, jax.Array) else np
    indices = xp.asarray(indices)[..., None]
    places, levels = (
      self._row(values, indices.ndim) for values in (self._places, self.levels)
    )
    return self._codes((indices // places % levels).astype(np.float32))

  def check(self, indices: ArrayLike) -> None:
    """Raises an error if an index whose value is known is not in the codebook.

    Args:
      indices: [...] int. Inside `jax.jit` only their type is checked.

    Raises:
      ValueError: if an index is not an integer or is outside 0 .. num_codes -
        1.
    """
    if not np.size(indices):
      return
    dtype = (
      indices if isinstance(indices, jax.Array) else np.asarray(indices)
    ).dtype
    if np.dtype(dtype).kind not in 'iu':
      raise ValueError(
        f'Ids are integers, not {dtype}; convert them with astype(np.int32).'
      )
    if isinstance(indices, jax.core.Tracer):
      return
    low, high = int(np.min(indices)), int(np.max(indices))
    if low < 0 or high >= self.num_codes:
      raise ValueError(
        f'Ids run from {low} to {high}, but FSQ levels {self.levels} have '
        f'ids 0..{self.num_codes - 1}; were they made by another tokenizer?'
      )

  @property
  def _places(self) -> np.ndarray:
    """[C] int, how much one level of each channel counts in an index."""
    levels = self.levels if self.order == 'first' else self.levels[::-1]
    places = np.cumprod((1, *levels[:-1]))
    return places if self.order == 'first' else places[::-1]

  def _codes(self, digits: ArrayT) -> ArrayT:
    """Returns the codes [..., C] of levels [..., C] in 0 .. L - 1."""
    levels = self._row(self.levels, digits.ndim)
    if self.bound == 'sigmoid':
      return digits / (levels - 1).astype(np.float32)
    if self.bound == 'tanh':
      return digits * (2 / (levels - 1)).astype(np.float32) - 1
    return (digits - levels // 2) / (levels // 2).astype(np.float32)

  def _levels_of(self, codes: ArrayT) -> ArrayT:
    """Returns the levels [..., C] in 0 .. L - 1 of codes, before rounding."""
    levels = self._row(self.levels, codes.ndim)
    if self.bound == 'sigmoid':
      return codes * (levels - 1)
    if self.bound == 'tanh':
      return (codes + 1) / 2 * (levels - 1)
    return codes * (levels // 2) + levels // 2

  def _check_channels(self, array: ArrayLike) -> None:
    if np.ndim(array) < 1 or np.shape(array)[-1] != self.num_channels:
      raise ValueError(
        f'The shape {np.shape(array)} does not end in {self.num_channels} '
        f'channels, one for each of the FSQ levels {self.levels}.'
      )

  def _row(self, values: Sequence[int] | np.ndarray, ndim: int) -> np.ndarray:
    """Returns integers of the channels, shaped to broadcast to `ndim` axes."""
    return np.asarray(values, np.int32).reshape((1,) * (ndim - 1) + (-1,))


def translate(indices: ArrayLike, source: FSQ, target: FSQ) -> Array:
  """Returns the indices in one convention of the codes in another one.

  The levels of the channels stay; only the order of the digits in an index
  changes.

  Args:
    indices: [...] int, indices of `source`.
    source: grid that the indices belong to.
    target: grid with the same levels, in whose convention they are wanted.

  Returns:
    [...] int32, indices of `target`; a JAX array if `indices` is one,
    otherwise a NumPy array.

  Raises:
    ValueError: if the two grids have different levels, or if an index is
      outside the codebook.
  """
  if source.levels != target.levels:
    raise ValueError(
      f'FSQ levels {source.levels} and {target.levels} are different grids; '
      'ids can only be translated between grids with the same levels.'
    )
  same_codes = dataclasses.replace(source, order=target.order)
  return same_codes.to_indices(source.from_indices(indices))


def codebook_use(counts: ArrayLike) -> dict[str, Array]:
  """Returns how much of a codebook is used.

  Args:
    counts: [num_codes] int, how often each index occurred.

  Returns:
    {'used': number of indices that occurred at least once, 'perplexity':
    exponential of the entropy of the indices (in nats), between 1 and 'used'};
    both are 0 if nothing was counted.
  """
  xp = jnp if isinstance(counts, jax.Array) else np
  counts = xp.asarray(counts)
  total = counts.sum()
  share = counts / xp.maximum(total, 1)
  terms = xp.where(counts > 0, share * xp.log(xp.maximum(share, 1e-30)), 0)
  return {
    'used': xp.sum(counts > 0),
    'perplexity': xp.where(total > 0, xp.exp(-terms.sum()), 0.0),
  }
