"""A trace of a few steps for XProf and TensorBoard's profile page."""

import contextlib
import os
from collections.abc import Iterator

import jax
from absl import logging

DIRECTORY = 'profile'  # In the work directory.


class Window:
  """Traces some steps of the first process.

  The files are `<workdir>/profile/plugins/profile/<time>/*.xplane.pb`; show
  them with `xprof --logdir <workdir>/profile`.
  """

  def __init__(self, workdir: str | os.PathLike[str], start: int, steps: int):
    """Takes the steps; nothing is traced yet.

    Args:
      workdir: folder of the run.
      start: number of steps done before the first one that is traced.
      steps: number of steps that are traced; 0 traces none.
    """
    self._folder = os.path.join(workdir, DIRECTORY)
    self._first, self._last = start + 1, start + steps
    self._on = False
    self._wanted = steps > 0 and jax.process_index() == 0

  @contextlib.contextmanager
  def step(self, number: int) -> Iterator[None]:
    """Names a step in the trace, and starts the trace when it is due.

    Args:
      number: number of the step, from 1.
    """
    if self._wanted and self._first <= number <= self._last:
      if not self._on:
        jax.profiler.start_trace(self._folder)
        self._on = True
      with jax.profiler.StepTraceAnnotation('train', step_num=number):
        yield
    else:
      yield

  def finished(self, number: int) -> None:
    """Ends the trace when its last step is finished on the devices.

    Args:
      number: number of the step that has just finished.
    """
    if self._on and number >= self._last:
      self.close()

  def close(self) -> None:
    """Ends the trace if it still runs."""
    if self._on:
      self._on = self._wanted = False
      jax.profiler.stop_trace()
      logging.info('A trace of steps is in %s.', self._folder)
