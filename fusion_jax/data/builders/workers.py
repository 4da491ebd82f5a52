"""Runs a function on items in worker processes of one machine.

Not `multiprocessing`: its fresh processes import the caller's main module
first, and with it JAX, which building needs nowhere.
"""

import contextlib
import pickle
import subprocess
import sys


def run(function, items, arguments, num_workers):
  """Calls `function(item, *arguments)` for every item.

  Args:
    function: of an importable module.
    items: list; what is in it, and the arguments, can be pickled.
    arguments: tuple, the same for all.
    num_workers: processes; up to 1 runs everything in this one.

  Yields:
    Each item when it is done, in the order of `items`.

  Raises:
    RuntimeError: with a worker's message if it fails; the others are stopped.
  """
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
      answer = process.stdout.readline().decode().strip()
      if answer != 'done':
        raise RuntimeError(
          f'A worker stopped at {item}: '
          f'{answer or f"exit code {process.wait()}"}'
        )
      yield item
  finally:
    for process in processes:
      process.kill()
      process.wait()
      process.stdout.close()
      with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _check_importable(arguments):
  for part in arguments:
    if type(part).__module__ == '__main__':
      raise ValueError(
        f'{type(part).__name__} is defined in the main script, where worker '
        'processes cannot find it: move it into a module, or use one '
        'process.'
      )


def _start():
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


def _send(process, task):
  """Gives a process its task; one that is dead is noticed by its answer."""
  with contextlib.suppress(BrokenPipeError), process.stdin:
    pickle.dump(task, process.stdin)


def work():
  """Main function of a worker: its task comes pickled on stdin.

  It answers each item with one line, 'done' or the error.
  """
  function, items, arguments = pickle.load(sys.stdin.buffer)
  for item in items:
    try:
      function(item, *arguments)
    except Exception as error:
      sys.stdout.write(' '.join(f'{type(error).__name__}: {error}'.split()))
      raise
    sys.stdout.write('done\n')
    sys.stdout.flush()
