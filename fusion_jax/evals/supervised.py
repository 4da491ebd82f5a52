"""Accuracy of a supervised pixel classifier, and its report (Table 2)."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fusion_jax.evals import (
  gather,
  paper_tables,
  run_report,
  selection,
  tables,
  validation,
)
from fusion_jax.ops import intervals
from fusion_jax.tasks import classify_pixels
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib
from fusion_jax.types import Config, Params


class Supervised:
  """Loss and accuracy on the validation split, then on `config.evals.split`.

  The parameters judged in the end are those of the best checkpoint by
  `config.checkpoint.best`, or of the last one where that is ''.
  """

  def __init__(
    self,
    task: classify_pixels.ClassifyPixels,
    config: Config,
    workdir: str | pathlib.Path,
    *,
    oracle: Any = None,
    place: validation.Place,
  ):
    """Takes what it works with; nothing runs yet.

    Args:
      task: task of the run.
      config: configuration of configs/align_pixels.py.
      workdir: folder of the run.
      oracle: not used.
      place: function from this process's share of a batch to global arrays.
    """
    del oracle
    self._task = task
    self._config = config
    self._workdir = pathlib.Path(workdir)
    self._place = place
    self._validation = validation.Validation(
      task, lambda: task.batches('val'), place=place
    )
    self._logits = jax.jit(task.logits)

  def hooks(self) -> dict[str, task_lib.Hook]:
    """Returns {name: (every, evaluation)} for the loop."""
    every = self._config.evals.every
    return {
      'validation': (every, self._validation),
      'accuracy': (every, self.accuracy),
    }

  def accuracy(
    self, state: state_lib.TrainState, step: int
  ) -> dict[str, float]:
    """Scores the validation split.

    Args:
      state: state of the run.
      step: number of steps done; not used.

    Returns:
      {path: share}: 'val/accuracy', its 95 % interval, and
      'val/accuracy_by_class', the mean over the classes that occur.
    """
    del step
    return self._score(state.eval_params, 'val')

  def predict(
    self, params: Params, split: str
  ) -> tuple[np.ndarray, np.ndarray]:
    """Classifies the labelled places of a split.

    Args:
      params: nested dict of the model's arrays.
      split: name of a split other than 'train', whose batches are endless.

    Returns:
      (predicted, true) classes of P places, two int arrays [P].

    Raises:
      ValueError: if no place of the split has a label.
    """
    rows = []
    for batch in self._task.batches(split):
      placed = self._place(batch)
      outputs = gather.fetch(
        {
          'logits': self._logits(params, placed),
          'label': placed['label'],
          'valid': placed['valid'],
        }
      )
      labelled = outputs['valid'] & (outputs['label'] >= 0)
      rows.append(
        (
          outputs['logits'][labelled].argmax(axis=1),
          outputs['label'][labelled],
        )
      )
    predicted, truth = (np.concatenate(part) for part in zip(*rows))
    if not len(truth):
      raise ValueError(
        f'No place of {split!r} has a label {self._config.label}: choose '
        'another label, or prepare the data with a table or map of it.'
      )
    return predicted, truth

  def _score(self, params: Params, split: str) -> dict[str, float]:
    """Returns {path: share}: accuracy, its interval, mean over classes."""
    predicted, truth = self.predict(params, split)
    hits = predicted == truth
    by_class = [hits[truth == value].mean() for value in np.unique(truth)]
    low, high = intervals.of_share(hits)
    return {
      f'{split}/accuracy': float(hits.mean()),
      f'{split}/accuracy_low': low,
      f'{split}/accuracy_high': high,
      f'{split}/accuracy_by_class': float(np.mean(by_class)),
    }

  def write(
    self,
    state: state_lib.TrainState,
    history: Sequence[task_lib.Record],
    *,
    duration_s: float,
  ) -> None:
    """Writes report.md, metrics.json and a picture.

    Args:
      state: state after the last step.
      history: records of metrics.jsonl, [{'step': int, path: number}].
      duration_s: seconds that the run took.
    """
    numbers = run_report.last_numbers(state, history)
    split = self._config.evals.split
    params, numbers['train/judged_step'] = selection.judged(
      state, self._config.checkpoint.best, self._workdir
    )
    numbers |= self._score(params, split)
    if jax.process_index():
      return
    pictures = run_report.make_pictures_folder(self._workdir)
    label = self._config.label
    rows = [
      (
        what,
        *(
          numbers.get(f'{held_out}/{name}', np.nan)
          for held_out in dict.fromkeys(('val', split))
        ),
      )
      for what, name in (
        ('accuracy', 'accuracy'),
        ('mean over classes', 'accuracy_by_class'),
        ('cross-entropy (nats)', f'loss/{label}'),
      )
    ]
    header = ('', *dict.fromkeys(('val', split)))
    learning = run_report.learning_curve(
      history,
      pictures,
      'Cross-entropy in nats: training and validation places',
      validation={'validation': f'val/loss/{label}'},
    )
    run_report.write(
      self._workdir,
      f'Supervised classification: {label}',
      numbers,
      [
        (
          f'Held-out places, {self._config.setting}',
          [tables.markdown(header, rows), self._beside()],
        ),
        ('Learning', [learning]),
      ],
      duration_s=duration_s,
      simulated=self._config.data.name.startswith('simulated'),
    )

  def _beside(self) -> str:
    """The paper's number for this label and setting, as a sentence."""
    label, setting = self._config.label, self._config.setting
    if label not in paper_tables.COLUMNS:
      return 'The paper has no such label.'
    value = paper_tables.zero_shot('supervised', label, 'class', setting)
    return (
      f'The paper, on Sen4Map: {tables.number(value)}; other data, so no '
      'comparison of models.'
    )
