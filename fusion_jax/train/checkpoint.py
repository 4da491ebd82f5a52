"""Checkpoints: state, data iterator and config, saved while training goes on.

`<workdir>/checkpoints/<step>/` holds `state` (Orbax), `batches` (the position
of the data iterator, a file for each process), `metadata` (JSON: config, best
metric, what the log had gathered) and `checksums.json` (of all these files). A
folder gets its final name only when it is whole.
"""

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from fusion_jax.train import (
  checksums,
  data_position,
  disk,
  recovery,
  retention,
  sharding,
)
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib
from fusion_jax.types import Params

DIRECTORY = 'checkpoints'
Folder = str | os.PathLike[str]
CheckpointError = recovery.CheckpointError


class Checkpoints:
  """The checkpoints of one run: keeps the latest ones and the best ones.

  Attributes:
    directory: absolute path of the folder `<workdir>/checkpoints`.
  """

  directory: str

  def __init__(self, workdir: Folder, keep: retention.Keep | None = None):
    """Opens or creates `<workdir>/checkpoints`.

    Torn folders are removed, and damaged ones are moved to
    `<workdir>/damaged_checkpoints`, with a warning.

    Args:
      workdir: folder of the run.
      keep: which checkpoints are kept; by default the latest one.

    Raises:
      CheckpointError: if all checkpoints are damaged or cannot be read.
    """
    keep = keep or retention.Keep()
    workdir = os.path.abspath(workdir)
    self.directory = os.path.join(workdir, DIRECTORY)
    self._newest = recovery.newest_sound(self.directory, list_steps(workdir))
    self._best = {'metric': keep.best, 'mode': keep.best_mode}
    self._context = _context()
    self._context.async_options.post_finalization_callback = (
      self._write_checksums
    )
    self._checkpointer = ocp.training.Checkpointer(
      self.directory,
      context=self._context,
      preservation_policy=keep.policy(),
      cleanup_tmp_directories=True,
    )
    self._saving: ocp.AsyncResponse[bool] | None = None

  def latest_step(self) -> int | None:
    """Returns the step of the latest whole checkpoint, or None."""
    latest = self._checkpointer.latest
    return None if latest is None else latest.step

  def reached_preemption(self, step: int) -> bool:
    """Tells whether all processes are to stop at a step.

    They are once a SIGTERM has reached one of them.

    Args:
      step: number of steps done.
    """
    return multihost_utils.reached_preemption_sync_point(step)

  def save(
    self,
    step: int,
    state: state_lib.TrainState,
    data_state: Any,
    metadata: Mapping[str, Any],
    metrics: Mapping[str, float] | None = None,
  ) -> None:
    """Starts to save; returns when the state is copied to host memory.

    Args:
      step: number of steps done.
      state: state after this step.
      data_state: `get_state` of the data iterator, taken after the batch of
        this step and before the next.
      metadata: JSON-like dict with 'config'.
      metrics: {path: number} of the evaluations at this step.

    Raises:
      CheckpointError: if this save or an earlier one failed, such as on a full
        disk. The last good checkpoint is still there.
    """
    self.wait()  # Else Orbax 0.12 may lose a save that is still running.
    metrics = metrics or {}
    metadata = dict(metadata) | {'best': self._best, 'metrics': metrics}
    ranked: Any = metrics if self._best['metric'] in metrics else None
    with self._explain_failed_save():
      self._saving = self._checkpointer.save_checkpointables_async(
        step,
        {
          'state': state,
          'batches': data_position.Saved(data_state),
          'metadata': metadata,
        },
        metrics=ranked,
        force=True,
      )

  def wait(self) -> None:
    """Returns when the running save is whole; raises as `save` does."""
    with self._explain_failed_save():
      if self._saving is not None:
        self._saving.result()

  def close(self) -> None:
    """Waits for the running save, then ends Orbax's threads."""
    with self._explain_failed_save():
      self._checkpointer.close()

  def restore(
    self,
    shapes: state_lib.TrainState,
    batches: task_lib.Batches,
    step: int | None = None,
  ) -> tuple[state_lib.TrainState, dict[str, Any]]:
    """Reads one checkpoint onto the mesh of this run.

    Args:
      shapes: `TrainState` of `jax.ShapeDtypeStruct` with shardings.
      batches: data iterator; it goes to the place after the batch of `step`.
      step: step of the checkpoint; by default the latest that was sound when
        this object was made.

    Returns:
      (state, metadata): arrays with the shapes and shardings of `shapes`, and
      the dict that was saved with them.

    Raises:
      CheckpointError: if there is none, if it belongs to another model (lists
        what differs), or if it is damaged.
    """
    step = self._newest if step is None else step
    if step is None:
      raise CheckpointError(f'{self.directory} holds no checkpoint.')
    path = os.path.join(self.directory, str(step))
    with recovery.explain_damage(path):
      with self._context:
        stored = ocp.metadata(path, 'state').metadata
      _check_same_model(path, stored, shapes)
      restored = self._checkpointer.load_checkpointables(
        step, {'state': shapes, 'metadata': None}
      )
      batches.set_state(data_position.read(path))
    return restored['state'], restored['metadata']

  def _write_checksums(self) -> None:
    """Seals the folder of the running save, which has no final name yet."""
    for path in pathlib.Path(self.directory).glob('*.orbax-checkpoint-tmp*'):
      checksums.write(path)

  @contextlib.contextmanager
  def _explain_failed_save(self) -> Iterator[None]:
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
        if disk.is_full(error)
        else ('see the error above')
      )
      raise CheckpointError(
        f'Cannot save a checkpoint in {self.directory}: {reason}, then run '
        f'the same command to resume ({good}).'
      ) from error


def list_steps(workdir: Folder) -> list[int]:
  """Lists the steps of the whole checkpoints of a run, ascending.

  Args:
    workdir: folder of a run.
  """
  directory = os.path.join(workdir, DIRECTORY)
  names = os.listdir(directory) if os.path.isdir(directory) else ()
  return sorted(int(name) for name in names if name.isdigit())


def find_step(workdir: Folder, which: str | int = 'last') -> int:
  """Finds the step of a checkpoint.

  Args:
    workdir: folder of a run.
    which: 'last', 'best' (by the metric that the run was told; the last one if
      it was told none), or a step.

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


def read_metadata(workdir: Folder, step: int) -> dict[str, Any]:
  """Reads what was saved beside the arrays of a checkpoint.

  Args:
    workdir: folder of a run.
    step: step of the checkpoint.

  Returns:
    A dict with 'config', 'best', 'metrics' and 'log'.

  Raises:
    CheckpointError: if it cannot be read.
  """
  path = os.path.join(workdir, DIRECTORY, str(step))
  with recovery.explain_damage(path):
    file = pathlib.Path(path, 'metadata', 'data.json')
    if not file.exists():  # Its name until November 2026.
      file = file.with_name('metadata')
    return json.loads(file.read_text())


def restore_params(
  workdir: Folder,
  which: str | int = 'last',
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[Params, dict[str, Any]]:
  """Reads only the parameters: the running mean where the run kept one.

  Args:
    workdir: folder of a run; the model need not be known.
    which: checkpoint, see `find_step`.
    mesh: mesh to put the parameters on; by default they are NumPy arrays.

  Returns:
    (params, metadata): a nested dict of arrays with the shapes of the model,
    and the dict of `read_metadata`.

  Raises:
    CheckpointError: if there is no such checkpoint, or if it or a file beside
      it is damaged.
  """
  step = find_step(workdir, which)
  recovery.check_beside(workdir)
  path = os.path.join(os.path.abspath(workdir), DIRECTORY, str(step))
  context = _context()
  context.pytree.loading.partial_load = True
  with recovery.explain_damage(path), context:
    checksums.verify(pathlib.Path(path))
    tree: Any = ocp.metadata(path, 'state').metadata
    name = 'ema' if tree['ema'] else 'params'
    shapes = {name: jax.tree.map(_shape, tree[name])}
    if mesh is None:  # Arrays of NumPy are asked for by arrays of NumPy.
      wanted = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shapes)
    else:
      wanted = sharding.with_shardings(
        shapes, sharding.state_shardings(shapes, mesh)
      )
    state: Any = ocp.load(path, wanted, checkpointable_name='state')
  return state[name], read_metadata(workdir, step)


def _check_same_model(
  path: str, stored: Any, shapes: state_lib.TrainState
) -> None:
  """Raises if the saved arrays do not have the names and shapes of a model."""
  different = state_lib.differences(stored, shapes)
  if different:
    first_differences = '\n  '.join(different[:10])
    raise CheckpointError(
      f'The checkpoint {path} is of another model or optimizer. '
      f'{len(different)} arrays differ:\n  {first_differences}\nUse the config '
      'it was trained with, or another --workdir.'
    )


def _score(metadata: Mapping[str, Any]) -> float:
  """Returns how good a checkpoint is; -inf without a finite value."""
  value = metadata['metrics'].get(metadata['best']['metric'], math.nan)
  sign = -1 if metadata['best']['mode'] == 'min' else 1
  return sign * value if math.isfinite(value) else -math.inf


def _shape(stored: Any) -> jax.ShapeDtypeStruct:
  """Returns shape and dtype of what Orbax says of a stored array."""
  return jax.ShapeDtypeStruct(stored.shape, stored.dtype)


def _context() -> ocp.Context:
  """Returns how the parts of a checkpoint are written and read."""
  registry = ocp.handlers.local_registry()
  registry.add(ocp.handlers.JsonHandler, checkpointable_name='metadata')
  context = ocp.Context()
  context.checkpointables.registry = registry
  return context
