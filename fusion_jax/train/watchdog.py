"""A hang becomes an error that shows where every process stands."""

import faulthandler
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable

import jax
from absl import logging

DIRECTORY = 'stacks'  # In the work directory.
_GRACE_S = 10.0  # The other processes show their stacks meanwhile.


class Watchdog:
  """Ends the process when no step has finished for too long.

  All processes of a run wait for each other within a step: they all see that
  it does not end, and each writes the stacks of its threads to stderr and to
  `<workdir>/stacks/process_<number>.txt`. Where a thread blocks the whole
  interpreter, the stacks go to stderr only, after twice the time. A process
  that was stopped, as by Ctrl-Z, goes on, if it was for less than that.
  """

  def __init__(
    self,
    limit_s: float,
    workdir: str | os.PathLike[str],
    last_finished: Callable[[], float],
    describe: Callable[[], str],
  ):
    """Starts a thread that is not on guard yet.

    Args:
      limit_s: seconds that a step may take; 0 never ends the process.
      workdir: folder of the run.
      last_finished: function that returns `time.perf_counter()` when the last
        step was finished.
      describe: function that tells what this process waits for.
    """
    self._limit = limit_s
    self._workdir = pathlib.Path(workdir)
    self._last_finished = last_finished
    self._describe = describe
    self._guard_since: float | None = None
    self._closed = threading.Event()
    self._thread: threading.Thread | None = None
    if limit_s:
      self._thread = threading.Thread(target=self._watch, daemon=True)
      self._thread.start()

  def guard(self) -> None:
    """Is on guard from now on."""
    self._guard_since = time.perf_counter()

  def rest(self) -> None:
    """Is off guard: what follows may take its time."""
    self._guard_since = None
    if self._thread is not None:
      faulthandler.cancel_dump_traceback_later()

  def close(self) -> None:
    """Ends the thread."""
    self._closed.set()
    if self._thread is not None:
      self._thread.join()
    self.rest()

  def _watch(self) -> None:
    period, woke = min(1.0, self._limit / 4), time.perf_counter()
    while not self._closed.wait(period):
      now = time.perf_counter()
      stood_still, woke = now - woke > period + self._limit / 2, now
      since = self._guard_since
      if since is None:
        continue
      if stood_still:  # The whole process was stopped, as by Ctrl-Z.
        self._guard_since = now
        faulthandler.cancel_dump_traceback_later()
        continue
      # Python's own timer, for a thread that keeps this one from running.
      faulthandler.dump_traceback_later(2 * self._limit, exit=True, file=2)
      silent_s = time.perf_counter() - max(since, self._last_finished())
      if self._guard_since is None:
        faulthandler.cancel_dump_traceback_later()
      elif silent_s > self._limit:
        self._end(silent_s)

  def _end(self, silent_s: float) -> None:
    """Shows the stacks and ends the process."""
    # Also if the disk is what hangs.
    faulthandler.dump_traceback_later(3 * _GRACE_S, exit=True, file=2)
    faulthandler.dump_traceback(file=2, all_threads=True)
    path = self._workdir / DIRECTORY / f'process_{jax.process_index()}.txt'
    message = (
      f'No step has finished for {silent_s:.0f} s (config.watch.hang_s='
      f'{self._limit:g}): {self._describe()}. The stacks of its threads are in '
      f'{path}. See there what hangs, then run the same command to go on from '
      'the last checkpoint.'
    )
    try:
      path.parent.mkdir(exist_ok=True)
      with path.open('w') as file:
        file.write(message + '\n\n')
        file.flush()
        faulthandler.dump_traceback(file=file, all_threads=True)
    except OSError as error:
      logging.error('The stacks cannot be written to %s: %s', path, error)
    print(message, file=sys.stderr, flush=True)
    time.sleep(_GRACE_S)
    os._exit(1)
