"""What the reports of all tasks share: figures, pictures, the learning curve.

The evaluations of a task (`train.task.Evals`) end a run with report.md,
metrics.json and a folder of pictures; each adds its own sections to these.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from fusion_jax.evals import plots, report
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib

PICTURES = 'pictures'  # Folder of a run.
TRAINING_LOSS = 'train/loss'


def last_numbers(
  state: state_lib.TrainState, history: Sequence[task_lib.Record]
) -> dict[str, float]:
  """Collects the last value of every metric of a run.

  Args:
    state: state after the last step.
    history: records of metrics.jsonl, [{'step': int, path: number}].

  Returns:
    {path: number}, with the number of steps as 'train/steps'.
  """
  numbers = {
    path: value
    for record in history
    for path, value in record.items()
    if path != 'step'
  }
  numbers['train/steps'] = int(state.step)
  return numbers


def make_pictures_folder(workdir: pathlib.Path) -> pathlib.Path:
  """Makes the folder of a run's pictures, unless it exists.

  Args:
    workdir: folder of the run.
  """
  folder = workdir / PICTURES
  folder.mkdir(exist_ok=True)
  return folder


def curve(
  history: Sequence[task_lib.Record], path: str
) -> tuple[np.ndarray, np.ndarray]:
  """Collects one metric over the steps of a run.

  Args:
    history: records of metrics.jsonl.
    path: path of the metric, such as 'train/loss'.

  Returns:
    (steps, values), both [n] float64, of the n records that have it.
  """
  points = [
    (record['step'], record[path]) for record in history if path in record
  ]
  steps, values = np.array(points, np.float64).reshape(-1, 2).T
  return steps, values


def learning_curve(
  history: Sequence[task_lib.Record],
  folder: pathlib.Path,
  caption: str,
  *,
  validation: Mapping[str, str],
  ylabel: str = 'loss (nats)',
  log: bool = False,
) -> tuple[pathlib.Path, str]:
  """Draws the losses of a run over its steps.

  Args:
    history: records of metrics.jsonl.
    folder: folder of the pictures.
    caption: caption of the picture.
    validation: {label: path of a metric}, drawn beside the training loss.
    ylabel: what the losses are, with their unit.
    log: whether their axis is logarithmic.

  Returns:
    (path, caption), a block for `report.write`.
  """
  path = folder / 'learning_curve.png'
  plots.learning_curve(
    path,
    curve(history, TRAINING_LOSS),
    {label: curve(history, metric) for label, metric in validation.items()},
    ylabel=ylabel,
    log=log,
  )
  return path, caption


def write(
  workdir: pathlib.Path,
  title: str,
  numbers: Mapping[str, float],
  sections: Sequence[report.Section],
  *,
  duration_s: float,
  simulated: bool = False,
) -> None:
  """Writes report.md and metrics.json, and logs where the report is.

  Args:
    workdir: folder of the run.
    title: title of the report.
    numbers: {path: number}.
    sections: (heading, blocks), see `report.write`.
    duration_s: seconds that the run took.
    simulated: whether the figures come from the simulated Earth.
  """
  path = report.write(
    workdir,
    title,
    numbers,
    sections=sections,
    duration_s=duration_s,
    simulated=simulated,
  )
  logging.info('The report is %s.', path)
