"""Checkpoints: state, data iterator and config, saved while training goes on.

`<workdir>/checkpoints/<step>/` holds `state` (Orbax), `batches` (the position
of the data iterator, a file for each process) and `metadata` (JSON: config,
best metric, what the log had gathered). A folder gets its final name only
when it is whole.
"""

import contextlib
import errno
import json
import math
import os

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp

from fusion_jax.train import data_position, sharding

DIRECTORY = 'checkpoints'
_policies = ocp.checkpoint_managers


class CheckpointError(ValueError):
  """A checkpoint that cannot be read or written; the message says the fix."""


class Checkpoints:
  """The checkpoints of one run: keeps the last ones and the best ones."""

  def __init__(
    self, workdir, *, keep_last=1, keep_best=1, best='', best_mode='min'
  ):
    """Opens or creates `<workdir>/checkpoints`; removes torn folders.

    Args:
      workdir: of the run.
      keep_last: how many of the latest are kept, at least 1.
      keep_best: how many of the best by `best` are kept besides.
      best: metric path of an evaluation, or '' to keep none for being good.
      best_mode: 'min' or 'max', which values are good.

    Raises:
      ValueError: for a `keep_last` below 1 or an unknown `best_mode`.
    """
    if keep_last < 1 or best_mode not in ('min', 'max'):
      raise ValueError(
        f'keep_last={keep_last}, best_mode={best_mode!r}: keep_last must be '
        "at least 1 and best_mode 'min' or 'max'."
      )
    self.directory = os.path.join(os.path.abspath(workdir), DIRECTORY)
    self._best = {'metric': best, 'mode': best_mode}
    self._manager = ocp.CheckpointManager(
      self.directory,
      options=_options(keep_last, keep_best, best, best_mode),
      item_handlers={
        'state': ocp.StandardCheckpointHandler(),
        'batches': grain.checkpoint.CheckpointHandler(),
        'metadata': ocp.JsonCheckpointHandler(),
      },
    )

  def latest_step(self):
    """The step of the latest whole checkpoint, or None."""
    return self._manager.latest_step()

  def reached_preemption(self, step):
    """Whether all processes, warned by one's SIGTERM, are to stop here."""
    return self._manager.reached_preemption(step)

  def save(self, step, state, data_state, metadata, metrics=None):
    """Starts to save; returns when the state is copied to host memory.

    Args:
      step: int, steps done.
      state: `TrainState`.
      data_state: `get_state` of the data iterator, taken after the batch of
        this step and before the next.
      metadata: JSON-like dict with 'config'.
      metrics: {path: float} of the evaluations at this step.

    Raises:
      CheckpointError: if this save or an earlier one failed, such as on a full
        disk. The last good checkpoint is still there.
    """
    metrics = metrics or {}
    metadata = metadata | {'best': self._best, 'metrics': metrics}
    ranked = metrics if self._best['metric'] in metrics else None
    with self._explain_failed_save():
      self._manager.save(
        step,
        metrics=ranked,
        force=True,
        args=_composite(
          state=ocp.args.StandardSave(state),
          batches=grain.checkpoint.CheckpointSave(
            data_position.Saved(data_state)
          ),
          metadata=ocp.args.JsonSave(metadata),
        ),
      )

  def wait(self):
    """Returns when the running save is whole; raises as `save` does."""
    with self._explain_failed_save():
      self._manager.wait_until_finished()

  def close(self):
    """Waits, then ends Orbax's threads."""
    with self._explain_failed_save():
      self._manager.close()

  def restore(self, shapes, batches, step=None):
    """Reads one checkpoint onto the mesh of today.

    Args:
      shapes: `TrainState` of `jax.ShapeDtypeStruct` with shardings.
      batches: data iterator; it continues behind the batch of `step`.
      step: by default the latest.

    Returns:
      (state, metadata).

    Raises:
      CheckpointError: if it belongs to another model (lists what differs) or
        is damaged.
    """
    step = self.latest_step() if step is None else step
    path = os.path.join(self.directory, str(step))
    with explain_damage(path):
      saved = self._manager.item_metadata(step).state
      _check_same_model(path, saved, shapes)
      restored = self._manager.restore(
        step,
        args=_composite(
          state=ocp.args.StandardRestore(shapes),
          metadata=ocp.args.JsonRestore(),
        ),
      )
      batches.set_state(data_position.read(path))
    return restored.state, restored.metadata

  @contextlib.contextmanager
  def _explain_failed_save(self):
    try:
      yield
    except Exception as error:
      steps = list_steps(os.path.dirname(self.directory))
      good = (
        f'step {steps[-1]} is the last good one'
        if steps
        else ('there is none yet')
      )
      reason = (
        'the disk is full; free some space'
        if _is_full(error)
        else ('see the error above')
      )
      raise CheckpointError(
        f'Cannot save a checkpoint in {self.directory}: {reason}, then run '
        f'the same command to resume ({good}).'
      ) from error


def list_steps(workdir):
  """The steps of the whole checkpoints in a work directory, ascending."""
  directory = os.path.join(workdir, DIRECTORY)
  names = os.listdir(directory) if os.path.isdir(directory) else ()
  return sorted(int(name) for name in names if name.isdigit())


def find_step(workdir, which='last'):
  """The step of a checkpoint.

  Args:
    workdir: of a run.
    which: 'last', 'best' (by the metric the run was told; the last if there
      was none), or a step.

  Raises:
    CheckpointError: if there is no such checkpoint.
  """
  steps = list_steps(workdir)
  if not steps or which not in ('last', 'best', *steps):
    raise CheckpointError(
      f'{workdir} holds no checkpoint {which!r}; its steps are {steps}. '
      "Name the work directory of a run that has saved, and 'last', 'best' "
      'or one of the steps.'
    )
  if isinstance(which, int):
    return which
  if which == 'best':
    scores = [(_score(read_metadata(workdir, step)), step) for step in steps]
    return max(scores)[1]
  return steps[-1]


def read_metadata(workdir, step):
  """The JSON saved with a checkpoint: 'config', 'best', 'metrics', 'log'."""
  path = os.path.join(workdir, DIRECTORY, str(step))
  with explain_damage(path):
    with open(os.path.join(path, 'metadata', 'metadata')) as file:
      return json.load(file)


def restore_params(workdir, which='last', mesh=None):
  """Reads only the parameters: the running mean where the run kept one.

  Args:
    workdir: of a run; the model need not be known.
    which: see `find_step`.
    mesh: where to put them; by default they are NumPy arrays.

  Returns:
    (params, metadata): a nested dict, and what `read_metadata` gives.
  """
  step = find_step(workdir, which)
  path = os.path.join(os.path.abspath(workdir), DIRECTORY, str(step))
  with (
    explain_damage(path),
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader,
  ):
    folder = os.path.join(path, 'state')
    tree = reader.metadata(folder).item_metadata.tree
    name = 'ema' if tree['ema'] else 'params'
    shapes = {
      name: jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree[name]
      )
    }
    state = reader.restore(
      folder,
      args=ocp.args.PyTreeRestore(
        shapes, restore_args=_restore_args(shapes, mesh), partial_restore=True
      ),
    )
  return state[name], read_metadata(workdir, step)


@contextlib.contextmanager
def explain_damage(path):
  """Turns what Orbax raises for an unreadable folder into the way out."""
  try:
    yield
  except (CheckpointError, data_position.ProcessCountError):
    raise
  except Exception as error:
    raise CheckpointError(
      f'The checkpoint {path} is damaged or half-written: {error!r}. Delete '
      'this folder; the run then resumes from the checkpoint before it, or '
      'from the start.'
    ) from error


def _check_same_model(path, saved, shapes):
  """Raises if the saved arrays are not those of `shapes`."""
  saved, wanted = _leaf_shapes(saved.tree), _leaf_shapes(shapes)
  different = [
    f'{name}: saved {saved.get(name, "nothing")}, '
    f'this model {wanted.get(name, "nothing")}'
    for name in sorted(saved.keys() | wanted.keys())
    if saved.get(name) != wanted.get(name)
  ]
  if different:
    shown = '\n  '.join(different[:10])
    raise CheckpointError(
      f'The checkpoint {path} is of another model or optimizer. '
      f'{len(different)} arrays differ:\n  {shown}\nUse the config it was '
      'trained with, or another --workdir.'
    )


def _leaf_shapes(tree):
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
    for path, leaf in leaves
  }


def _options(keep_last, keep_best, best, best_mode):
  policies = [_policies.LatestN(keep_last)]
  ranking = {}
  if best and keep_best:
    worst = math.inf if best_mode == 'min' else -math.inf

    def rank(metrics):
      return metrics[best] if math.isfinite(metrics[best]) else worst

    policies.append(
      _policies.BestN(
        get_metric_fn=rank,
        reverse=best_mode == 'min',
        n=keep_best,
        keep_checkpoints_without_metrics=False,
      )
    )
    ranking = {'best_fn': rank, 'best_mode': best_mode}
  return ocp.CheckpointManagerOptions(
    preservation_policy=_policies.AnyPreservationPolicy(policies),
    cleanup_tmp_directories=True,
    **ranking,
  )


def _score(metadata):
  """Higher is better; -inf without a finite value."""
  value = metadata['metrics'].get(metadata['best']['metric'], math.nan)
  sign = -1 if metadata['best']['mode'] == 'min' else 1
  return sign * value if math.isfinite(value) else -math.inf


def _restore_args(shapes, mesh):
  if mesh is None:
    return jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes
    )
  return jax.tree.map(
    lambda s: ocp.ArrayRestoreArgs(sharding=s),
    sharding.state_shardings(shapes, mesh),
  )


def _composite(**items):
  return ocp.args.Composite(**items)


def _is_full(error):
  """Whether a write failed for want of space, wherever it is in the chain."""
  full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
  while error is not None:
    text = str(error)
    if getattr(error, 'errno', None) in full or any(
      os.strerror(code) in text for code in full
    ):
      return True
    error = error.__cause__ or error.__context__
  return False
