"""When the devices finish each step, and how long they wait for the next."""

import contextlib
import queue
import threading
import time
from typing import Any, NamedTuple

import jax


class Waits(NamedTuple):
  """How long the devices of this process waited for their host.

  Attributes:
    steps: number of steps.
    idle_s: seconds in which the devices had nothing to do.
    input_s: those of them in which the host waited for a batch of data.
  """

  steps: int
  idle_s: float
  input_s: float

  def plus(self, other: 'Waits') -> 'Waits':
    """Returns the waits of both.

    Args:
      other: waits of other steps.
    """
    return Waits(
      self.steps + other.steps,
      self.idle_s + other.idle_s,
      self.input_s + other.input_s,
    )


class DeviceClock:
  """Follows the steps in a thread of its own, without holding them up.

  A host hands out steps before they are finished and draws the next batch
  meanwhile: waiting for data costs only what goes beyond the running step.

  Attributes:
    last_finished: `time.perf_counter()` when a step was last finished, or the
      steps went on after a break.
  """

  last_finished: float

  def __init__(self) -> None:
    """Starts the thread; `close` ends it."""
    self.last_finished = time.perf_counter()
    self._changed = threading.Condition()
    self._steps: queue.SimpleQueue[Any] = queue.SimpleQueue()
    self._running = 0  # Steps that are handed out and not finished.
    self._drawn = (0.0, 0.0)  # When the latest batch was drawn.
    self._waits = Waits(0, 0.0, 0.0)
    self._thread = threading.Thread(target=self._follow, daemon=True)
    self._thread.start()

  def drawn(self, start: float, end: float) -> None:
    """Notes when the host drew the batch of the next step.

    Args:
      start: `time.perf_counter()` before.
      end: `time.perf_counter()` after.
    """
    self._drawn = (start, end)

  def dispatched(self, output: Any, time_s: float) -> None:
    """Notes that a step was handed to the devices.

    Args:
      output: one of the step's results, an array on the devices.
      time_s: `time.perf_counter()` just before.
    """
    with self._changed:
      self._running += 1
    self._steps.put((output, self._drawn, time_s))
    self._drawn = (0.0, 0.0)

  def pause(self) -> None:
    """Waits for all steps, and counts what the devices waited since."""
    self.wait()
    with self._changed:
      self._count(self._drawn, time.perf_counter(), steps=0)
    self._drawn = (0.0, 0.0)

  def resume(self) -> None:
    """Lets the devices wait from now on: what was before does not count."""
    with self._changed:
      self.last_finished = time.perf_counter()

  def wait(self) -> None:
    """Returns when all steps that were handed out are finished."""
    with self._changed:
      self._changed.wait_for(lambda: not self._running)

  def take(self) -> Waits:
    """Returns the waits of the steps finished since the last call."""
    with self._changed:
      waits, self._waits = self._waits, Waits(0, 0.0, 0.0)
    return waits

  def close(self) -> None:
    """Ends the thread once the steps that run are finished, or hang."""
    self._steps.put(None)
    self._thread.join(timeout=5)

  def _follow(self) -> None:
    while (step := self._steps.get()) is not None:
      output, drawn, dispatched_s = step
      with contextlib.suppress(Exception):  # The loop meets it, too.
        jax.block_until_ready(output)
      with self._changed:
        self._count(drawn, dispatched_s, steps=1)
        self.last_finished = time.perf_counter()
        self._running -= 1
        self._changed.notify_all()

  def _count(self, drawn: tuple[float, float], end: float, steps: int) -> None:
    """Adds the wait between the last finished step and `end`."""
    start, ready = drawn
    since = self.last_finished
    waits_for_data = max(0.0, min(ready, end) - max(start, since))
    new = Waits(steps, max(0.0, end - since), waits_for_data)
    self._waits = self._waits.plus(new)
