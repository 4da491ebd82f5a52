"""Accuracy of a supervised pixel classifier, and its report (Table 2)."""

import pathlib

import jax
import numpy as np
from absl import logging

from fusion_jax.evals import (
  gather,
  paper_tables,
  plots,
  report,
  selection,
  tables,
  validation,
)
from fusion_jax.ops import intervals


class Supervised:
  """Loss and accuracy on the validation split, then on `config.evals.split`.

  The parameters judged in the end are those of the best checkpoint by
  `config.checkpoint.best`, or of the last one where that is ''.
  """

  def __init__(self, task, config, workdir, *, oracle=None, place):
    """Prepares; nothing runs yet.

    Args:
      task: `tasks.classify_pixels.ClassifyPixels`.
      config: of configs/align_pixels.py.
      workdir: to write to.
      oracle: not used.
      place: from this process's share of a batch to global arrays.
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

  def hooks(self):
    """{name: (every, run)} for the loop."""
    every = self._config.evals.every
    return {
      'validation': (every, self._validation),
      'accuracy': (every, self.accuracy),
    }

  def accuracy(self, state, step):
    """'val/accuracy', and 'val/accuracy_by_class', the mean over classes."""
    del step
    return self._score(state.eval_params, 'val')

  def predict(self, params, split):
    """Predicted and true classes of the labelled places, two int [P].

    Raises:
      ValueError: if no place of the split has a label.
    """
    rows = []
    for batch in self._task.batches(split):
      placed = self._place(batch)
      found = gather.fetch(
        {
          'logits': self._logits(params, placed),
          'label': placed['label'],
          'valid': placed['valid'],
        }
      )
      known = found['valid'] & (found['label'] >= 0)
      rows.append(
        (found['logits'][known].argmax(axis=1), found['label'][known])
      )
    predicted, truth = (np.concatenate(part) for part in zip(*rows))
    if not len(truth):
      raise ValueError(
        f'No place of {split!r} has a label {self._config.label}: choose '
        'another label, or prepare the data with a table or map of it.'
      )
    return predicted, truth

  def _score(self, params, split):
    """{'<split>/accuracy', its interval, '<split>/accuracy_by_class'}."""
    predicted, truth = self.predict(params, split)
    hits = predicted == truth
    by_class = [hits[truth == value].mean() for value in np.unique(truth)]
    low, high = intervals.of_share(hits)
    return {
      f'{split}/accuracy': hits.mean(),
      f'{split}/accuracy_low': low,
      f'{split}/accuracy_high': high,
      f'{split}/accuracy_by_class': np.mean(by_class),
    }

  def write(self, state, history, *, duration_s):
    """Writes report.md and metrics.json; arguments as of `Alignment.write`."""
    numbers = {
      path: value
      for record in history
      for path, value in record.items()
      if path != 'step'
    }
    numbers['train/steps'] = int(state.step)
    split = self._config.evals.split
    params, numbers['train/judged_step'] = selection.judged(
      state, self._config.checkpoint.best, self._workdir
    )
    numbers |= self._score(params, split)
    if jax.process_index():
      return
    pictures = self._workdir / 'pictures'
    pictures.mkdir(exist_ok=True)
    label = self._config.label
    rows = [
      (
        what,
        *(
          numbers.get(f'{of}/{name}', np.nan)
          for of in dict.fromkeys(('val', split))
        ),
      )
      for what, name in (
        ('accuracy', 'accuracy'),
        ('mean over classes', 'accuracy_by_class'),
        ('cross-entropy (nats)', f'loss/{label}'),
      )
    ]
    header = ('', *dict.fromkeys(('val', split)))
    path = report.write(
      self._workdir,
      f'Supervised classification: {label}',
      numbers,
      sections=[
        (
          f'Held-out places, {self._config.setting}',
          [tables.markdown(header, rows), self._beside()],
        ),
        ('Learning', [_curve(history, pictures, label)]),
      ],
      duration_s=duration_s,
      simulated=self._config.data.name.startswith('simulated'),
    )
    logging.info('The report is %s.', path)

  def _beside(self):
    """The paper's number for this label and setting, as a sentence."""
    label, setting = self._config.label, self._config.setting
    if label not in paper_tables.COLUMNS:
      return 'The paper has no such label.'
    value = paper_tables.zero_shot('supervised', label, 'class', setting)
    return (
      f'The paper, on Sen4Map: {tables.number(value)}; other data, so no '
      'comparison of models.'
    )


def _curve(history, folder, label):
  path = folder / 'learning_curve.png'

  def points(name):
    rows = [(r['step'], r[name]) for r in history if name in r]
    return [step for step, _ in rows], [value for _, value in rows]

  plots.learning_curve(
    path, points('train/loss'), {'validation': points(f'val/loss/{label}')}
  )
  return path, 'Cross-entropy in nats: training and validation places'
