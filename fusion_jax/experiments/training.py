"""Runs of the loop that an experiment consists of."""

import json
import pathlib
from typing import Any

from fusion_jax import runs
from fusion_jax.types import Config


def finish(config: Config, workdir: pathlib.Path) -> None:
  """Trains a run to its end, or resumes it.

  Args:
    config: configuration of the run.
    workdir: work directory of the run.

  Raises:
    InterruptedError: if the run was told to stop before its end.
    ValueError: as `runs.run`.
  """
  state = runs.run(config, workdir)
  if int(state.step) < config.num_steps:
    raise InterruptedError(
      f'{workdir} stopped at step {int(state.step)} of {config.num_steps}; '
      'run the same command to go on.'
    )


def is_finished(workdir: pathlib.Path) -> bool:
  """Returns whether a run has written its metrics.

  Args:
    workdir: work directory of the run.
  """
  return (workdir / 'metrics.json').exists()


def read_metrics(workdir: pathlib.Path) -> dict[str, Any]:
  """Reads the metrics of a finished run, {name: number}.

  Args:
    workdir: work directory of the run.
  """
  return json.loads((workdir / 'metrics.json').read_text())
