"""What a run reports: progress, speed, metrics.jsonl, TensorBoard."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import IO, Any

import jax
import tqdm
from absl import logging

from fusion_jax.train import progress as progress_lib
from fusion_jax.train import speed, tensorboard
from fusion_jax.train import task as task_lib
from fusion_jax.train import watch as watch_lib

METRICS_FILE = 'metrics.jsonl'
_MOST_SHOWN = 20  # Numbers of one step on the console.
# Of the speed, the console shows these; the line of each minute shows more.
_SHOWN_SPEED = ('perf/step_ms', 'perf/tokens_per_s', 'perf/mfu')


class Log:
  """Gathers the metrics of steps and writes their means.

  Every process keeps the history; only the first one writes.

  Attributes:
    history: records of metrics.jsonl, [{'step': int, path: number}].
    window: {name: [sum, count]} of the steps since the last line.
  """

  history: list[task_lib.Record]
  window: dict[str, list[float]]

  def __init__(
    self,
    workdir: str | os.PathLike[str],
    *,
    num_steps: int,
    every: int,
    tokens_per_step: int = 0,
    flops_per_step: float = 0,
    examples_per_step: int = 0,
    watch: watch_lib.Watch | None = None,
  ):
    """Takes the settings; nothing is written before `start`.

    Args:
      workdir: folder of the run.
      num_steps: length of the whole run in steps.
      every: steps between two lines; 0 writes one line, at the end.
      tokens_per_step: input and target tokens of the global batch; 0 leaves
        tokens/s out.
      flops_per_step: floating-point operations of a step over all devices; 0
        leaves the utilisation out.
      examples_per_step: examples of the global batch; 0 leaves examples/s out.
      watch: what watches the run; None reports no goodput.
    """
    self.history = []
    self.window = {}
    self._path = os.path.join(workdir, METRICS_FILE)
    self._workdir = workdir
    self._num_steps = num_steps
    self._every = every
    self._tokens = tokens_per_step
    self._flops = flops_per_step
    self._peak = speed.peak_flops() if flops_per_step else 0
    self._clock = speed.Clock()
    self._watch = watch
    self._progress = progress_lib.Progress(num_steps, examples_per_step)
    self._main = jax.process_index() == 0
    self._file: IO[str] | None = None
    self._writer: tensorboard.TensorBoardWriter | None = None
    self._bar: tqdm.tqdm | None = None

  def start(
    self, step: int = 0, window: Mapping[str, list[float]] | None = None
  ) -> None:
    """Opens the outputs; drops records of steps that are done again.

    Args:
      step: number of steps done so far.
      window: `window` of the log at that step, as a checkpoint has it.
    """
    self.window = dict(window or {})
    self.history = [r for r in read_history(self._path) if r['step'] <= step]
    if self._main:
      _rewrite(self._path, self.history)
      self._file = open(self._path, 'a')
      self._writer = tensorboard.TensorBoardWriter(
        os.path.join(self._workdir, tensorboard.DIRECTORY), step
      )
      if sys.stderr.isatty():
        self._bar = tqdm.tqdm(total=self._num_steps, initial=step, unit='step')

  def pause(self) -> None:
    """Stops the clock, because what follows is no training step."""
    self._clock.pause()
    if self._watch is not None:
      self._watch.pause()

  def resume(self) -> None:
    """Starts the clock again."""
    self._clock.resume()
    if self._watch is not None:
      self._watch.resume()

  def step(self, step: int, metrics: Mapping[str, tuple[float, float]]) -> None:
    """Adds the metrics of one step; writes a line when one is due.

    Args:
      step: number of steps done.
      metrics: {name: (sum, count)} on the host.
    """
    seconds = self._clock.tick()
    self._progress.step(seconds, metrics.get('loss', (0.0, 0.0)))
    if self._watch is not None:
      self._watch.finished(step)
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
    if self._main and (self._progress.due or step == self._num_steps):
      self._tell_progress(step)

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Writes numbers to the screen, to metrics.jsonl and to TensorBoard.

    Args:
      step: number of steps done.
      values: {path: number}.

    Raises:
      OSError: if the disk is full; tells the step.
    """
    record = {'step': step} | {k: float(v) for k, v in values.items()}
    self.history.append(record)
    if self._file is None or self._writer is None:
      return  # Only the first process has opened them.
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

  def texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Writes texts to TensorBoard.

    Args:
      step: number of steps done.
      texts: {name: Markdown}.
    """
    if self._writer is not None:
      self._writer.write_texts(step, texts)

  def close(self) -> None:
    """Closes what `start` opened."""
    for output in (self._file, self._writer, self._bar):
      if output is not None:
        with contextlib.suppress(OSError):  # Raised by `write` before.
          output.close()
    self._file = self._writer = self._bar = None

  def _speed(self) -> dict[str, float]:
    """Returns the numbers of the steps since the last line."""
    seconds, values = self._clock.take(), {}
    if seconds:
      values = speed.summary(seconds)
      mean = values['perf/step_ms'] / 1e3
      if self._tokens:
        values['perf/tokens_per_s'] = self._tokens / mean
      if self._peak:
        values['perf/mfu'] = self._flops / mean / self._peak
    if self._watch is not None:
      values |= self._watch.gauge(sum(seconds))
    return values

  def _tell_progress(self, step: int) -> None:
    """Shows the line of a minute, and warns of what holds up the run."""
    text, warnings = self._progress.line(step), []
    if self._watch is not None:
      watched, warnings = self._watch.report()
      text += f', {watched}'
    if self._bar is None:
      logging.info('%s', text)
    else:
      self._bar.write(text)
    for warning in warnings:
      logging.warning('%s', warning)

  def _say(self, step: int, values: Mapping[str, Any]) -> None:
    shown_values = {
      k.removeprefix('train/'): f'{v:.4g}'
      for k, v in values.items()
      if not k.startswith('perf/') or k in _SHOWN_SPEED
    }
    if len(shown_values) > _MOST_SHOWN:
      rest = len(shown_values) - _MOST_SHOWN
      shown_values = dict(list(shown_values.items())[:_MOST_SHOWN])
      shown_values[f'and {rest} more in'] = METRICS_FILE
    if self._bar is None:
      logging.info(
        'step %d/%d  %s',
        step,
        self._num_steps,
        '  '.join(f'{k} {v}' for k, v in shown_values.items()),
      )
      return
    if 'loss' in shown_values:
      names = ('loss', 'perf/tokens_per_s', 'perf/mfu')
      self._bar.set_postfix(
        {
          k.removeprefix('perf/'): shown_values[k]
          for k in names
          if k in shown_values
        }
      )
    else:  # An evaluation: it stays on the screen.
      self._bar.write(
        f'step {step}: '
        + '  '.join(f'{k} {v}' for k, v in shown_values.items())
      )


def read_history(path: str | os.PathLike[str]) -> list[task_lib.Record]:
  """Reads the records of a `metrics.jsonl`.

  Args:
    path: path of the file.

  Returns:
    [{'step': int, path: number}], without a torn last line; [] if there is no
    such file.
  """
  records: list[task_lib.Record] = []
  if os.path.exists(path):
    with open(path) as file:
      for line in file:
        if line.endswith('\n'):
          records.append(json.loads(line))
  return records


def _rewrite(path: str, records: Iterable[task_lib.Record]) -> None:
  """Replaces the file in one go, so that a kill leaves the old or the new."""
  with open(path + '.tmp', 'w') as file:
    file.writelines(json.dumps(record) + '\n' for record in records)
  os.replace(path + '.tmp', path)
