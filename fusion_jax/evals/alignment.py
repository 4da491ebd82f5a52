"""What the alignment run is judged by while it trains, and its report.

Zero-shot classification of the validation split against prompt vectors decides
which checkpoint is the best. After the last step everything else follows, with
the parameters of that checkpoint, on the split `config.evals.split`: see
`alignment_report`.
"""

import pathlib

import jax
from absl import logging

from fusion_jax.evals import (
  alignment_report,
  alignment_tables,
  place_vectors,
  plots,
  report,
  selection,
  validation,
  zero_shot,
)


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
      task, lambda: task.batches('val'), place=place
    )
    self._classes = {
      label: zero_shot.read_classes(
        task.data_dir / file,
        label,
        task.encoder.output_width,
        task.class_names(label),
      )
      for label, file in config.evals.prompts.items()
    }
    self._embed = place_vectors.Embedder(task, place)
    self._report = alignment_report.AlignmentReport(task, config)

  def hooks(self):
    """{name: (every, run)} for the loop."""
    every = self._config.evals.every
    return {
      'validation': (every, self._validation),
      'zero_shot': (every, self.zero_shot),
    }

  def zero_shot(self, state, step):
    """{path: share} of the validation places that are classified rightly.

    'val/zero_shot/<label>' with 12 months; 'val/zero_shot_quarterly/<label>'
    and 'val/zero_shot_single/<label>' with less. '..._by_class' is the mean
    over the classes that occur; see `zero_shot.metrics` for the others.
    """
    del step
    found = self._embed(state.eval_params, 'val')
    numbers = {}
    for setting, vectors in found.pixels.items():
      for label, classes in self._classes.items():
        score = zero_shot.evaluate(vectors, found.labels[label], classes)
        numbers |= zero_shot.metrics(
          alignment_tables.zero_shot_path('val', setting, label), score
        )
    return numbers

  def write(self, state, history, *, duration_s):
    """Writes report.md, metrics.json and pictures.

    The parameters are those of the best checkpoint by `config.checkpoint.best`,
    or of the last one where that is ''.

    Args:
      state: the final `TrainState`.
      history: records of the loop, [{'step': int, path: number}].
      duration_s: of the whole run.
    """
    numbers = {
      path: value
      for record in history
      for path, value in record.items()
      if path != 'step'
    }
    numbers['train/steps'] = int(state.step)
    params, numbers['train/judged_step'] = selection.judged(
      state, self._config.checkpoint.best, self._workdir
    )
    places = self._embed(params, self._config.evals.split)
    if jax.process_index():
      return
    pictures = self._workdir / 'pictures'
    pictures.mkdir(exist_ok=True)
    scale = params.get('log_scale')
    found, sections = self._report(
      places,
      self._classes,
      pictures,
      learned_scale=None if scale is None else float(jax.numpy.exp(scale)),
    )
    path = report.write(
      self._workdir,
      'Alignment of pixels with photos',
      numbers | found,
      sections=[*sections, ('Learning', [_curve(history, pictures)])],
      duration_s=duration_s,
      simulated=self._config.data.name.startswith('simulated'),
    )
    logging.info('The report is %s.', path)


def _curve(history, folder):
  path = folder / 'learning_curve.png'

  def points(name):
    rows = [(r['step'], r[name]) for r in history if name in r]
    return [step for step, _ in rows], [value for _, value in rows]

  plots.learning_curve(
    path, points('train/loss'), {'validation': points('val/loss/alignment')}
  )
  return path, 'InfoNCE in nats: training (augmented) and validation places'
