"""What a series tokenizer is judged by: its codes against plain bins.

Every approach sees the same held-out values: FSQ, 500 bins of equal width over
a fixed range and over that of the training split, and 500 quantiles. Errors
are in physical units, K^2 and K or mm^2 and mm.
"""

import dataclasses
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from fusion_jax import modalities
from fusion_jax.evals import (
  gather,
  report,
  run_report,
  series_plots,
  series_scores,
  tables,
  validation,
)
from fusion_jax.tasks import series_tokenizer
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib
from fusion_jax.types import Array, Batch, Config, Params


class SeriesReconstruction:
  """Reconstructs a held-out split and compares with plain bins.

  Attributes:
    scores: {series: {approach: scores}} of the last call; {} before it.
    counts: {series: {approach: [ids]}}, how often each id occurred.
  """

  scores: dict[str, dict[str, series_scores.Scores]]
  counts: dict[str, dict[str, np.ndarray]]

  def __init__(
    self,
    task: series_tokenizer.SeriesTokenizer,
    config: Config,
    workdir: str | pathlib.Path,
    *,
    oracle: Any = None,
    place: validation.Place,
  ):
    """Takes what it works with; reads and evaluates nothing yet.

    Args:
      task: task of the run.
      config: configuration of configs/series_tokenizer.py.
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
    self._apply = jax.jit(self._reconstruct)
    self.scores, self.counts = {}, {}
    self._shown: dict[str, tuple[np.ndarray, np.ndarray]] = {}

  def hooks(self) -> dict[str, task_lib.Hook]:
    """Returns {name: (every, evaluation)} for the loop.

    The held-out split is reconstructed only after the last step.
    """
    return {
      'validation': (self._config.evals.every, self._validation),
      'reconstruction': (0, self),
    }

  def __call__(
    self, state: state_lib.TrainState, step: int
  ) -> dict[str, float]:
    """Scores every approach on every series of the held-out split.

    Args:
      state: state of the run.
      step: number of steps done; not used.

    Returns:
      {path: number}.
    """
    del step
    split = self._config.evals.split
    windows = self._windows(state.eval_params, split)
    self.scores, self.counts, self._shown = {}, {}, {}
    numbers: dict[str, float] = {}
    for number, name in enumerate(self._task.names):
      chosen = windows['series'] == number
      steps = int(self._task.steps[number])
      self._score(name, {key: x[chosen] for key, x in windows.items()}, steps)
      for approach, scores in self.scores[name].items():
        numbers |= {
          f'{split}/{name}/{approach}/{key}': value
          for key, value in dataclasses.asdict(scores).items()
        }
    return numbers

  def write(
    self,
    state: state_lib.TrainState,
    history: Sequence[task_lib.Record],
    *,
    duration_s: float,
  ) -> None:
    """Writes report.md, metrics.json and pictures.

    Args:
      state: state after the last step.
      history: records of metrics.jsonl, [{'step': int, path: number}].
      duration_s: seconds that the run took.
    """
    numbers = run_report.last_numbers(state, history) | {
      'duration_s': duration_s,
      'processor_s': time.process_time(),
    }
    if not self.scores:  # The run was complete before it started.
      numbers |= self(state, int(state.step))
    if jax.process_index():
      return
    pictures = run_report.make_pictures_folder(self._workdir)
    learning = run_report.learning_curve(
      history,
      pictures,
      'Training loss (with the commitment) and validation error of every '
      'series',
      validation={name: f'val/loss/{name}' for name in self._task.names},
      ylabel='squared error (K^2 or mm^2)',
      log=True,
    )
    run_report.write(
      self._workdir,
      'Series tokenizer',
      numbers,
      [
        *(self._section(name, pictures) for name in self._task.names),
        ('Learning', [learning]),
      ],
      duration_s=duration_s,
    )

  def rows(self, name: str) -> list[tuple[str, series_scores.Scores]]:
    """Returns [(approach in words, scores)] of one series.

    Args:
      name: name of the series.
    """
    config, unit = self._config, modalities.MODALITIES[name].unit
    low, high = config.evals.uniform_range
    levels = '-'.join(map(str, config.model.levels))
    return [
      (
        series_scores.NAMES[approach].format(
          low=low, high=high, unit=unit, levels=levels
        ),
        scores,
      )
      for approach, scores in self.scores[name].items()
    ]

  def _windows(self, params: Params, split: str) -> dict[str, np.ndarray]:
    """Arrays [P, ...] over the windows of a split, alike on every process."""
    parts = []
    for batch in self._task.batches(split):
      placed = self._place(batch)
      parts.append(gather.fetch(self._apply(params, placed)))
    windows = {
      key: np.concatenate([part[key] for part in parts]) for key in parts[0]
    }
    return {key: x[windows['valid']] for key, x in windows.items()}

  def _reconstruct(self, params: Params, batch: Batch) -> dict[str, Array]:
    """Values [B, T] and codes [B, S] of a batch, beside what it holds."""
    model = self._task.model
    outputs: Any = model.apply(
      {'params': params}, batch['values'], batch['present'], batch['inside']
    )
    return {
      name: batch[name] for name in ('raw', 'present', 'series', 'valid')
    } | {
      'values': outputs['values'],
      'known': outputs['known'],
      'indices': model.fsq.to_indices(outputs['codes']),
    }

  def _score(
    self, name: str, windows: Mapping[str, np.ndarray], steps: int
  ) -> None:
    """Fills in scores, counts and the windows that are drawn of one series."""
    mean, std = (x[self._task.names.index(name)] for x in self._task.standards)
    truth = np.where(windows['present'], windows['raw'], np.nan)[:, :steps]
    restored = windows['values'][:, :steps] * std + mean
    counts = np.bincount(
      windows['indices'][windows['known']],
      minlength=self._task.model.fsq.num_codes,
    )
    scores, all_counts = {}, {}
    for approach, quantizer in series_scores.bins_of(
      name, self._task.statistics, self._config.evals.uniform_range
    ).items():
      scores[approach], all_counts[approach] = series_scores.score_bins(
        quantizer, truth
      )
    scores['fsq'] = series_scores.Scores.from_values(truth, restored, counts)
    self.scores[name] = scores
    self.counts[name] = all_counts | {'fsq': counts}
    shown = np.linspace(
      0, len(truth) - 1, self._config.evals.num_pictures
    ).astype(int)
    self._shown[name] = (
      truth[shown],
      np.where(np.isfinite(truth), restored, np.nan)[shown],
    )  # As `decode` gives it.

  def _section(self, name: str, pictures: pathlib.Path) -> report.Section:
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
