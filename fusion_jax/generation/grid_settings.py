"""How the codes of a grid are drawn: settings, checked when they are made."""

import dataclasses
import math

from fusion_jax.generation import schedules

SCHEMES = ('maskgit', 'roar')


@dataclasses.dataclass(frozen=True)
class Guidance:
  """Inputs that the result is to follow more closely.

  With one `Guidance`, the logits are u + scale (c - u): c sees all inputs, u
  lacks `conditions`. With several, every c_i sees the conditions of one of them
  and what no guidance names, u sees only the latter, and the logits are u + sum
  over i of scale_i (c_i - u).

  Attributes:
    conditions: names of the inputs, modalities or sensors.
    scale: strength; 1 leaves a single guidance without effect, 0 takes away the
      conditions.
  """

  conditions: tuple[str, ...]
  scale: float

  def __post_init__(self) -> None:
    if isinstance(self.conditions, str) or not self.conditions:
      raise ValueError(
        f'conditions={self.conditions!r}: guidance needs a tuple with one '
        "input or more, such as ('S2L2A',)."
      )
    if not math.isfinite(self.scale):
      raise ValueError(
        f'scale={self.scale} of the guidance by {self.conditions}: give a '
        'finite number, such as 2.0.'
      )


@dataclasses.dataclass(frozen=True)
class Settings:
  """How the codes of a grid are drawn; the defaults are the reference's.

  Attributes:
    scheme: 'roar', positions in a random order, or 'maskgit', the most certain
      codes first.
    num_steps: number of steps.
    schedule: number of codes per step, a key of `schedules.SCHEDULES`.
    temperature: divisor of the logits; about 0 takes the most probable code.
    temperature_schedule: how the temperature changes from step to step, see
      `schedules.temperatures`.
    top_k: number of most likely codes to draw from, or their fraction of all
      codes; 0 draws from all.
    top_p: probability mass of the most likely codes to draw from; 0 draws from
      all.
    guidance: inputs that the result is to follow more closely.
  """

  scheme: str = 'roar'
  num_steps: int = 1
  schedule: str = 'linear'
  temperature: float = 1.0
  temperature_schedule: str = 'constant'
  top_k: int | float = 0
  top_p: float = 0.8
  guidance: tuple[Guidance, ...] = ()

  def __post_init__(self) -> None:
    if self.scheme not in SCHEMES:
      raise ValueError(
        f'scheme={self.scheme!r} is unknown; choose one of {list(SCHEMES)}.'
      )
    schedules.check(self.schedule, self.num_steps)
    schedules.parse_temperatures(self.temperature_schedule)
    if not 0 <= self.temperature < math.inf:
      raise ValueError(
        f'temperature={self.temperature} is negative or infinite; give 0 to '
        'take the most probable code, or a number above 0.'
      )
    if not 0 <= self.top_p <= 1:
      raise ValueError(
        f'top_p={self.top_p} is not a probability; give a number from 0 to 1, '
        'where 0 keeps all codes.'
      )
    if self.top_k < 0 or (isinstance(self.top_k, float) and self.top_k > 1):
      raise ValueError(
        f'top_k={self.top_k}: give a whole number of codes, a fraction up to '
        '1.0, or 0 to keep all codes.'
      )
    names = [name for g in self.guidance for name in g.conditions]
    if len(set(names)) < len(names):
      raise ValueError(
        f'The guidance names an input twice in {names}; name each one once.'
      )
