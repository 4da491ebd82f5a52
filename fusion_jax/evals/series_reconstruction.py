"""What a series tokenizer is judged by: its codes against plain bins.

Every approach sees the same held-out values: FSQ, 500 bins of equal width over
a fixed range and over that of the training split, and 500 quantiles. Errors
are in physical units, K^2 and K or mm^2 and mm.
"""

import dataclasses
import pathlib
import time

import jax
import numpy as np
from absl import logging

from fusion_jax import modalities
from fusion_jax.data import normalize
from fusion_jax.evals import (
  gather,
  plots,
  report,
  series_plots,
  tables,
  validation,
)
from fusion_jax.ops import fsq as fsq_lib
from fusion_jax.ops import metrics, quantize

NAMES = {
  'uniform_fixed': 'uniform, {low:g} .. {high:g} {unit}',
  'uniform': 'uniform, training range',
  'quantile': 'quantile',
  'fsq': 'FSQ {levels}',
}


@dataclasses.dataclass(frozen=True)
class Scores:
  """How well held-out values come back.

  Attributes:
    mse: mean squared error, squared unit.
    mae: mean absolute error.
    r2: 1 - SSE / SST over all values.
    used: tokens that occur.
    perplexity: exp of the entropy of the tokens.
    clipped: share of the values outside all bins.
  """

  mse: float
  mae: float
  r2: float
  used: int
  perplexity: float
  clipped: float = 0.0

  @classmethod
  def of(cls, truth, found, counts, clipped=0.0):
    """Scores of found against truth, both [P, T], NaN = missing."""
    use = fsq_lib.codebook_use(np.asarray(counts))
    squares = metrics.pooled(metrics.squared_error(found, truth))
    return cls(
      float(metrics.mean(squares)),
      float(metrics.mean(metrics.pooled(metrics.absolute_error(found, truth)))),
      metrics.r2(found, truth),
      int(use['used']),
      float(use['perplexity']),
      float(clipped),
    )


def bins_of(name, statistics, uniform_range):
  """{approach: Quantizer} of one series, fitted on the training split.

  Args:
    name: of the series.
    statistics: of the training split.
    uniform_range: (low, high) K of the fixed bins, for temperatures only.
  """
  modality = modalities.MODALITIES[name]
  found = {
    scheme: normalize.quantizers([modality], statistics, scheme)[name]
    for scheme in ('uniform', 'quantile')
  }
  if normalize.is_precipitation(modality):
    return found
  return {'uniform_fixed': quantize.uniform(*uniform_range)} | found


def score_bins(quantizer, truth):
  """Scores of bins on truth [P, T]; and how often each id occurred."""
  ids = quantizer.encode(truth)
  counts = np.bincount(ids.ravel(), minlength=quantizer.vocab_size)
  counts[modalities.NULL] = 0  # Missing is no value.
  present = np.isfinite(truth)
  return Scores.of(
    truth,
    quantizer.decode(ids),
    counts,
    quantizer.clipped(truth)[present].mean(),
  ), counts


class SeriesReconstruction:
  """Reconstructs a held-out split and compares with plain bins."""

  def __init__(self, task, config, workdir, *, oracle=None, place):
    """Prepares; reads and evaluates nothing yet.

    Args:
      task: `tasks.series_tokenizer.SeriesTokenizer`.
      config: of configs/series_tokenizer.py.
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
    self._apply = jax.jit(self._reconstruct)
    self.scores = None  # {series: {approach: Scores}}, once it has run.
    self.counts = None  # {series: {approach: [ids] counts}}.
    self._shown = None

  def hooks(self):
    """{name: (every, run)} for the loop; the test split only at the end."""
    return {
      'validation': (self._config.evals.every, self._validation),
      'reconstruction': (0, self),
    }

  def __call__(self, state, step):
    """{path: number} of every approach and series on the held-out split."""
    del step
    split = self._config.evals.split
    found = self._rows(state, split)
    self.scores, self.counts, self._shown, numbers = {}, {}, {}, {}
    for number, name in enumerate(self._task.names):
      mine = found['series'] == number
      steps = int(self._task.steps[number])
      self._score(name, {key: x[mine] for key, x in found.items()}, steps)
      for approach, scores in self.scores[name].items():
        numbers |= {
          f'{split}/{name}/{approach}/{key}': value
          for key, value in dataclasses.asdict(scores).items()
        }
    return numbers

  def write(self, state, history, *, duration_s):
    """Writes report.md, metrics.json and pictures.

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
    numbers |= {
      'train/steps': int(state.step),
      'duration_s': duration_s,
      'processor_s': time.process_time(),
    }
    if self.scores is None:  # The run was complete before it started.
      numbers |= self(state, int(state.step))
    if jax.process_index():
      return
    pictures = self._workdir / 'pictures'
    pictures.mkdir(exist_ok=True)
    path = report.write(
      self._workdir,
      'Series tokenizer',
      numbers,
      sections=[
        *(self._section(name, pictures) for name in self._task.names),
        self._learning(history, pictures),
      ],
      duration_s=duration_s,
    )
    logging.info('The report is %s.', path)

  def rows(self, name):
    """[(approach in words, Scores)] of one series."""
    config, unit = self._config, modalities.MODALITIES[name].unit
    low, high = config.evals.uniform_range
    levels = '-'.join(map(str, config.model.levels))
    return [
      (
        NAMES[approach].format(low=low, high=high, unit=unit, levels=levels),
        scores,
      )
      for approach, scores in self.scores[name].items()
    ]

  def _rows(self, state, split):
    """Arrays over the windows of a split, the same on every process."""
    parts = []
    for batch in self._task.batches(split):
      placed = self._place(batch)
      parts.append(gather.fetch(self._apply(state.eval_params, placed)))
    found = {
      key: np.concatenate([part[key] for part in parts]) for key in parts[0]
    }
    return {key: x[found['valid']] for key, x in found.items()}

  def _reconstruct(self, params, batch):
    model = self._task.model
    found = model.apply(
      {'params': params}, batch['values'], batch['present'], batch['inside']
    )
    return {
      name: batch[name] for name in ('raw', 'present', 'series', 'valid')
    } | {
      'values': found['values'],
      'known': found['known'],
      'indices': model.fsq.to_indices(found['codes']),
    }

  def _score(self, name, found, steps):
    """Fills scores, counts and what is shown of one series."""
    mean, std = (x[self._task.names.index(name)] for x in self._task.standards)
    truth = np.where(found['present'], found['raw'], np.nan)[:, :steps]
    restored = found['values'][:, :steps] * std + mean
    counts = np.bincount(
      found['indices'][found['known']], minlength=self._task.model.fsq.num_codes
    )
    scores, all_counts = {}, {}
    for approach, quantizer in bins_of(
      name, self._task.statistics, self._config.evals.uniform_range
    ).items():
      scores[approach], all_counts[approach] = score_bins(quantizer, truth)
    scores['fsq'] = Scores.of(truth, restored, counts)
    self.scores[name] = scores
    self.counts[name] = all_counts | {'fsq': counts}
    shown = np.linspace(
      0, len(truth) - 1, self._config.evals.num_pictures
    ).astype(int)
    self._shown[name] = (
      truth[shown],
      np.where(np.isfinite(truth), restored, np.nan)[shown],
    )  # As `decode` gives it.

  def _section(self, name, pictures):
    """Table and pictures of one series."""
    modality = modalities.MODALITIES[name]
    unit = modality.unit
    lines = [
      (
        label,
        s.used,
        tables.number(s.perplexity, 1),
        tables.number(s.mse, 5),
        tables.number(s.mae, 4),
        tables.number(s.r2, 5),
        f'{s.clipped:.2%}',
      )
      for label, s in self.rows(name)
    ]
    figure, histogram = (
      pictures / f'{what}_{name}.png' for what in ('reconstruction', 'tokens')
    )
    truth, restored = self._shown[name]
    series_plots.reconstructions(figure, modality.leads, truth, restored, unit)
    series_plots.token_histograms(
      histogram,
      {
        label: self.counts[name][approach]
        for approach, (label, _) in zip(self.scores[name], self.rows(name))
      },
    )
    return f'`{name}`, split `{self._config.evals.split}`', [
      tables.markdown(
        (
          'approach',
          'tokens used',
          'perplexity',
          f'MSE ({unit}^2)',
          f'MAE ({unit})',
          'R2',
          'outside the bins',
        ),
        lines,
      ),
      (figure, 'Held-out series and what comes back of their codes'),
      (histogram, 'How often each token is used'),
    ]

  def _learning(self, history, pictures):
    path = pictures / 'learning_curve.png'
    plots.learning_curve(
      path,
      _curve(history, 'train/loss'),
      {name: _curve(history, f'val/loss/{name}') for name in self._task.names},
      ylabel='squared error (K^2 or mm^2)',
      log=True,
    )
    return 'Learning', [
      (
        path,
        'Training loss (with the commitment) and '
        'validation error of every series',
      )
    ]


def _curve(history, path):
  """Steps and values of one metric."""
  rows = [
    (record['step'], record[path]) for record in history if path in record
  ]
  return [step for step, _ in rows], [value for _, value in rows]
