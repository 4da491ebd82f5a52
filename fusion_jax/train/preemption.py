"""How a run learns that it has to stop: a SIGTERM, as from a job scheduler."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import jax

from fusion_jax.train import checkpoint


@contextlib.contextmanager
def stop_requests(
  saver: checkpoint.Checkpoints,
) -> Iterator[Callable[[int], bool]]:
  """Yields a function from a step to whether the run is to stop there.

  With several processes, JAX's preemption service takes the signal and finds a
  step that no process has passed; it has to be asked after every step.

  Args:
    saver: checkpoints of the run, whose manager asks the service.
  """
  if jax.process_count() > 1:
    yield saver.reached_preemption
    return
  if threading.current_thread() is not threading.main_thread():
    yield lambda step: False  # Python takes signals in the main thread only.
    return
  received = threading.Event()
  before = signal.signal(signal.SIGTERM, lambda *_: received.set())
  try:
    yield lambda step: received.is_set()
  finally:
    signal.signal(signal.SIGTERM, before)
