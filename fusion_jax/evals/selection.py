"""Which of a run's parameters are judged in the end."""

import jax
from absl import logging

from fusion_jax.train import checkpoint


def judged(state, best, workdir):
  """Parameters of the best checkpoint, and the step that they are of.

  Args:
    state: `TrainState` after the last step; its shardings are kept.
    best: the metric that chooses, `config.checkpoint.best`; '' for the last
      step's parameters, or their running mean.
    workdir: of the run.
  """
  if not best:
    return state.eval_params, int(state.step)
  params, _ = checkpoint.restore_params(workdir, 'best')
  step = checkpoint.find_step(workdir, 'best')
  logging.info('Judged are the parameters of step %d.', step)
  return jax.tree.map(
    lambda new, old: jax.device_put(new, old.sharding),
    params,
    state.eval_params,
  ), step
