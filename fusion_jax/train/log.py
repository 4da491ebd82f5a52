"""What a run says: progress, speed, metrics.jsonl, TensorBoard."""

import contextlib
import json
import os
import platform
import statistics
import sys
import time
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import logging
from clu import parameter_overview

from fusion_jax.train import tensorboard

METRICS_FILE = 'metrics.jsonl'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain',
            'numpy')

# Dense bfloat16 FLOP/s of one device, by what `device_kind` contains; the
# first that fits. Source: data sheets of NVIDIA and Google Cloud.
PEAK_FLOPS = {
    'A100': 312e12,
    'H100 PCIe': 756e12,
    'H100': 989e12,
    'H200': 989e12,
    'TPU v4': 275e12,
    'TPU v5 lite': 197e12,
    'TPU v5e': 197e12,
    'TPU v5': 459e12,
    'TPU v6': 918e12,
    'TPU7x': 2307e12,
}


class Log:
  """Gathers the metrics of steps and writes their means.

  Every process keeps the history; only the first one writes.
  """

  def __init__(self, workdir, *, num_steps, every, tokens_per_step=0,
               flops_per_step=0):
    """Settings; nothing is written before `start`.

    Args:
      workdir: of the run.
      num_steps: of the whole run.
      every: steps between two lines.
      tokens_per_step: input and target slots of the global batch; 0 leaves
        tokens/s out.
      flops_per_step: model FLOPs of a step over all devices; 0 leaves the
        utilisation out.
    """
    self.history = []
    self.window = {}  # {name: [sum, count]} since the last line.
    self._path = os.path.join(workdir, METRICS_FILE)
    self._workdir = workdir
    self._num_steps = num_steps
    self._every = every
    self._tokens = tokens_per_step
    self._flops = flops_per_step
    self._peak = peak_flops() if flops_per_step else 0
    self._clock = Clock()
    self._main = jax.process_index() == 0
    self._file = self._writer = self._bar = None

  def start(self, step=0, window=None):
    """Opens the outputs; after a restart drops what lies behind `step`."""
    self.window = window or {}
    self.history = [r for r in read_history(self._path) if r['step'] <= step]
    if self._main:
      _rewrite(self._path, self.history)
      self._file = open(self._path, 'a')
      self._writer = tensorboard.TensorBoardWriter(
          os.path.join(self._workdir, tensorboard.DIRECTORY), step)
      if sys.stderr.isatty():
        self._bar = tqdm.tqdm(total=self._num_steps, initial=step, unit='step')

  def pause(self):
    """Stops the clock: what follows is no training step."""
    self._clock.pause()

  def resume(self):
    """Starts the clock again."""
    self._clock.resume()

  def step(self, step, metrics):
    """Adds the metrics of one step; writes a line when due.

    Args:
      step: int, steps done.
      metrics: {name: (sum, count)} on the host.
    """
    self._clock.tick()
    for name, (total, count) in metrics.items():
      sums = self.window.setdefault(name, [0.0, 0.0])
      sums[0] += float(total)
      sums[1] += float(count)
    if self._bar is not None:
      self._bar.update(step - self._bar.n)
    if step % self._every == 0 or step == self._num_steps:
      values = {f'train/{name}': total / count
                for name, (total, count) in self.window.items() if count}
      self.window = {}
      self.write(step, values | self._speed())

  def write(self, step, values):
    """Writes {path: number} of one step everywhere."""
    record = {'step': step} | {k: float(v) for k, v in values.items()}
    self.history.append(record)
    if not self._main:
      return
    self._say(step, values)
    try:
      self._file.write(json.dumps(record) + '\n')
      self._file.flush()
      self._writer.write_scalars(step, values)
      self._writer.flush()
    except OSError as error:
      raise OSError(
          error.errno, f'Cannot write metrics of step {step} ({error}). Free '
          'some space, then run the same command to resume', self._workdir,
      ) from error

  def texts(self, step, texts):
    """Writes {name: Markdown} to TensorBoard."""
    if self._writer is not None:
      self._writer.write_texts(step, texts)

  def close(self):
    """Closes what `start` opened."""
    for output in (self._file, self._writer, self._bar):
      if output is not None:
        with contextlib.suppress(OSError):  # Raised by `write` before.
          output.close()
    self._file = self._writer = self._bar = None

  def _speed(self):
    seconds = self._clock.step_seconds()
    if not seconds:
      return {}
    values = {'perf/step_ms': seconds * 1e3}
    if self._tokens:
      values['perf/tokens_per_s'] = self._tokens / seconds
    if self._peak:
      values['perf/mfu'] = self._flops / seconds / self._peak
    return values

  def _say(self, step, values):
    shown = {k.removeprefix('train/'): f'{v:.4g}' for k, v in values.items()}
    if self._bar is None:
      logging.info('step %d/%d  %s', step, self._num_steps,
                   '  '.join(f'{k} {v}' for k, v in shown.items()))
      return
    if 'loss' in shown:
      names = ('loss', 'perf/tokens_per_s', 'perf/mfu')
      self._bar.set_postfix({k.removeprefix('perf/'): shown[k]
                             for k in names if k in shown})
    else:  # An evaluation: it stays on the screen.
      self._bar.write(f'step {step}: ' + '  '.join(
          f'{k} {v}' for k, v in shown.items()))


class Clock:
  """Mean seconds of a step since the last question, pauses left out."""

  def __init__(self):
    self._last = None
    self._seconds = 0.0
    self._steps = 0

  def tick(self):
    """A step is done."""
    now = time.perf_counter()
    if self._last is not None:
      self._seconds += now - self._last
      self._steps += 1
      self._last = now

  def pause(self):
    """Leaves out the time until `resume`."""
    self._last = None

  def resume(self):
    """Counts from now on."""
    self._last = time.perf_counter()

  def step_seconds(self):
    """Mean seconds a step, 0 if there was none; starts anew."""
    mean = self._seconds / self._steps if self._steps else 0.0
    self._seconds, self._steps = 0.0, 0
    return mean


def read_history(path):
  """The records of a `metrics.jsonl`; a torn last line is left out."""
  records = []
  if os.path.exists(path):
    with open(path) as file:
      for line in file:
        if line.endswith('\n'):
          records.append(json.loads(line))
  return records


def versions():
  """{package: version} of what decides the numbers."""
  return {'python': platform.python_version()} | {
      name: metadata.version(name) for name in PACKAGES}


def describe_run(mesh, batch_size, accumulate):
  """Logs versions, devices, mesh and the batch of a device."""
  devices = list(mesh.devices.flat)
  _info('Versions: %s', versions())
  _info('%d x %s in %d processes, mesh %s.', len(devices),
        devices[0].device_kind, jax.process_count(), dict(mesh.shape))
  _info('Batch: %d examples a step, %d a device%s.', batch_size,
        batch_size // len(devices),
        f' in {accumulate} micro-batches' if accumulate > 1 else '')


def describe_params(params):
  """Logs a table of the parameters: path, shape, size."""
  _info('Parameters:\n%s', parameter_overview.get_parameter_overview(
      params, include_stats=False))


def describe_batch(batch):
  """Logs shape, type and range of every array of a batch of NumPy arrays."""
  lines = []
  for path, x in jax.tree_util.tree_leaves_with_path(batch):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    x = np.asarray(x)
    span = f'{x.min():.4g} .. {x.max():.4g}' if x.size else 'empty'
    lines.append(f'  {name} {x.dtype} {list(x.shape)}: {span}')
  _info('One batch, this process\'s share:\n%s', '\n'.join(lines))


def _info(*args):
  """Logs once, not on every process."""
  if jax.process_index() == 0:
    logging.info(*args)


def peak_flops():
  """FLOP/s that all devices reach at best; 0 where it is not known.

  By the table for accelerators; on CPU, whose virtual devices share the cores,
  by a float32 product of 2048^3 for each process.
  """
  device = jax.devices()[0]
  if device.platform == 'cpu':
    return measure_product() * jax.process_count()
  for kind, flops in PEAK_FLOPS.items():
    if kind.lower() in device.device_kind.lower():
      return flops * jax.device_count()
  return 0


def measure_product(size=2048, repeats=5):
  """FLOP/s of a float32 product [size, size] x [size, size], the median."""
  x = jax.device_put(
      np.random.default_rng(0).random((size, size), np.float32),
      jax.local_devices()[0])
  product = jax.jit(jnp.matmul)
  product(x, x).block_until_ready()
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    product(x, x).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return 2 * size**3 / statistics.median(seconds)


def _rewrite(path, records):
  """Replaces the file in one go, so that a kill leaves the old or the new."""
  with open(path + '.tmp', 'w') as file:
    file.writelines(json.dumps(record) + '\n' for record in records)
  os.replace(path + '.tmp', path)
