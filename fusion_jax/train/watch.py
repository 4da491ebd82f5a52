"""Watching a run: goodput, stalled input, stragglers, hangs, a trace."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any, Self

import jax
import numpy as np

from fusion_jax.train import (
  device_clock,
  goodput,
  stragglers,
  watchdog,
)
from fusion_jax.train import profiler as profiler_lib
from fusion_jax.train import settings as settings_lib

# Data hold a run up if the devices wait for them in more than this share of the
# time of the steps.
STALLED = 0.2


class Watch:
  """What the loop tells about its steps, and what follows from it.

  It is a context: its threads run inside.

  Attributes:
    wall_time: where the time of the run went.
    profiler: trace of some steps.
  """

  wall_time: goodput.WallTime
  profiler: profiler_lib.Window

  def __init__(
    self, settings: settings_lib.Watching, workdir: str | os.PathLike[str]
  ):
    """Takes the settings; the wall time starts.

    Args:
      settings: when a run hangs, and which steps are traced.
      workdir: folder of the run.
    """
    self.wall_time = goodput.WallTime()
    self.profiler = profiler_lib.Window(
      workdir, settings.profile_start, settings.profile_steps
    )
    self._settings = settings
    self._workdir = workdir
    self._hosts = ['']
    self._step = 0
    self._drawing = False
    self._waits = device_clock.Waits(0, 0.0, 0.0)  # Of this process.
    # [P, 2]: seconds that each process let its devices wait, in all and for
    # data, in the lines since the last report; and the seconds of their steps.
    self._sums, self._sums_s = np.zeros((jax.process_count(), 2)), 0.0

  def __enter__(self) -> Self:
    """Starts the threads; all processes call it."""
    self._hosts = stragglers.host_names()
    self._clock = device_clock.DeviceClock()
    self._watchdog = watchdog.Watchdog(
      self._settings.hang_s,
      self._workdir,
      lambda: self._clock.last_finished,
      self._describe_wait,
    )
    return self

  def __exit__(self, *error: object) -> None:
    """Ends the threads, and a trace that still runs."""
    self._watchdog.close()
    self._clock.close()
    self.profiler.close()

  def resume(self) -> None:
    """Begins to watch: steps follow from now on."""
    self.wall_time.enter('steps')
    self._clock.resume()
    self._watchdog.guard()

  def pause(self) -> None:
    """Ends to watch: what follows is no step. All steps are finished."""
    self._clock.pause()
    self._watchdog.rest()

  def rest(self) -> None:
    """Lets what follows take its time, also after an error between steps."""
    self._watchdog.rest()

  @contextlib.contextmanager
  def drawing(self) -> Iterator[None]:
    """Covers the time in which the host waits for a batch of data."""
    start, self._drawing = time.perf_counter(), True
    try:
      yield
    finally:
      self._drawing = False
      self._clock.drawn(start, time.perf_counter())

  @contextlib.contextmanager
  def first_draw(self) -> Iterator[None]:
    """Covers a batch that is drawn before the steps begin.

    It may take its time: a global order touches many shards at once, which may
    have to be fetched first.
    """
    self._clock.resume()
    with self.drawing():
      yield

  @contextlib.contextmanager
  def dispatching(self, step: int) -> Iterator[list[Any]]:
    """Covers the call that hands a step to the devices.

    Args:
      step: number of the step, from 1.

    Yields:
      A list to which the caller appends one of the step's results, an array.
    """
    output: list[Any] = []
    start = time.perf_counter()
    with self.profiler.step(step):
      yield output
    self._clock.dispatched(output, start)

  def finished(self, step: int) -> None:
    """Notes that the host has seen the results of a step.

    Args:
      step: number of the step, from 1.
    """
    self._step = step
    self.profiler.finished(step)

  def gauge(self, seconds: float) -> dict[str, float]:
    """Returns the numbers of a line of the log; all processes call it.

    Args:
      seconds: seconds of the steps since the last line.

    Returns:
      {path: number}: the share of the run's wall time in each phase; the share
      of these seconds that devices waited for data, of the process where it
      is largest; and, of several processes, the number of the one for which
      devices wait longest, with its milliseconds a step beyond the median.
    """
    if jax.process_count() > 1:
      self._clock.wait()  # One program at a time, in the same order everywhere.
    self._settle()
    waits, self._waits = self._waits, device_clock.Waits(0, 0.0, 0.0)
    rows = stragglers.gather((waits.idle_s, waits.input_s)).astype(float)
    self._sums += rows
    self._sums_s += seconds
    shares = self.wall_time.shares()
    values = {'perf/goodput': shares.pop('steps')}
    values |= {f'perf/share/{phase}': x for phase, x in shares.items()}
    if seconds:
      values['perf/input_wait'] = float(rows[:, 1].max()) / seconds
    if len(rows) > 1 and waits.steps:
      process, excess_s = stragglers.slowest(rows[:, 0].tolist())
      values['perf/slowest_process'] = process
      values['perf/slowest_ms'] = excess_s / waits.steps * 1e3
    return values

  def report(self) -> tuple[str, list[str]]:
    """Returns (text, warnings) of the lines since the last report.

    The text has the goodput, and the process that holds up the others, if
    there is one. A warning says that data hold up the run, and what to do.
    """
    self._settle()
    text = self.wall_time.describe()
    sums, seconds = self._sums, self._sums_s
    self._sums, self._sums_s = np.zeros_like(sums), 0.0
    if not seconds:
      return text, []
    process, excess_s = stragglers.slowest(sums[:, 0].tolist())
    if excess_s > stragglers.SLOWER * seconds:
      text += (
        f', {self._name(process)} keeps the others waiting for '
        f'{excess_s / seconds:.0%} of the time'
      )
    late = int(sums[:, 1].argmax())
    share = sums[late, 1] / seconds
    return text, [self._stalled(late, share)] if share > STALLED else []

  def _settle(self) -> None:
    """Takes the newest waits, and counts those for data as such."""
    new = self._clock.take()
    self.wall_time.move('steps', 'input', new.input_s)
    self._waits = self._waits.plus(new)

  def _stalled(self, process: int, share: float) -> str:
    name = f' of {self._name(process)}' if len(self._hosts) > 1 else ''
    return (
      f'The devices{name} waited for data in {share:.0%} of the time of the '
      'last steps: reading and preparing examples holds up the run. Give it '
      'more threads or processor cores, or put the data set on a faster disk.'
    )

  def _name(self, process: int) -> str:
    return f'process {process} on {self._hosts[process]}'

  def _describe_wait(self) -> str:
    """Tells what this process waits for, after which step."""
    what = (
      'a batch of data'
      if self._drawing
      else 'the devices'
      if len(self._hosts) == 1
      else 'the devices, or for another process'
    )
    return (
      f'{self._name(jax.process_index())} waits for {what} after step '
      f'{self._step}'
    )
