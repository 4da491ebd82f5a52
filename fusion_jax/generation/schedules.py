"""How many tokens of a grid each step draws, and at which temperature.

Source: 4M `fourm/utils/generation.py` as TerraMind uses it
(reference/terramind.md 10.3), and MaskGIT (Chang et al. 2022,
arXiv:2202.04200, Sec. 3.3) for `maskgit`. NumPy only: schedules are known
before anything is compiled.
"""

from collections.abc import Callable, Sequence

import numpy as np

COLDEST = 1e-9  # A temperature of a schedule is never below this.
_ONEX_END = 100.0  # The curve of 'onex' is x**-power from x = 1 to this.
TEMPERATURES = ('constant', 'linear', 'onex:MIN:POWER')


def linear(num_tokens: int, num_steps: int) -> np.ndarray:
  """Returns about equal numbers of tokens per step, the larger ones first.

  Args:
    num_tokens: number of tokens of the grid.
    num_steps: number of steps.

  Returns:
    [num_steps] int; shorter where there are more steps than tokens.
  """
  edges = np.linspace(0, num_tokens, num_steps + 1, dtype=int)
  counts = -np.sort(-np.diff(edges))
  return counts[counts > 0]


def cosine(num_tokens: int, num_steps: int) -> np.ndarray:
  """Returns the numbers of tokens of the reference's cosine schedule.

  Half a period of a cosine: slow at both ends, unlike MaskGIT's schedule. Every
  number is rounded alone and the last one takes the rest, so that with many
  steps some are 0, and the last one can be negative. `plan` repairs this.

  Args:
    num_tokens: number of tokens of the grid.
    num_steps: number of steps.

  Returns:
    [num_steps] int, whose sum is `num_tokens`.
  """
  hidden = 0.5 * (1 + np.cos(np.pi * np.arange(num_steps + 1) / num_steps))
  counts = np.rint(-np.diff(hidden) * num_tokens).astype(int)
  counts[-1] = num_tokens - counts[:-1].sum()
  return counts


def maskgit(num_tokens: int, num_steps: int) -> np.ndarray:
  """Returns the numbers of tokens of MaskGIT's own cosine schedule.

  A quarter of a period: after step i of n, floor(cos(pi i / 2n) tokens) are
  still hidden; at least one fewer than before, and at least one before the
  last step.

  Args:
    num_tokens: number of tokens of the grid.
    num_steps: number of steps.

  Returns:
    [num_steps] int, 0 in steps that have nothing left to draw.
  """
  hidden = [num_tokens]
  for i in range(1, num_steps):
    share = np.cos(np.pi / 2 * i / num_steps)
    hidden.append(max(1, min(hidden[-1] - 1, int(share * num_tokens))))
  return -np.diff([*hidden, 0])


SCHEDULES: dict[str, Callable[[int, int], np.ndarray]] = {
  'linear': linear,
  'cosine': cosine,
  'maskgit': maskgit,
}


def temperatures(
  schedule: str, temperature: float, counts: Sequence[int] | np.ndarray
) -> np.ndarray:
  """Returns the temperature of each step.

  'constant': always `temperature`. 'linear': `temperature` times the share of
  tokens that are hidden before the step. 'onex:MIN:POWER': from about
  `temperature` down to MIN, the product of the share of tokens that are hidden
  after the step and of the curve x**-POWER.

  Differs from what its name says: the reference reads that curve, which has one
  point per token, at the number of the step. This is kept.

  Args:
    schedule: name of the schedule, with its numbers in case of 'onex'.
    temperature: temperature of the first step (of 'onex': the limit above).
    counts: number of tokens of each step, [n].

  Returns:
    [n] float, at least 1e-9 where it changes from step to step.

  Raises:
    ValueError: if there is no such schedule.
  """
  kind, numbers = parse_temperatures(schedule)
  total = int(np.sum(counts))
  after = 1 - np.cumsum(counts) / total
  if kind == 'constant':
    return np.full(len(counts), float(temperature))
  if kind == 'linear':
    before = np.concatenate([[1.0], after[:-1]])
    return np.maximum(temperature * before, COLDEST)
  coldest, power = numbers
  curve = np.linspace(1, _ONEX_END, max(total, len(counts))) ** -power
  lowest = _ONEX_END**-power
  heights = (curve[: len(counts)] - lowest) / (1 - lowest)
  return np.maximum(
    coldest + (temperature - coldest) * after * heights, COLDEST
  )


def parse_temperatures(schedule: str) -> tuple[str, tuple[float, ...]]:
  """Returns the kind of a temperature schedule, and its numbers.

  Args:
    schedule: 'constant', 'linear' or 'onex:MIN:POWER'.

  Returns:
    The kind; and its numbers, for 'onex' the lowest temperature and the power.

  Raises:
    ValueError: if there is no such schedule, or its numbers make no sense.
  """
  kind, *numbers = schedule.split(':')
  if kind in ('constant', 'linear') and not numbers:
    return kind, ()
  try:
    coldest, power = map(float, numbers)
  except ValueError:
    coldest = power = np.nan
  if kind == 'onex' and 0 <= coldest < np.inf and 0 < power < np.inf:
    return kind, (coldest, power)
  raise ValueError(
    f'temperature_schedule={schedule!r} is unknown; choose one of '
    f"{', '.join(TEMPERATURES)}, such as 'onex:0.5:0.5'."
  )


def plan(
  schedule: str,
  num_tokens: int,
  num_steps: int,
  temperature: float = 1.0,
  temperature_schedule: str = 'constant',
) -> tuple[np.ndarray, np.ndarray]:
  """Returns what is drawn in each step that draws anything.

  Differs from the reference: where its cosine schedule draws too many tokens
  before the last step, the surplus is left out, and steps without a token are
  not run.

  Args:
    schedule: key of `SCHEDULES`.
    num_tokens: number of tokens of the grid.
    num_steps: number of steps.
    temperature: temperature of the first step.
    temperature_schedule: schedule of `temperatures`.

  Returns:
    [n] int, the numbers of tokens, each at least 1, and [n] float, the
    temperatures; n is at most `num_steps`.

  Raises:
    ValueError: if there is no such schedule, or fewer steps than one.
  """
  check(schedule, num_steps)
  drawn = np.minimum(
    np.cumsum(SCHEDULES[schedule](num_tokens, num_steps)), num_tokens
  )
  counts = np.diff(drawn, prepend=0)
  degrees = temperatures(temperature_schedule, temperature, counts)
  return counts[counts > 0], degrees[counts > 0]


def check(schedule: str, num_steps: int) -> None:
  """Checks the name and the length of a schedule.

  Args:
    schedule: key of `SCHEDULES`.
    num_steps: number of steps.

  Raises:
    ValueError: if there is no such schedule, or fewer steps than one.
  """
  if schedule not in SCHEDULES:
    raise ValueError(
      f'schedule={schedule!r} is unknown; choose one of {sorted(SCHEDULES)}.'
    )
  if num_steps != int(num_steps) or num_steps < 1:
    raise ValueError(
      f'num_steps={num_steps}: give a whole number of steps, 1 or more.'
    )
