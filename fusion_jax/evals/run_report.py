"""What the reports of all tasks share: figures, pictures, the learning curve.

The evaluations of a task (`train.task.Evals`) end a run with report.md,
metrics.json and a folder of pictures; each adds its own sections to these.
"""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

import fusion_jax
from fusion_jax import checksums
from fusion_jax.evals import plots, report
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib

PICTURES = 'pictures'  # Folder of a run.
TRAINING_LOSS = 'train/loss'
_REPORT, _SEAL = 'report.md', 'report.json'
_METRICS = 'metrics.json'


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


def seal(workdir: pathlib.Path, step: int, config: str) -> None:
  """Notes that the results of a run are whole, with their checksums.

  Args:
    workdir: folder of the run.
    step: number of its steps.
    config: its configuration, as JSON.
  """
  names = [
    _REPORT,
    _METRICS,
    *(f'{PICTURES}/{x.name}' for x in workdir.glob(f'{PICTURES}/*')),
  ]
  content = _identity(step, config) | {
    'files': {x: checksums.digest(workdir / x) for x in sorted(names)}
  }
  aside = workdir / f'{_SEAL}.tmp'
  aside.write_text(checksums.dumps(content))
  aside.replace(workdir / _SEAL)


def read_metrics(workdir: pathlib.Path) -> dict[str, float]:
  """Reads the numbers of `metrics.json`, checked where the run sealed them.

  Args:
    workdir: folder of a run.

  Returns:
    {path: number}; {} if there are none. Numbers that are not known are left
    out.

  Raises:
    ValueError: if the file is not what the run saved, or holds no numbers.
  """
  path = workdir / _METRICS
  if not path.exists():
    return {}
  mend = 'copy it again, or remove it'
  try:
    if (workdir / _SEAL).exists():
      sealed, _ = checksums.loads((workdir / _SEAL).read_bytes(), _SEAL)
      files = sealed.get('files', {})
      if _METRICS in files:
        checksums.compare(workdir, {_METRICS: files[_METRICS]})
    content = json.loads(path.read_text())
  except ValueError as error:  # A ChecksumError is one, too.
    raise ValueError(f'{path} is damaged ({error}); {mend}.') from error
  if not isinstance(content, dict) or not all(
    value is None or isinstance(value, int | float)
    for value in content.values()
  ):
    raise ValueError(f'{path} is no object of numbers by name; {mend}.')
  return {
    name: float(value)
    for name, value in content.items()
    if value is not None and math.isfinite(value)
  }


def find_current(
  workdir: pathlib.Path, step: int, config: str
) -> pathlib.Path | None:
  """Finds the report of a finished run, unless it has to be written.

  Args:
    workdir: folder of the run.
    step: number of its steps.
    config: its configuration, as JSON.

  Returns:
    Path of the report; None if there is none, a part of it is missing or
    damaged, or it is of another step, configuration or version.
  """
  try:
    sealed, _ = checksums.loads((workdir / _SEAL).read_bytes(), _SEAL)
    files = sealed.pop('files', {})
    checksums.compare(workdir, files)
  except (FileNotFoundError, checksums.ChecksumError):
    return None
  is_current = files and sealed == _identity(step, config)
  return workdir / _REPORT if is_current else None


def _identity(step: int, config: str) -> dict[str, Any]:
  return {
    'step': step,
    'config': checksums.digest_bytes(config.encode()),
    'version': fusion_jax.__version__,
  }
