"""The loop that trains every task; `task.Task` says what it needs of one."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from fusion_jax.train import (
  checkpoint,
  description,
  optim,
  preemption,
  rng,
  sharding,
  supervision,
)
from fusion_jax.train import log as log_lib
from fusion_jax.train import settings as settings_lib
from fusion_jax.train import state as state_lib
from fusion_jax.train import step as step_lib
from fusion_jax.train import task as task_lib
from fusion_jax.train import watch as watch_lib
from fusion_jax.types import Batch, Params

Settings = settings_lib.Settings


def train(
  task: task_lib.Task,
  optimizer: optim.Optimizer,
  settings: Settings,
  *,
  workdir: str | os.PathLike[str],
  mesh: jax.sharding.Mesh,
  evals: Mapping[str, task_lib.Hook] | None = None,
  initial_params: Params | None = None,
) -> tuple[state_lib.TrainState, list[task_lib.Record]]:
  """Trains, or resumes the run in `workdir` where it stopped.

  Stopped by SIGTERM it saves and returns early: then `state.step` is below
  `settings.num_steps`, and the same call continues bit for bit as if it had
  not stopped. The same holds after a kill, from the last checkpoint. Ctrl-C
  saves and raises; a second one ends the process.

  Args:
    task: what is trained.
    optimizer: optimizer and its learning rate.
    settings: length, batch size, seed, and what happens how often.
    workdir: folder of checkpoints, metrics.jsonl and TensorBoard's files.
    mesh: mesh of devices, see `sharding.make_mesh`.
    evals: {name: (every, evaluation)}; an evaluation is called as
      `evaluation(state, step)` after every `every` steps (0: never) and at the
      end, by all processes, and returns {path: number}.
    initial_params: nested dict of arrays to start from; what it lacks of the
      model's parameters is what `task.init` makes.

  Returns:
    (state, history): the final state, and the records of metrics.jsonl,
    [{'step': int, path: number}].

  Raises:
    ValueError: if the batch does not divide over the devices.
    step.NonFiniteError: for a loss or gradient that is not finite.
    checkpoint.CheckpointError: for a checkpoint of another model, a damaged
      one, or a full disk.
    KeyboardInterrupt: after Ctrl-C, when it has saved.
  """
  evals = evals or {}
  sharding.check_batch_size(settings.batch_size, mesh, settings.accumulate)
  _check_best(settings.keep.best, evals)
  os.makedirs(workdir, exist_ok=True)
  with contextlib.ExitStack() as stack:
    watch = stack.enter_context(watch_lib.Watch(settings.watching, workdir))
    batches = task.batches('train')
    stack.callback(_close, batches)
    first = _first_batch(batches, settings, mesh, watch)
    log = _make_log(task, settings, workdir, first, watch)
    stack.callback(log.close)
    stack.enter_context(jax.set_mesh(mesh))
    saver = checkpoint.Checkpoints(workdir, settings.keep)
    stack.push(lambda *error: _close_saver(saver, error[1]))
    stack.callback(watch.rest)
    run = _Run(task, optimizer, settings, mesh, batches, saver, log, watch)
    state, shardings = run.start(first, initial_params)
    stop_requested = stack.enter_context(preemption.stop_requests(saver))
    state = run.steps(state, shardings, run.supervisor(evals, stop_requested))
  return state, log.history


@dataclasses.dataclass(frozen=True)
class _Run:
  """The parts that a run is made of."""

  task: task_lib.Task
  optimizer: optim.Optimizer
  settings: Settings
  mesh: jax.sharding.Mesh
  batches: task_lib.Batches
  saver: checkpoint.Checkpoints
  log: log_lib.Log
  watch: watch_lib.Watch

  def start(
    self, first: Batch, initial_params: Params | None
  ) -> tuple[state_lib.TrainState, Any]:
    """Makes the first state, or reads the latest checkpoint; opens the log.

    Args:
      first: this process's share of the first batch, [B / process_count, ...].
      initial_params: nested dict of arrays to start from, or None.

    Returns:
      (state, shardings), two trees of the same structure.
    """

    def init(batch: Batch, params: Params | None) -> state_lib.TrainState:
      key = rng.key_for(self.settings.seed, 'init', 0)
      own, extra = self.task.init(key, batch)
      return state_lib.create(
        own if params is None else state_lib.merge(own, params),
        extra,
        self.optimizer.tx,
        use_ema=bool(self.settings.ema_decay),
      )

    batch = sharding.place(first, self.mesh)
    shapes = jax.eval_shape(init, batch, initial_params)
    description.log_parameters(shapes.params)
    shardings = sharding.state_shardings(shapes, self.mesh)
    if self.saver.latest_step() is None:
      self.log.start()
      create = jax.jit(init, out_shardings=shardings)
      return create(batch, initial_params), shardings
    state, metadata = self.saver.restore(
      sharding.with_shardings(shapes, shardings), self.batches
    )
    description.log_config_changes(
      self.settings.upgrade_config(metadata['config']), self.settings.config
    )
    logging.info(
      'Resumed from step %d in %s.', int(state.step), self.saver.directory
    )
    self.log.start(int(state.step), metadata['log'])
    if 'goodput' in metadata:  # Not in checkpoints of earlier versions.
      self.watch.wall_time.restore(metadata['goodput'])
    return state, shardings

  def supervisor(
    self,
    evals: Mapping[str, task_lib.Hook],
    stop_requested: Callable[[int], bool],
  ) -> supervision.Supervisor:
    """Returns what logs, evaluates and saves between the steps."""
    return supervision.Supervisor(
      self.log,
      self.saver,
      evals,
      self.watch,
      num_steps=self.settings.num_steps,
      checkpoint_every=self.settings.checkpoint_every,
      config=self.settings.config,
      stop_requested=stop_requested,
    )

  def steps(
    self,
    state: state_lib.TrainState,
    shardings: Any,
    supervisor: supervision.Supervisor,
  ) -> state_lib.TrainState:
    """Takes all steps that are left, or those until a stop is requested."""
    num_steps, step = self.settings.num_steps, int(state.step)
    if step >= num_steps:
      logging.info('The run is complete: %d steps.', step)
      return state
    with self.watch.first_draw():
      batch, data_state = self._draw()
    train_step = self._compile(state, batch, shardings)
    if jax.process_count() > 1:  # Another may still read or compile.
      multihost_utils.sync_global_devices('The first step')
    pending = None
    self.log.resume()
    while step < num_steps:
      step += 1
      with self.watch.dispatching(step) as output:
        with jax.transfer_guard('disallow'):
          state, metrics = train_step(state, batch)
        output.append(metrics)
      jax.tree.map(lambda x: x.copy_to_host_async(), metrics)
      position = data_state
      # While the device computes: the next batch, the metrics of the last step.
      if step < num_steps:
        with self.watch.drawing():
          batch, data_state = self._draw()
      if pending is not None:
        supervisor.consume(*pending)
      pending = (step, metrics)
      stop = supervisor.should_stop(step)
      if stop or supervisor.is_due(step):
        supervisor.consume(*pending)
        pending = None
        self.log.pause()
        supervisor.after_step(step, state, position, stop)
        self.log.resume()
      if stop:
        logging.warning(
          'Stopped at step %d of %d; run the same command to resume.',
          step,
          num_steps,
        )
        break
    self.log.pause()
    return state

  def _compile(
    self, state: state_lib.TrainState, batch: Batch, shardings: Any
  ) -> step_lib.TrainStep:
    start = time.perf_counter()
    train_step = step_lib.make_train_step(
      self.task,
      self.optimizer.tx,
      self.settings.seed,
      schedule=self.optimizer.schedule,
      accumulate=self.settings.accumulate,
      ema_decay=self.settings.ema_decay,
    )
    compiled = (
      jax.jit(
        train_step,
        donate_argnums=0,
        out_shardings=(shardings, sharding.replicated(self.mesh)),
      )
      .lower(state, batch)
      .compile()
    )
    logging.info('The step compiled in %.1f s.', time.perf_counter() - start)
    return compiled

  def _draw(self) -> tuple[Batch, Any]:
    """The next batch on the devices, and the position of the data after it."""
    try:
      batch = next(self.batches)
    except StopIteration:
      raise ValueError(
        'The training data ended; end the pipeline with .repeat().'
      ) from None
    return sharding.place(batch, self.mesh), self.batches.get_state()


def _check_best(best: str, evals: Mapping[str, task_lib.Hook]) -> None:
  if best and not evals:
    raise ValueError(
      f'config.checkpoint.best={best!r} names a metric, but there is no '
      "evaluation; set it to '' or add one."
    )


def _first_batch(
  batches: task_lib.Batches,
  settings: settings_lib.Settings,
  mesh: jax.sharding.Mesh,
  watch: watch_lib.Watch,
) -> Batch:
  """Logs what the run is, and the first batch, which is drawn again."""
  with watch.first_draw():
    first = _peek(batches, settings.batch_size)
  description.log_run(mesh, settings.batch_size, settings.accumulate)
  description.log_batch(first)
  return first


def _peek(batches: task_lib.Batches, batch_size: int) -> Batch:
  """The first batch, without moving the iterator."""
  start = batches.get_state()
  batch = next(batches)
  batches.set_state(start)
  rows = {np.shape(x)[0] for x in jax.tree.leaves(batch)}
  if rows != {batch_size // jax.process_count()}:
    raise ValueError(
      f'The data give batches of {sorted(rows)} examples on each of '
      f'{jax.process_count()} processes, but config.batch_size={batch_size}; '
      f'set it to {max(rows) * jax.process_count()}.'
    )
  return batch


def _make_log(
  task: task_lib.Task,
  settings: Settings,
  workdir: str | os.PathLike[str],
  first: Batch,
  watch: watch_lib.Watch,
) -> log_lib.Log:
  return log_lib.Log(
    workdir,
    num_steps=settings.num_steps,
    every=settings.log_every,
    tokens_per_step=task.tokens_per_step,
    flops_per_step=task.flops(first) * jax.process_count(),
    examples_per_step=settings.batch_size,
    watch=watch,
  )


def _close(batches: task_lib.Batches) -> None:
  close: Callable[[], None] | None = getattr(batches, 'close', None)
  if close is not None:  # Not every iterator has threads to end.
    close()


def _close_saver(
  saver: checkpoint.Checkpoints, error: BaseException | None
) -> None:
  """Waits for the last save; after an error, without hiding it."""
  try:
    saver.close()
  except checkpoint.CheckpointError:
    if error is None:
      raise
    logging.exception('While closing after another error:')
