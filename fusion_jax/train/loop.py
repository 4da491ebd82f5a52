"""The loop that trains every task.

A task has

  init(key, batch) -> params, extra
  weigh(batch) -> batch: adds what depends on the whole global batch, such as
    counts; runs inside jit, before the split into micro-batches
  loss(params, extra, batch, key) -> loss, (metrics, extra): metrics are
    {name: (sum, count)}; loss and metrics add up over micro-batches. The loss
    of one modality is called 'loss/<modality>'.
  batches(split) -> iterator of dicts of NumPy arrays, this process's share of
    each batch, with `get_state` and `set_state` (Grain)

and knows nothing of what is here.
"""

import contextlib
import os
import signal
import threading
import time

import jax
import numpy as np
from absl import logging

from fusion_jax.train import checkpoint, rng, sharding
from fusion_jax.train import log as log_lib
from fusion_jax.train import state as state_lib
from fusion_jax.train import step as step_lib


def train(
  task,
  tx,
  *,
  workdir,
  num_steps,
  batch_size,
  seed,
  mesh,
  schedule=None,
  accumulate=1,
  ema_decay=0.0,
  evals=None,
  log_every=100,
  checkpoint_every=1000,
  checkpoints=None,
  config=None,
  tokens_per_step=0,
  flops=None,
  initial_params=None,
  stop_after=0,
):
  """Trains, or goes on where the run in `workdir` stopped.

  Stopped by SIGTERM, or by `stop_after`, it saves and returns early: then
  `state.step < num_steps`, and the same call goes on, bit for bit as if it had
  not stopped. The same holds after a kill, from the last checkpoint.

  Args:
    task: see the head of this file.
    tx: `optax.GradientTransformation`.
    workdir: gets checkpoints, metrics.jsonl and the TensorBoard files.
    num_steps: of the whole run.
    batch_size: examples of a step, over all devices and processes.
    seed: int.
    mesh: of `sharding.make_mesh`.
    schedule: step -> learning rate, to report it.
    accumulate: micro-batches of a step.
    ema_decay: of a running mean of the parameters; 0 keeps none.
    evals: {name: (every, run)}; run(state, step) -> {path: number}, called
      after every `every` steps (0: never) and at the end, by all processes.
    log_every: steps between two lines; their metrics are means over the steps
      in between.
    checkpoint_every: steps between two checkpoints; 0 saves only at the end.
    checkpoints: arguments of `checkpoint.Checkpoints`: keep_last, keep_best,
      best, best_mode.
    config: JSON-like dict, stored with every checkpoint.
    tokens_per_step: input and target slots of the global batch, for tokens/s.
    flops: function from this process's share of a batch to its model FLOPs,
      for the utilisation.
    initial_params: start from these instead of the task's; what they lack
      of its tree stays the task's.
    stop_after: save and stop once this many steps are done; 0 does not.

  Returns:
    (state, history): the final `TrainState`, and the records of
    metrics.jsonl, [{'step': int, path: number}].

  Raises:
    ValueError: if the batch does not divide over the devices.
    step.NonFiniteError: names the step and the modality.
    checkpoint.CheckpointError: a checkpoint of another model, a damaged one,
      or a full disk.
  """
  evals, config, kept = evals or {}, config or {}, checkpoints or {}
  sharding.check_batch_size(batch_size, mesh, accumulate)
  if kept.get('best') and not evals:
    raise ValueError(
      f'checkpoints.best={kept["best"]!r} names a metric, but there is no '
      "evaluation; set it to '' or add one."
    )
  os.makedirs(workdir, exist_ok=True)
  batches = task.batches('train')
  first = _peek(batches, batch_size)
  log_lib.describe_run(mesh, batch_size, accumulate)
  log_lib.describe_batch(first)
  log = log_lib.Log(
    workdir,
    num_steps=num_steps,
    every=log_every,
    tokens_per_step=tokens_per_step,
    flops_per_step=flops(first) * jax.process_count() if flops else 0,
  )
  with contextlib.ExitStack() as stack:
    stack.enter_context(jax.set_mesh(mesh))
    stack.callback(_close, batches)
    stack.callback(log.close)
    saver = checkpoint.Checkpoints(workdir, **kept)
    stack.push(lambda *error: _close_saver(saver, error[1]))
    state, shardings = _start(
      task,
      tx,
      seed,
      sharding.place(first, mesh),
      mesh,
      ema_decay,
      initial_params,
      saver,
      batches,
      log,
      config,
    )
    run = _Run(
      evals,
      config,
      saver,
      log,
      num_steps,
      checkpoint_every,
      stack.enter_context(_stop_signal(saver)),
      stop_after,
    )
    train_step = step_lib.make_train_step(
      task,
      tx,
      seed,
      schedule=schedule,
      accumulate=accumulate,
      ema_decay=ema_decay,
    )
    train_step = jax.jit(
      train_step,
      donate_argnums=0,
      out_shardings=(shardings, sharding.replicated(mesh)),
    )
    state = _steps(run, state, train_step, batches, mesh)
  return state, log.history


def _steps(run, state, train_step, batches, mesh):
  """All steps that are left."""
  step = int(state.step)
  if step >= run.num_steps:
    logging.info('The run is complete: %d steps.', step)
    return state
  batch, data_state = _draw(batches, mesh)
  train_step = _compile(train_step, state, batch)
  pending = None
  run.log.resume()
  while step < run.num_steps:
    with jax.transfer_guard('disallow'):
      state, metrics = train_step(state, batch)
    jax.tree.map(lambda x: x.copy_to_host_async(), metrics)
    step += 1
    done = data_state
    # While the device computes: the next batch, the metrics of the last step.
    if step < run.num_steps:
      batch, data_state = _draw(batches, mesh)
    if pending is not None:
      run.consume(*pending)
    pending = (step, metrics)
    stop = run.should_stop(step)
    if stop or run.is_due(step):
      run.consume(*pending)
      pending = None
      run.log.pause()
      run.after_step(step, state, done, stop)
      run.log.resume()
    if stop:
      logging.warning(
        'Stopped at step %d of %d; the same command goes on.',
        step,
        run.num_steps,
      )
      break
  return state


class _Run:
  """What happens between steps: metrics, evaluations, checkpoints."""

  def __init__(
    self,
    evals,
    config,
    saver,
    log,
    num_steps,
    checkpoint_every,
    stop_signal,
    stop_after,
  ):
    self.num_steps = num_steps
    self.log = log
    self._evals = evals
    self._config = config
    self._saver = saver
    self._checkpoint_every = checkpoint_every
    self._stop_signal = stop_signal
    self._stop_after = stop_after

  def consume(self, step, metrics):
    """Fetches the metrics of a step, checks them, hands them to the log."""
    metrics = {
      name: (float(total), float(count))
      for name, (total, count) in jax.device_get(metrics).items()
    }
    step_lib.check_finite(step, metrics)
    self.log.step(step, metrics)

  def should_stop(self, step):
    """Whether to save and stop at this step; the same on all processes."""
    asked = self._stop_signal(step)
    return step < self.num_steps and (asked or step == self._stop_after)

  def is_due(self, step):
    """Whether an evaluation or a checkpoint follows this step."""
    return self._save_due(step) or any(
      self._eval_due(every, step) for every, _ in self._evals.values()
    )

  def after_step(self, step, state, data_state, stop):
    """Evaluates and saves, each when due."""
    values = {}
    for name, (every, evaluate) in self._evals.items():
      if self._eval_due(every, step):
        start = time.perf_counter()
        values |= {
          path: float(value) for path, value in evaluate(state, step).items()
        }
        logging.info(
          'Evaluation %s took %.1f s.', name, time.perf_counter() - start
        )
    if values:
      self.log.write(step, values)
    if stop or self._save_due(step):
      self._saver.save(
        step,
        state,
        data_state,
        {
          'config': self._config,
          'versions': log_lib.versions(),
          'log': self.log.window,
        },
        values,
      )

  def _eval_due(self, every, step):
    return step == self.num_steps or bool(every and step % every == 0)

  def _save_due(self, step):
    return self._eval_due(self._checkpoint_every, step)


def _start(
  task,
  tx,
  seed,
  batch,
  mesh,
  ema_decay,
  initial_params,
  saver,
  batches,
  log,
  config,
):
  """The first state, or that of the latest checkpoint; opens the log."""

  def init(batch, params):
    own, extra = task.init(rng.key_for(seed, 'init', 0), batch)
    params = own if params is None else state_lib.merge(own, params)
    return state_lib.create(params, extra, tx, use_ema=bool(ema_decay))

  shapes = jax.eval_shape(init, batch, initial_params)
  log_lib.describe_params(shapes.params)
  shardings = sharding.state_shardings(shapes, mesh)
  if saver.latest_step() is None:
    log.start()
    create = jax.jit(init, out_shardings=shardings)
    return create(batch, initial_params), shardings
  state, metadata = saver.restore(
    sharding.with_shardings(shapes, shardings), batches
  )
  log_lib.describe_config_changes(metadata['config'], config)
  logging.info('Resumed from step %d in %s.', int(state.step), saver.directory)
  log.start(int(state.step), metadata['log'])
  return state, shardings


def _compile(train_step, state, batch):
  start = time.perf_counter()
  compiled = train_step.lower(state, batch).compile()
  logging.info('The step compiled in %.1f s.', time.perf_counter() - start)
  return compiled


def _draw(batches, mesh):
  """The next batch on the devices, and where the iterator then stands."""
  try:
    batch = next(batches)
  except StopIteration:
    raise ValueError(
      'The training data ended; end the pipeline with .repeat().'
    ) from None
  return sharding.place(batch, mesh), batches.get_state()


def _peek(batches, batch_size):
  """The first batch, without moving the iterator."""
  start = batches.get_state()
  batch = next(batches)
  batches.set_state(start)
  rows = {np.shape(x)[0] for x in jax.tree.leaves(batch)}
  if rows != {batch_size // jax.process_count()}:
    raise ValueError(
      f'The data give batches of {sorted(rows)} examples on each of '
      f'{jax.process_count()} processes, but batch_size={batch_size}; set '
      f'it to {max(rows) * jax.process_count()}.'
    )
  return batch


@contextlib.contextmanager
def _stop_signal(saver):
  """Yields step -> whether a SIGTERM asks to stop.

  With several processes, JAX's preemption service takes the signal and finds a
  step that no process has passed; it wants to be asked after every step.
  """
  if jax.process_count() > 1:
    yield saver.reached_preemption
    return
  if threading.current_thread() is not threading.main_thread():
    yield lambda step: False  # Python takes signals in the main thread only.
    return
  asked = threading.Event()
  before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
  try:
    yield lambda step: asked.is_set()
  finally:
    signal.signal(signal.SIGTERM, before)


def _close(batches):
  if hasattr(batches, 'close'):
    batches.close()


def _close_saver(saver, error):
  """Waits for the last save; after an error, without hiding it."""
  try:
    saver.close()
  except checkpoint.CheckpointError:
    if error is None:
      raise
    logging.exception('While closing after another error:')
