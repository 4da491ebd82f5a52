"""What a run says: progress, speed, metrics.jsonl, TensorBoard."""

import contextlib
import json
import logging as py_logging
import os
import pathlib
import platform
import sys
from importlib import metadata

import jax
import numpy as np
import tqdm
from absl import logging
from clu import parameter_overview

from fusion_jax.train import speed, tensorboard

METRICS_FILE = 'metrics.jsonl'
_MOST_SHOWN = 20  # Numbers of one step on the console.
PACKAGES = (
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax-checkpoint',
  'grain',
  'numpy',
)
_LOUD = {'orbax', 'grain', 'etils'}  # Packages that log a lot.


def show_progress():
  """Makes absl show progress, without the thirty lines of Orbax a checkpoint.

  For the commands to call. Errors of other libraries are still shown.
  """
  logging.set_verbosity(logging.INFO)

  def is_ours(record):
    parts = pathlib.PurePath(record.pathname).parts
    return record.levelno >= py_logging.ERROR or not _LOUD & set(parts)

  logging.get_absl_handler().addFilter(is_ours)


class Log:
  """Gathers the metrics of steps and writes their means.

  Every process keeps the history; only the first one writes.
  """

  def __init__(
    self, workdir, *, num_steps, every, tokens_per_step=0, flops_per_step=0
  ):
    """Settings; nothing is written before `start`.

    Args:
      workdir: of the run.
      num_steps: of the whole run.
      every: steps between two lines; 0 writes one at the end only.
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
    self._peak = speed.peak_flops() if flops_per_step else 0
    self._clock = speed.Clock()
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
        os.path.join(self._workdir, tensorboard.DIRECTORY), step
      )
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
    due = self._every and step % self._every == 0
    if due or step == self._num_steps:
      values = {
        f'train/{name}': total / count
        for name, (total, count) in self.window.items()
        if count
      }
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
        error.errno,
        f'Cannot write metrics of step {step} ({error}). Free '
        'some space, then run the same command to resume',
        self._workdir,
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
    if len(shown) > _MOST_SHOWN:
      rest = len(shown) - _MOST_SHOWN
      shown = dict(list(shown.items())[:_MOST_SHOWN])
      shown[f'and {rest} more in'] = METRICS_FILE
    if self._bar is None:
      logging.info(
        'step %d/%d  %s',
        step,
        self._num_steps,
        '  '.join(f'{k} {v}' for k, v in shown.items()),
      )
      return
    if 'loss' in shown:
      names = ('loss', 'perf/tokens_per_s', 'perf/mfu')
      self._bar.set_postfix(
        {k.removeprefix('perf/'): shown[k] for k in names if k in shown}
      )
    else:  # An evaluation: it stays on the screen.
      self._bar.write(
        f'step {step}: ' + '  '.join(f'{k} {v}' for k, v in shown.items())
      )


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
    name: metadata.version(name) for name in PACKAGES
  }


def describe_run(mesh, batch_size, accumulate):
  """Logs versions, devices, mesh and the batch of a device."""
  devices = list(mesh.devices.flat)
  _info('Versions: %s', versions())
  _info(
    '%d x %s in %d processes, mesh %s.',
    len(devices),
    devices[0].device_kind,
    jax.process_count(),
    dict(mesh.shape),
  )
  _info(
    'Batch: %d examples a step, %d a device%s.',
    batch_size,
    batch_size // len(devices),
    f' in {accumulate} micro-batches' if accumulate > 1 else '',
  )


def describe_params(params):
  """Logs a table of the parameters: path, shape, size."""
  _info(
    'Parameters:\n%s',
    parameter_overview.get_parameter_overview(params, include_stats=False),
  )


def describe_batch(batch):
  """Logs shape, type and range of every array of a batch of NumPy arrays."""
  lines = []
  for path, x in jax.tree_util.tree_leaves_with_path(batch):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    x = np.asarray(x)
    lines.append(f'  {name} {x.dtype} {list(x.shape)}: {_range(x)}')
  _info("One batch, this process's share:\n%s", '\n'.join(lines))


def describe_config_changes(saved, config):
  """Warns of every field that differs from what the checkpoint holds."""
  old, new = _flatten(saved), _flatten(config)
  for name in sorted(old.keys() | new.keys()):
    if old.get(name) != new.get(name):
      logging.warning(
        'config.%s was %r in the checkpoint and is now %r.',
        name,
        old.get(name),
        new.get(name),
      )


def _range(x):
  finite = x[np.isfinite(x)]
  span = f'{finite.min():.4g} .. {finite.max():.4g}' if finite.size else 'none'
  missing = x.size - finite.size
  return span + (f', {missing} not finite' if missing else '')


def _info(*args):
  """Logs once, not on every process."""
  if jax.process_index() == 0:
    logging.info(*args)


def _rewrite(path, records):
  """Replaces the file in one go, so that a kill leaves the old or the new."""
  with open(path + '.tmp', 'w') as file:
    file.writelines(json.dumps(record) + '\n' for record in records)
  os.replace(path + '.tmp', path)


def _flatten(tree, prefix=''):
  if not isinstance(tree, dict):
    return {prefix[:-1]: tree}
  return {
    name: value
    for key, child in tree.items()
    for name, value in _flatten(child, f'{prefix}{key}.').items()
  }
