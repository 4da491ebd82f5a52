"""Goodput: which share of a run's wall time went into training steps."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

# Time in which steps are computed; in which the devices wait for data; of
# checkpoints and of evaluations; until the first step of each start, most of it
# compilation; and what a stop took: from the checkpoint that the run resumed
# from to its next start, with the steps that are done again.
PHASES: tuple[str, ...] = (
  'steps',
  'input',
  'checkpoints',
  'evaluations',
  'starts',
  'restarts',
)


class WallTime:
  """Adds up the seconds of each phase, over all restarts of a run.

  At any time, one phase is on; the phases add up to the wall time since the
  run was started (for a run that was killed before its first checkpoint, since
  it was started anew). It is kept with every checkpoint.

  Attributes:
    phase: the phase that is on.
    restarts: how often the run was resumed.
  """

  phase: str
  restarts: int

  def __init__(self) -> None:
    """Starts with the phase 'starts'."""
    self.phase = 'starts'
    self.restarts = 0
    self._seconds = dict.fromkeys(PHASES, 0.0)
    self._since = time.perf_counter()
    self._created = time.time()

  def enter(self, phase: str) -> None:
    """Ends the phase that is on and begins another.

    Args:
      phase: one of `PHASES`.
    """
    now = time.perf_counter()
    self._seconds[self.phase] += now - self._since
    self.phase, self._since = phase, now

  @contextlib.contextmanager
  def during(self, phase: str) -> Iterator[None]:
    """Counts the time in the context as a phase, then goes back to the last.

    Args:
      phase: one of `PHASES`.
    """
    before = self.phase
    self.enter(phase)
    try:
      yield
    finally:
      self.enter(before)

  def move(self, source: str, target: str, seconds: float) -> None:
    """Counts some seconds of one phase as another.

    Args:
      source: phase that they were counted as.
      target: phase that they are counted as from now on.
      seconds: how many.
    """
    self._seconds[source] -= seconds
    self._seconds[target] += seconds

  def seconds(self) -> dict[str, float]:
    """Returns {phase: seconds} until now, over all restarts."""
    self.enter(self.phase)
    return dict(self._seconds)

  def shares(self) -> dict[str, float]:
    """Returns {phase: share of the wall time}; they add up to 1."""
    seconds = self.seconds()
    total = sum(seconds.values())
    return {phase: value / total for phase, value in seconds.items()}

  def state(self) -> dict[str, Any]:
    """Returns what `restore` takes, a JSON-like dict."""
    return {
      'seconds': self.seconds(),
      'restarts': self.restarts,
      'time': time.time(),
    }

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes on from a checkpoint.

    Args:
      state: result of `state` when it was saved.
    """
    for phase, seconds in state['seconds'].items():
      self._seconds[phase] += seconds
    # Clocks of two machines may differ by more than the stop was long.
    self._seconds['restarts'] += max(0.0, self._created - state['time'])
    self.restarts = state['restarts'] + 1

  def describe(self) -> str:
    """Returns the shares as a person reads them, in percent, largest first."""
    shares = self.shares()
    others = sorted(set(PHASES) - {'steps'}, key=lambda x: -shares[x])
    lost = [f'{x} {shares[x]:.0%}' for x in others if shares[x] >= 0.005]
    text = f'goodput {shares["steps"]:.0%}'
    return f'{text} ({", ".join(lost)})' if lost else text
