"""Runs a function on items in worker processes of one machine.

Not `multiprocessing`: its fresh processes import the caller's main module
first, and with it JAX, which building needs nowhere.
"""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from fusion_jax import extras

T = TypeVar('T')
_POLL_S = 0.2  # Between two looks for the parent.


class InputError(ValueError):
  """A worker could not use a file or an argument; its message says why."""


def run(
  function: Callable[..., Any],
  items: Sequence[T],
  arguments: tuple[Any, ...],
  num_workers: int,
) -> Generator[T]:
  """Calls `function(item, *arguments)` for every item.

  Args:
    function: function of a module that a worker can import.
    items: first arguments; they can be pickled.
    arguments: other arguments of every call; they can be pickled.
    num_workers: number of processes, at most one an item; up to 1 runs
      everything in this one.

  Yields:
    Each item when it is done, in the order of `items`.

  Raises:
    InputError: with a worker's message if it cannot use a file or an
      argument; the others are stopped.
    RuntimeError: with a worker's message if it fails otherwise.
  """
  num_workers = min(num_workers, len(items))
  if num_workers <= 1:
    for item in items:
      function(item, *arguments)
      yield item
    return
  _check_importable(arguments)
  processes = []
  try:
    for _ in range(num_workers):  # All load their modules before one is sent
      processes.append(_start())  # its task.
    for i, process in enumerate(processes):
      _send(process, (function, items[i::num_workers], arguments))
    for i, item in enumerate(items):
      process = processes[i % num_workers]
      assert process.stdout is not None  # It is a pipe.
      answer = process.stdout.readline().decode().strip()
      if answer != 'done':
        raise _failure(item, answer, process)
      yield item
  finally:
    for process in processes:
      process.kill()
      process.wait()
      for pipe in (process.stdout, process.stdin):
        with contextlib.suppress(BrokenPipeError):
          if pipe is not None:
            pipe.close()


def _failure(
  item: Any, answer: str, process: 'subprocess.Popen[bytes]'
) -> InputError | RuntimeError:
  """The error of a worker that did not answer 'done'."""
  if not answer:
    return RuntimeError(
      f'A worker stopped at {item}: exit code {process.wait()}'
    )
  failure = json.loads(answer)
  if failure['is_input']:
    error = InputError(failure['message'])
  else:
    error = RuntimeError(
      f'A worker stopped at {item}: {failure["name"]}: {failure["message"]}'
    )
  error.add_note(failure['traceback'])
  return error


def _check_importable(arguments: tuple[Any, ...]) -> None:
  """Checks that workers can import the classes of some arguments.

  Raises:
    ValueError: if one is defined in the main script.
  """
  for part in arguments:
    if type(part).__module__ == '__main__':
      raise ValueError(
        f'{type(part).__name__} is defined in the main script, where worker '
        'processes cannot find it: move it into a module, or use one '
        'process.'
      )


def _start() -> 'subprocess.Popen[bytes]':
  """A process that runs `work`."""
  return subprocess.Popen(
    [
      sys.executable,
      '-c',
      'import sys; sys.path[:] = sys.argv[1:]; '
      f'from {__name__} import work; work()',
      *sys.path,
    ],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )


def _send(process: 'subprocess.Popen[bytes]', task: Any) -> None:
  """Gives a process its task; one that is dead is noticed by its answer."""
  assert process.stdin is not None  # It is a pipe.
  with contextlib.suppress(BrokenPipeError), process.stdin:
    pickle.dump(task, process.stdin)


def work() -> None:
  """Runs the task of a worker, which comes pickled on stdin.

  Each item is answered on stdout with one line, 'done' or the error as JSON.
  The error ends the worker, and so does the end of the process that started
  it. Ctrl-C, which a terminal sends to all of them, is left to that process.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
  function, items, arguments = pickle.load(sys.stdin.buffer)
  inputs = (ValueError, OSError, extras.MissingExtraError)
  for item in items:
    try:
      function(item, *arguments)
    except Exception as error:
      answer = {
        'is_input': isinstance(error, inputs),
        'name': type(error).__name__,
        'message': ' '.join(str(error).split()),
        'traceback': traceback.format_exc(),
      }
      sys.stdout.write(json.dumps(answer))
      return
    try:
      sys.stdout.write('done\n')
      sys.stdout.flush()
    except BrokenPipeError:  # The parent has gone.
      os._exit(1)


def _end_with(parent: int) -> None:
  """Ends this process soon after its parent: nobody takes its results."""
  while os.getppid() == parent:
    time.sleep(_POLL_S)
  os._exit(1)
