"""Numbers <-> the digits of them that channels of FSQ codes hold."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

_INSIDE = 0.1  # Levels between a latent's position and the outermost level.


@dataclasses.dataclass(frozen=True)
class Digits:
  """A place-value system over a range, most significant digit first.

  Attributes:
    lowest: of the range; numbers outside it become its first or last step.
    highest: of the range.
    levels: how many values each digit has, as FSQ's levels.
  """

  lowest: float
  highest: float
  levels: tuple[int, ...]

  def __post_init__(self):
    if not self.lowest < self.highest or not self.levels:
      raise ValueError(
        f'Digits of levels {self.levels} from {self.lowest} to '
        f'{self.highest}: wanted are levels, and a range.'
      )

  @property
  def step(self):
    """What the last digit counts; a number is kept to half of it."""
    return (self.highest - self.lowest) / math.prod(self.levels)

  def split(self, numbers):
    """Digits [..., C] float32, each 0 .. level - 1, of numbers [...]."""
    last = math.prod(self.levels) - 1
    steps = jnp.floor((numbers - self.lowest) / self.step)
    steps = jnp.clip(steps, 0, last).astype(jnp.int32)[..., None]
    levels, places = (
      np.asarray(x, np.int32).reshape((1,) * (steps.ndim - 1) + (-1,))
      for x in (self.levels, self._places)
    )
    return (steps // places % levels).astype(jnp.float32)

  def latents(self, numbers):
    """Latents [..., C] that FSQ with a sigmoid snaps to these digits."""
    found = self.split(numbers)
    ends = self._ends(found.ndim)
    shares = jnp.clip(found, _INSIDE, ends - _INSIDE) / ends
    return jnp.log(shares) - jnp.log1p(-shares)

  def round(self, numbers):
    """The numbers [...] that are kept of numbers [...]."""
    found = self.split(numbers)
    return self.join(found / self._ends(found.ndim))

  def join(self, codes):
    """Numbers [...], the middles of steps, of codes [..., C] in [0, 1]."""
    weights = (np.asarray(self.levels) - 1) * self._places * self.step
    codes = jnp.asarray(codes, jnp.float32)
    return self.lowest + self.step / 2 + codes @ weights.astype(np.float32)

  def _ends(self, ndim):
    """The highest digit of each channel, shaped for an array of `ndim` axes."""
    levels = np.asarray(self.levels, np.float32)
    return levels.reshape((1,) * (ndim - 1) + (-1,)) - 1

  @property
  def _places(self):
    """Steps that one of each digit is worth."""
    return np.cumprod((1, *self.levels[:0:-1]))[::-1]
