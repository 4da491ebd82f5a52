"""What happens between two steps: metrics, evaluations, checkpoints, stops."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import logging

from fusion_jax.train import checkpoint, description
from fusion_jax.train import log as log_lib
from fusion_jax.train import state as state_lib
from fusion_jax.train import step as step_lib
from fusion_jax.train import task as task_lib
from fusion_jax.train import watch as watch_lib
from fusion_jax.types import Metrics


class Supervisor:
  """Logs, evaluates and saves, each when it is due.

  Attributes:
    log: log of the run.
  """

  log: log_lib.Log

  def __init__(
    self,
    log: log_lib.Log,
    saver: checkpoint.Checkpoints,
    evals: Mapping[str, task_lib.Hook],
    watch: watch_lib.Watch,
    *,
    num_steps: int,
    checkpoint_every: int,
    config: Mapping[str, Any],
    stop_requested: Callable[[int], bool],
  ):
    """Takes what it works with.

    Args:
      log: log of the run.
      saver: checkpoints of the run.
      evals: {name: (every, evaluation)}.
      watch: what watches the run.
      num_steps: length of the whole run in steps.
      checkpoint_every: steps between two checkpoints; 0 saves at the end only.
      config: JSON-like dict that is stored with every checkpoint.
      stop_requested: function from a step to whether the run is to stop there;
        it is called once for every step.
    """
    self.log = log
    self._saver = saver
    self._evals = evals
    self._watch = watch
    self._num_steps = num_steps
    self._checkpoint_every = checkpoint_every
    self._config = config
    self._stop_requested = stop_requested

  def consume(self, step: int, metrics: Metrics) -> None:
    """Fetches the metrics of a step, checks them, hands them to the log.

    Args:
      step: number of steps done.
      metrics: {name: (sum, count)}, scalars on the devices.

    Raises:
      step.NonFiniteError: if the loss or the gradient is not finite.
    """
    fetched = {
      name: (float(total), float(count))
      for name, (total, count) in jax.device_get(metrics).items()
    }
    step_lib.check_finite(step, fetched)
    self.log.step(step, fetched)

  def should_stop(self, step: int) -> bool:
    """Tells, alike on all processes, whether to save and stop at a step.

    Args:
      step: number of steps done.
    """
    requested = self._stop_requested(step)
    return requested and step < self._num_steps

  def is_due(self, step: int) -> bool:
    """Tells whether an evaluation or a checkpoint follows a step.

    Args:
      step: number of steps done.
    """
    return self._save_due(step) or any(
      self._due(every, step) for every, _ in self._evals.values()
    )

  def after_step(
    self, step: int, state: state_lib.TrainState, data_state: Any, stop: bool
  ) -> None:
    """Evaluates and saves, each when it is due.

    Args:
      step: number of steps done.
      state: state after this step.
      data_state: position of the data iterator after the batch of this step.
      stop: whether the run stops here, so that a checkpoint is needed.
    """
    with self._watch.wall_time.during('evaluations'):
      values = self._evaluate(step, state)
    if values:
      self.log.write(step, values)
    if stop or self._save_due(step):
      with self._watch.wall_time.during('checkpoints'):
        metadata = {
          'config': self._config,
          'versions': description.versions(),
          'log': self.log.window,
          'goodput': self._watch.wall_time.state(),
        }
        self._saver.save(step, state, data_state, metadata, values)

  def _evaluate(
    self, step: int, state: state_lib.TrainState
  ) -> dict[str, float]:
    """Runs the evaluations that are due; {path: number}."""
    values = {}
    for name, (every, evaluation) in self._evals.items():
      if self._due(every, step):
        start = time.perf_counter()
        results = evaluation(state, step)
        values |= {path: float(value) for path, value in results.items()}
        logging.info(
          'Evaluation %s took %.1f s.', name, time.perf_counter() - start
        )
    return values

  def _due(self, every: int, step: int) -> bool:
    return step == self._num_steps or bool(every and step % every == 0)

  def _save_due(self, step: int) -> bool:
    return self._due(self._checkpoint_every, step)
