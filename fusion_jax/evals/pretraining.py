"""What the pretraining run is judged by, and the report that it ends with."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from fusion_jax import modalities
from fusion_jax.evals import (
  forecasts,
  generation,
  report,
  run_report,
  tables,
  validation,
)
from fusion_jax.tasks import pretrain
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib
from fusion_jax.types import Config, Example

# Function from an example to {series: its best possible prediction [T]}.
Oracle = Callable[[Example], Mapping[str, np.ndarray]]
_IMAGE, _FIELD = 'untok_sen2l2a@224', 'S2L2A'


class Pretraining:
  """Validation loss of every modality, and weather from an image alone."""

  def __init__(
    self,
    task: pretrain.Pretrain,
    config: Config,
    workdir: str | pathlib.Path,
    *,
    oracle: Oracle | None = None,
    place: validation.Place,
  ):
    """Fits the yardsticks; evaluates nothing yet.

    Args:
      task: task of the run.
      config: configuration of configs/pretrain.py.
      workdir: folder of the run.
      oracle: function from an example to {series: best prediction [T]}; None
        where that is not known.
      place: function from this process's share of a batch to global arrays.

    Raises:
      ValueError: if an evaluation would fail after training.
    """
    self._task = task
    self._config = config
    self._workdir = pathlib.Path(workdir)
    self._simulated = oracle is not None
    _check(task, config.evals)
    self._validation = validation.Validation(
      task, task.validation(), place=place
    )
    self._generations = {
      target: self._generation(target, oracle, place)
      for target in config.evals.generate
    }

  def hooks(self) -> dict[str, task_lib.Hook]:
    """Returns {name: (every, evaluation)} for the loop.

    Series are generated only after the last step.
    """
    hooks: dict[str, task_lib.Hook] = {
      'validation': (self._config.evals.every, self._validation)
    }
    for target, run in self._generations.items():
      hooks[f'generation of {target}'] = (0, run)
    return hooks

  def write(
    self,
    state: state_lib.TrainState,
    history: Sequence[task_lib.Record],
    *,
    duration_s: float,
  ) -> None:
    """Writes report.md, metrics.json, pictures and tables.

    Args:
      state: state after the last step.
      history: records of metrics.jsonl, [{'step': int, path: number}].
      duration_s: seconds that the run took.
    """
    numbers = run_report.last_numbers(state, history)
    for run in self._generations.values():
      if run.forecast is None:  # The run was complete before it started.
        numbers |= run(state, int(state.step))
    if jax.process_index():
      return
    pictures = run_report.make_pictures_folder(self._workdir)
    sections: list[report.Section] = []
    for target, run in self._generations.items():
      if run.forecast is not None:
        blocks = [
          forecasts.table(run.forecast),
          *forecasts.figures(run.forecast, pictures),
        ]
        sections.append((f'`{target}` from one Sentinel-2 image', blocks))
        forecasts.write_by_lead(run.forecast, self._workdir)
    run_report.write(
      self._workdir,
      'Pretraining',
      numbers,
      [*sections, self._learning(history, pictures)],
      duration_s=duration_s,
      simulated=self._simulated,
    )

  def _generation(
    self, target: str, oracle: Oracle | None, place: validation.Place
  ) -> generation.Generation:
    """The evaluation that generates one series from an image."""
    modality, config = modalities.get(target), self._config
    yardsticks = generation.fit_yardsticks(
      self._task.source('train'),
      modality.name,
      _FIELD,
      image_size=config.image_size,
    )
    return generation.Generation(
      self._task.backbone,
      generation.HeldOut(
        self._task.source('val'),
        self._task.showing((_IMAGE,)),
        num_examples=config.evals.num_examples,
        batch_size=config.evals.batch_size,
        seed=config.seed,
      ),
      self._task.quantizers[modality.name],
      target=modality.name,
      field=_FIELD,
      yardsticks=yardsticks,
      oracle=oracle and (lambda example: oracle(example)[modality.name]),
      place=place,
    )

  def _learning(
    self, history: Sequence[task_lib.Record], pictures: pathlib.Path
  ) -> report.Section:
    """The section on the training itself: last losses, learning curve."""
    picture = run_report.learning_curve(
      history,
      pictures,
      'Training loss (mean over modalities, with the ordinal term) '
      'and validation cross-entropy of every modality',
      validation={
        head.name: f'val/loss/{head.name}' for head in self._task.heads
      },
    )
    last = next((x for x in reversed(history) if 'val/loss' in x), {})
    rows = [
      (name.removeprefix('val/loss/'), tables.number(value))
      for name, value in last.items()
      if name.startswith('val/loss/')
    ]
    if rows:
      rows.append(('mean', tables.number(last['val/loss'])))
    rows += [
      (f'mean, of {part}', tables.number(last[f'val/{part}/loss']))
      for part in self._config.data.parts
      if f'val/{part}/loss' in last
    ]
    return 'Learning', [
      tables.markdown(('modality', 'validation loss (nats)'), rows),
      picture,
    ]


def _check(task: pretrain.Pretrain, config: Config) -> None:
  """Raises ValueError for evaluations that would only fail after training."""
  generated = [
    m.name for m in task.modalities if m.kind == 'series' and m.is_target
  ]
  unknown = sorted(
    {modalities.get(name).name for name in config.generate} - set(generated)
  )
  if unknown:
    raise ValueError(
      f'config.evals.generate names {unknown}; the model generates {generated}.'
    )
  size, count = config.batch_size, jax.device_count()
  if config.generate and (size < 1 or size % count):
    raise ValueError(
      f'config.evals.batch_size={size} does not divide over {count} devices; '
      f'try {max(1, size // count) * count}.'
    )
