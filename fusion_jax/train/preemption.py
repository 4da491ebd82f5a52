"""How a run learns that it has to stop: SIGTERM from a scheduler, or Ctrl-C."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import jax
from absl import logging

from fusion_jax.train import checkpoint

_INTERRUPTED = 128 + signal.SIGINT  # Status of a process that Ctrl-C ended.


@contextlib.contextmanager
def stop_requests(
  saver: checkpoint.Checkpoints,
) -> Iterator[Callable[[int], bool]]:
  """Yields a function from a step to whether the run is to stop there.

  With several processes, JAX's preemption service takes the signal and finds a
  step that no process has passed; it has to be asked after every step. It
  knows SIGTERM only, so Ctrl-C sends one.

  Args:
    saver: checkpoints of the run, whose manager asks the service.

  Raises:
    KeyboardInterrupt: after the run has stopped, if Ctrl-C stopped it.
  """
  if threading.current_thread() is not threading.main_thread():
    several = jax.process_count() > 1
    # Python takes signals in the main thread only.
    yield saver.reached_preemption if several else lambda step: False
    return
  received, interrupted = threading.Event(), threading.Event()
  if jax.process_count() > 1:
    with _interrupts(interrupted, lambda: os.kill(os.getpid(), signal.SIGTERM)):
      yield saver.reached_preemption
  else:
    before = signal.signal(signal.SIGTERM, lambda *_: received.set())
    try:
      with _interrupts(interrupted, received.set):
        yield lambda step: received.is_set()
    finally:
      signal.signal(signal.SIGTERM, before)
  if interrupted.is_set():
    raise KeyboardInterrupt('The run was saved.')


@contextlib.contextmanager
def _interrupts(
  interrupted: threading.Event, stop: Callable[[], None]
) -> Iterator[None]:
  """Stops the run at the first Ctrl-C, and ends the process at the second.

  Python runs its handlers between two instructions, which a compilation holds
  up for minutes. The numbers of signals reach a socket at once, where a thread
  waits for them.

  Args:
    interrupted: is set at the first one.
    stop: asks the run to stop; called once, in that thread.
  """
  reader, writer = socket.socketpair()
  writer.setblocking(False)

  def listen() -> None:
    while number := reader.recv(1):
      if number[0] != signal.SIGINT:
        continue
      if interrupted.is_set():
        os._exit(_INTERRUPTED)
      interrupted.set()
      stop()
      logging.warning(
        'Interrupted: the run is saved after this step. Ctrl-C again ends it '
        'at once, without saving.'
      )

  with reader, writer:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    descriptor = signal.set_wakeup_fd(
      writer.fileno(), warn_on_full_buffer=False
    )
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
      yield
    finally:
      signal.set_wakeup_fd(descriptor)
      signal.signal(signal.SIGINT, before)
      writer.shutdown(socket.SHUT_WR)
      thread.join()
