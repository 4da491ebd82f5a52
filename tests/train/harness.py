"""Runs a training script in processes of its own, kills it, compares runs.

A script takes `--workdir` and whatever else, calls `add_arguments` and, before
anything of JAX, `initialize`, and trains with `log_every=1`. Runs are compared
by what they leave in the work directory, so any task will do.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp

from fusion_jax.train import checkpoint, log

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))


def add_arguments(parser):
  """Adds what `run_processes` passes to each process."""
  parser.add_argument('--coordinator', default='')
  parser.add_argument('--process_id', type=int, default=0)
  parser.add_argument('--num_processes', type=int, default=1)


def initialize(args, **timeouts):
  """Strict numerics as in the tests; joins the other processes if any.

  `timeouts` are arguments of `jax.distributed.initialize`.
  """
  jax.config.update('jax_numpy_rank_promotion', 'raise')
  jax.config.update('jax_default_matmul_precision', 'highest')
  if args.coordinator:
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    jax.distributed.initialize(
      args.coordinator, args.num_processes, args.process_id, **timeouts
    )


@contextlib.contextmanager
def start(script, *args, devices=8):
  """Starts `python script args` on virtual CPU devices; ends it at the end.

  With the script -m, the first argument is a module.
  """
  env = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': ROOT,
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir or '',
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
  }
  process = subprocess.Popen(
    [sys.executable, str(script), *map(str, args)],
    env=env,
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  try:
    yield process
  finally:
    if process.poll() is None:
      process.kill()
    process.communicate()


def finish(process, timeout=240):
  """Waits for a process; its output. Fails with the output if it failed."""
  output, _ = process.communicate(timeout=timeout)
  assert process.returncode == 0, output[-4000:]
  return output


def run(script, *args, devices=8, timeout=240):
  """Runs the script to its end."""
  with start(script, *args, devices=devices) as process:
    return finish(process, timeout)


def run_processes(script, *args, num_processes=2, devices=4, timeout=240):
  """Runs the script as several processes of one JAX cluster."""
  with start_processes(
    script, *args, num_processes=num_processes, devices=devices
  ) as processes:
    return [finish(process, timeout) for process in processes]


def free_address():
  """'localhost:PORT' of a port that nobody listens to."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return f'localhost:{free.getsockname()[1]}'


@contextlib.contextmanager
def start_processes(
  script, *args, num_processes=2, devices=4, coordinator='--coordinator'
):
  """Starts the script as several processes of one JAX cluster."""
  address = free_address()
  with contextlib.ExitStack() as stack:
    yield [
      stack.enter_context(
        start(
          script,
          *args,
          coordinator,
          address,
          '--process_id',
          i,
          '--num_processes',
          num_processes,
          devices=devices,
        )
      )
      for i in range(num_processes)
    ]


def signal_when(condition, process, number=signal.SIGKILL, timeout=240):
  """Sends a signal as soon as `condition()`; whether it came to that.

  Returns:
    False if the process ended before.
  """
  deadline = time.monotonic() + timeout
  while process.poll() is None:
    if condition():
      process.send_signal(number)
      return True
    assert time.monotonic() < deadline, 'The condition never came.'
    time.sleep(0.0005)
  return False


def terminate_at(step):
  """An evaluation that sends this process a SIGTERM after a step."""
  assert step >= 1, step

  def terminate(state, done):
    del state
    if done == step:
      os.kill(os.getpid(), signal.SIGTERM)
    return {}

  return terminate


def steps_logged(workdir, at_least):
  """A condition: the run has logged a step >= `at_least`."""
  path = os.path.join(workdir, log.METRICS_FILE)

  def condition():
    history = log.read_history(path)
    return bool(history) and history[-1]['step'] >= at_least

  return condition


def saving(workdir, step):
  """A condition: the checkpoint of `step` is being written."""
  directory = os.path.join(workdir, checkpoint.DIRECTORY)

  def condition():
    return bool(torn_folders(directory, f'{step}.'))

  return condition


def torn_folders(directory, prefix=''):
  """Names of the folders of checkpoints that are not whole."""
  names = os.listdir(directory) if os.path.isdir(directory) else ()
  return [
    name for name in names if name.startswith(prefix) and not name.isdigit()
  ]


def losses(workdir):
  """{step: record without timings} of a run."""
  history = log.read_history(os.path.join(workdir, log.METRICS_FILE))
  return {
    record['step']: {
      name: value
      for name, value in record.items()
      if not name.startswith('perf/')
    }
    for record in history
    if 'train/loss' in record
  }


def final_arrays(workdir):
  """Every array of the last checkpoint, as nested dicts of NumPy arrays."""
  step = checkpoint.find_step(workdir)
  with ocp.CheckpointManager(
    os.path.join(os.path.abspath(workdir), checkpoint.DIRECTORY),
    item_handlers={'state': ocp.PyTreeCheckpointHandler()},
    options=ocp.CheckpointManagerOptions(read_only=True),
  ) as manager:
    tree = manager.item_metadata(step).state.tree
    return manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeRestore(
          restore_args=jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
          )
        )
      ),
    ).state


def final_data_state(workdir):
  """{file: text} of the data iterator's positions in the last checkpoint."""
  folder = os.path.join(
    workdir, checkpoint.DIRECTORY, str(checkpoint.find_step(workdir)), 'batches'
  )
  states = {}
  for name in sorted(os.listdir(folder)):
    if name.startswith('process_'):
      with open(os.path.join(folder, name)) as file:
        states[name] = file.read()
  return states


def assert_same_run(one, other):
  """Both runs took the same steps on the same data to the same state."""
  assert losses(one) == losses(other)
  jax.tree.map(
    np.testing.assert_array_equal, final_arrays(one), final_arrays(other)
  )
  assert final_data_state(one) == final_data_state(other)
