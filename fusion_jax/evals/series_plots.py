"""Figures of series tokenizers, drawn without a screen."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from fusion_jax import modalities
from fusion_jax.evals import plots


def reconstructions(
  path: str | pathlib.Path,
  leads: Sequence[int],
  truth: np.ndarray,
  restored: np.ndarray,
  unit: str,
) -> None:
  """Draws series beside what their codes give back, and the difference.

  Args:
    path: file to write.
    leads: [T], hours or days from the acquisition.
    truth: [P, T] in `unit`, NaN where a value is missing.
    restored: [P, T] in `unit`.
    unit: unit of the values.
  """
  num, columns = len(truth), min(4, len(truth))
  rows = -(-num // columns)
  per = 'days' if tuple(leads) == modalities.DAILY_LEADS else 'hours'
  with plots.new_figure(path, 2.6 * columns, 2.2 * rows + 0.4) as figure:
    axes = figure.subplots(
      2 * rows, columns, squeeze=False, sharex=True, height_ratios=(2, 1) * rows
    )
    for i in range(num):
      row, column = divmod(i, columns)
      above, below = axes[2 * row : 2 * row + 2, column]
      above.plot(
        leads, truth[i], color=plots.INK, linewidth=1.6, label='original'
      )
      above.plot(
        leads,
        restored[i],
        color=plots.COLOURS['model'],
        linewidth=1.2,
        dashes=(3, 1.5),
        label='reconstruction',
      )
      below.axhline(0, color='#bbbbbb', linewidth=0.8)
      below.plot(
        leads,
        restored[i] - truth[i],
        linewidth=0.9,
        color=plots.COLOURS['linear_regression'],
        label='difference',
      )
    for row in range(rows):
      axes[2 * row, 0].set_ylabel(unit)
      axes[2 * row + 1, 0].set_ylabel(f'error ({unit})')
    for ax in axes[-1]:
      ax.set_xlabel(f'{per} from the acquisition')
    for ax in axes.flat[2 * rows * columns - (rows * columns - num) :]:
      ax.set_axis_off()
    above, below = (axes[i, 0].get_legend_handles_labels() for i in (0, 1))
    figure.legend(
      above[0] + below[0],
      above[1] + below[1],
      ncols=3,
      loc='outside upper center',
    )


def token_histograms(
  path: str | pathlib.Path, counts: Mapping[str, np.ndarray]
) -> None:
  """Draws how often each token occurs, as in the paper's Fig. 15.

  Args:
    path: file to write.
    counts: {approach: [ids]}, occurrences of each id; a panel for each
      approach.
  """
  with plots.new_figure(path, 7.5, 1.5 * len(counts) + 0.3) as figure:
    axes = figure.subplots(len(counts), 1, squeeze=False)[:, 0]
    for ax, (name, count) in zip(axes, counts.items()):
      used = np.flatnonzero(count)
      ax.vlines(
        used, 0.5, count[used], color=plots.COLOURS['model'], linewidth=0.8
      )
      ax.set(
        title=f'{name}: {len(used)} of {len(count)} ids',
        yscale='log',
        xlim=(-1, len(count)),
        ylabel='times',
      )
    axes[-1].set_xlabel('token id')
