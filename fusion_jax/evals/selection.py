"""Which parameters of a run are judged in the end."""

import pathlib

import jax
from absl import logging

from fusion_jax.train import checkpoint
from fusion_jax.train import state as state_lib
from fusion_jax.types import Params


def judged(
  state: state_lib.TrainState, best: str, workdir: str | pathlib.Path
) -> tuple[Params, int]:
  """Reads the parameters of the best checkpoint.

  Args:
    state: state after the last step; its shardings are kept.
    best: path of the metric that chooses, `config.checkpoint.best`; '' for the
      parameters of the last step, or their running mean.
    workdir: folder of the run.

  Returns:
    (params, step): nested dict of arrays with the shapes of the model, and the
    number of steps that they were trained for.
  """
  if not best:
    return state.eval_params, int(state.step)
  params, _ = checkpoint.restore_params(workdir, 'best')
  step = checkpoint.find_step(workdir, 'best')
  logging.info('The parameters of step %d are evaluated.', step)
  return jax.tree.map(
    lambda new, old: jax.device_put(new, old.sharding),
    params,
    state.eval_params,
  ), step
