"""What the alignment run is judged by while it trains, and its report.

Zero-shot classification of the validation split against prompt vectors decides
which checkpoint is the best.
"""

import pathlib
from typing import NamedTuple

import jax
import numpy as np
from absl import logging

from fusion_jax.data import labels, prompt_files
from fusion_jax.evals import place_vectors, plots, report, tables, validation
from fusion_jax.ops import calendar, zero_shot


class Classes(NamedTuple):
  """Classes of a label that have prompts.

  Attributes:
    names: C names.
    values: int [C], their values in the label.
    vectors: [C, E], length 1.
  """
  names: tuple[str, ...]
  values: np.ndarray
  vectors: np.ndarray


class Alignment:
  """Validation loss and zero-shot accuracy of every label with prompts."""

  def __init__(self, task, config, workdir, *, oracle=None, place):
    """Reads the prompts; evaluates nothing yet.

    Args:
      task: `tasks.align_pixels.AlignPixels`.
      config: of configs/align_pixels.py; `evals.prompts` is {label: file},
        relative to the folder of the data.
      workdir: to write to.
      oracle: not used: there is no best prediction of a class by itself.
      place: from this process's share of a batch to global arrays.
    """
    del oracle
    self._task = task
    self._config = config
    self._workdir = pathlib.Path(workdir)
    self._validation = validation.Validation(
        task, lambda: task.batches('val'), place=place)
    self._classes = {
        label: read_classes(task.data_dir / file, label,
                            task.encoder.output_width, task.class_names(label))
        for label, file in config.evals.prompts.items()}
    self._embed = place_vectors.Embedder(task, place)

  def hooks(self):
    """{name: (every, run)} for the loop."""
    every = self._config.evals.every
    return {'validation': (every, self._validation),
            'zero_shot': (every, self.zero_shot)}

  def zero_shot(self, state, step):
    """{path: share} of the validation places that are classified rightly.

    'val/zero_shot/<label>' with 12 months; 'val/zero_shot_quarterly/<label>'
    and 'val/zero_shot_single/<label>' with less. '.../<label>_by_class' is the
    mean over the classes that occur.
    """
    del step
    found = self._embed(state.eval_params, 'val')
    numbers = {}
    for setting, vectors in found.pixels.items():
      suffix = '' if setting == 'monthly' else f'_{setting}'
      for label, classes in self._classes.items():
        path = f'val/zero_shot{suffix}/{label}'
        numbers[path], numbers[f'{path}_by_class'] = accuracies(
            vectors, found.labels[label], classes)
    return numbers

  def write(self, state, history, *, duration_s):
    """Writes report.md and metrics.json.

    Args:
      state: the final `TrainState`.
      history: records of the loop, [{'step': int, path: number}].
      duration_s: of the whole run.
    """
    numbers = {path: value for record in history
               for path, value in record.items() if path != 'step'}
    numbers['train/steps'] = int(state.step)
    if jax.process_index():
      return
    pictures = self._workdir / 'pictures'
    pictures.mkdir(exist_ok=True)
    path = report.write(
        self._workdir, 'Alignment of pixels with photos', numbers,
        sections=[('Zero-shot classification of the validation places',
                   [self._table(numbers)]),
                  ('Learning', [_curve(history, pictures)])],
        duration_s=duration_s,
        simulated=self._config.data.name.startswith('simulated'))
    logging.info('The report is %s.', path)

  def _table(self, numbers):
    rows = []
    for label, classes in self._classes.items():
      cells = [label, len(classes.names)]
      for setting in calendar.SETTINGS:
        suffix = '' if setting == 'monthly' else f'_{setting}'
        path = f'val/zero_shot{suffix}/{label}'
        cells += [numbers[path], numbers[f'{path}_by_class']]
      rows.append(cells)
    header = ['label', 'classes']
    for setting in calendar.SETTINGS:
      header += [f'{setting}: accuracy', 'mean over classes']
    return tables.markdown(header, rows)


def read_classes(path, label, width, names):
  """`Classes` of a file of prompt vectors.

  Args:
    path: of the file, see data/prompt_files.py.
    label: name.
    width: E.
    names: of the label's classes, in the order of its values.

  Raises:
    ValueError: if the file has no vectors, or a class that the label lacks.
  """
  prompts = prompt_files.read(path, width=width).with_vectors(None)
  order = {_key(name): i for i, name in enumerate(names)}
  unknown = [name for name in prompts.classes if _key(name) not in order]
  if unknown:
    raise ValueError(f'{path} has classes that {label} lacks: {unknown}; '
                     f'there are {", ".join(names)}.')
  vectors = zero_shot.class_vectors(
      prompts.vectors, np.array(prompts.class_of), len(prompts.classes))
  values = np.array([order[_key(name)] for name in prompts.classes])
  return Classes(prompts.classes, values, np.asarray(vectors))


def accuracies(vectors, truth, classes):
  """Top-1 accuracy over places, and its mean over the classes that occur.

  Args:
    vectors: [P, E].
    truth: int [P]. Places without a label, or of a class without prompts, do
      not count.
    classes: `Classes`.

  Returns:
    Two floats; NaN if no place counts.
  """
  counted = np.isin(truth, classes.values)
  if not counted.any():
    return np.nan, np.nan
  truth = truth[counted]
  best = np.argmax(vectors[counted] @ classes.vectors.T, axis=1)
  hits = classes.values[best] == truth
  by_class = [hits[truth == value].mean() for value in np.unique(truth)]
  return float(hits.mean()), float(np.mean(by_class))


def _key(name):
  return labels.pretty(name).lower().replace(' ', '')


def _curve(history, folder):
  path = folder / 'learning_curve.png'

  def points(name):
    rows = [(r['step'], r[name]) for r in history if name in r]
    return [step for step, _ in rows], [value for _, value in rows]

  plots.learning_curve(path, points('train/loss'), {
      'validation': points('val/loss/alignment')})
  return path, 'InfoNCE in nats: training (augmented) and validation places'
