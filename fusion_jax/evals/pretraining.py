"""What the pretraining run is judged by, and the report that it ends with."""

import pathlib

import jax
from absl import logging

from fusion_jax import modalities
from fusion_jax.evals import (
  forecasts,
  generation,
  plots,
  report,
  tables,
  validation,
)

_IMAGE, _FIELD = 'untok_sen2l2a@224', 'S2L2A'


class Pretraining:
  """Validation loss of every modality, and weather from an image alone."""

  def __init__(self, task, config, workdir, *, oracle=None, place):
    """Fits the yardsticks; evaluates nothing yet.

    Args:
      task: `tasks.pretrain.Pretrain`.
      config: of configs/pretrain.py.
      workdir: to write to.
      oracle: function from an example to {series: best prediction}; None
        where that is not known.
      place: from this process's share of a batch to global arrays.
    """
    self._task = task
    self._config = config
    self._workdir = pathlib.Path(workdir)
    self._simulated = oracle is not None
    _check(task, config.evals)
    self._validation = validation.Validation(
      task, lambda: task.batches('val'), place=place
    )
    self._generations = {
      target: self._generation(target, oracle, place)
      for target in config.evals.generate
    }

  def hooks(self):
    """{name: (every, run)} for the loop; generation only at the end."""
    every = self._config.evals.every
    return {'validation': (every, self._validation)} | {
      f'generation of {target}': (0, run)
      for target, run in self._generations.items()
    }

  def write(self, state, history, *, duration_s):
    """Writes report.md, metrics.json, pictures and tables.

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
    for run in self._generations.values():
      if run.forecast is None:  # The run was complete before it started.
        numbers |= run(state, int(state.step))
    if jax.process_index():
      return
    pictures = self._workdir / 'pictures'
    pictures.mkdir(exist_ok=True)
    forecast = {
      target: run.forecast
      for target, run in self._generations.items()
      if run.forecast
    }
    sections = [
      (
        f'`{target}` from one Sentinel-2 image',
        [forecasts.table(found), *forecasts.figures(found, pictures)],
      )
      for target, found in forecast.items()
    ]
    for found in forecast.values():
      forecasts.write_by_lead(found, self._workdir)
    path = report.write(
      self._workdir,
      'Pretraining',
      numbers,
      sections=[*sections, self._learning(history, pictures)],
      duration_s=duration_s,
      simulated=self._simulated,
    )
    logging.info('The report is %s.', path)

  def _generation(self, target, oracle, place):
    modality, config = modalities.get(target), self._config
    known = generation.fit_yardsticks(
      self._task.source('train'),
      modality.name,
      _FIELD,
      image_size=config.image_size,
    )
    return generation.Generation(
      self._task.backbone,
      self._task.source('val'),
      self._task.showing((_IMAGE,)),
      self._task.quantizers[modality.name],
      target=modality.name,
      field=_FIELD,
      yardsticks=known,
      oracle=oracle and (lambda example: oracle(example)[modality.name]),
      num_examples=config.evals.num_examples,
      batch_size=config.evals.batch_size,
      seed=config.seed,
      place=place,
    )

  def _learning(self, history, pictures):
    """The section on the training itself: last losses, learning curve."""
    path = pictures / 'learning_curve.png'
    losses = [head.name for head in self._task.heads]
    plots.learning_curve(
      path,
      _curve(history, 'train/loss'),
      {name: _curve(history, f'val/loss/{name}') for name in losses},
    )
    last = next(record for record in reversed(history) if 'val/loss' in record)
    rows = [
      (name.removeprefix('val/loss/'), tables.number(value))
      for name, value in last.items()
      if name.startswith('val/loss/')
    ]
    rows.append(('mean', tables.number(last['val/loss'])))
    return 'Learning', [
      tables.markdown(('modality', 'validation loss (nats)'), rows),
      (
        path,
        'Training loss (mean over modalities, with the ordinal term) '
        'and validation cross-entropy of every modality',
      ),
    ]


def _check(task, config):
  """Raises ValueError for evaluations that would only fail after training."""
  known = [
    m.name for m in task.modalities if m.kind == 'series' and m.is_target
  ]
  unknown = sorted(
    {modalities.get(name).name for name in config.generate} - set(known)
  )
  if unknown:
    raise ValueError(
      f'config.evals.generate names {unknown}; the model generates {known}.'
    )
  size, count = config.batch_size, jax.device_count()
  if config.generate and (size < 1 or size % count):
    raise ValueError(
      f'config.evals.batch_size={size} does not divide over {count} devices; '
      f'try {max(1, size // count) * count}.'
    )


def _curve(history, path):
  """Steps and values of one metric."""
  rows = [
    (record['step'], record[path]) for record in history if path in record
  ]
  return [step for step, _ in rows], [value for _, value in rows]
