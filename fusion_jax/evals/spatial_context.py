"""What more pixels around the point add: 1, 5 or 9 per side (Figs. 3 and 4).

From the metrics.json of runs that differ in `config.model.side` only. The
paper gives no table of its values.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from fusion_jax.evals import (
  ablation,
  alignment_tables,
  paper_tables,
  plots,
  tables,
)

SETTINGS = ('single', 'quarterly', 'monthly')
# {pixels per side: [{path: number}]}, one entry for each seed.
Runs = Mapping[int, Sequence[Mapping[str, float]]]


def values(
  runs: Runs, split: str, label: str, measure: str = 'zero_shot'
) -> dict[tuple[int, str], list[float]]:
  """Collects the numbers of one label.

  Args:
    runs: {pixels per side: [{path: number}]}, one entry for each seed.
    split: split of the places.
    label: name of the label.
    measure: 'zero_shot' (Fig. 3), or 's2g' or 'g2s', Recall@1 (Fig. 4).

  Returns:
    {(pixels per side, temporal setting): numbers, one for each seed}.
  """
  numbers_of = {}
  for side, seeds in runs.items():
    for setting in SETTINGS:
      path = alignment_tables.zero_shot_path(split, setting, label)
      if measure != 'zero_shot':
        path = (
          f'{alignment_tables.recall_path(split, setting, label)}_{measure}@1'
        )
      numbers_of[side, setting] = [
        numbers[path] for numbers in seeds if path in numbers
      ]
  return numbers_of


def table(
  runs: Runs, split: str, labels: Sequence[str], measure: str = 'zero_shot'
) -> str:
  """Writes means over seeds as Markdown, a row for each side and setting.

  Args:
    runs: {pixels per side: [{path: number}]}, one entry for each seed.
    split: split of the places.
    labels: names of the labels, the columns.
    measure: 'zero_shot', 's2g' or 'g2s'.
  """
  return tables.markdown(*rows(runs, split, labels, measure))


def rows(
  runs: Runs, split: str, labels: Sequence[str], measure: str = 'zero_shot'
) -> tuple[tuple[str, ...], list[list[str]]]:
  """Makes the rows of means over seeds, one for each side and setting.

  Args:
    runs: {pixels per side: [{path: number}]}, one entry for each seed.
    split: split of the places.
    labels: names of the labels, the columns.
    measure: 'zero_shot', 's2g' or 'g2s'.

  Returns:
    (header, rows) of cells.
  """
  cells = []
  for side in sorted(runs):
    for setting in SETTINGS:
      cells.append(
        [f'{side} x {side}', paper_tables.SETTINGS[setting]]
        + [
          ablation.with_spread(
            values(runs, split, label, measure)[side, setting] or [np.nan]
          )
          for label in labels
        ]
      )
  header = (
    'pixels',
    'temporal',
    *(alignment_tables.NAMES[label] for label in labels),
  )
  return header, cells


def picture(
  path: str | pathlib.Path,
  runs: Runs,
  split: str,
  labels: Sequence[str],
  measure: str = 'zero_shot',
) -> None:
  """Draws a panel for each label, with bars by setting and side.

  Args:
    path: file to write.
    runs: {pixels per side: [{path: number}]}, one entry for each seed.
    split: split of the places.
    labels: names of the labels.
    measure: 'zero_shot', 's2g' or 'g2s'.
  """
  sides = sorted(runs)
  colours = ('#56B4E9', '#0072B2', '#222222')
  with plots.new_figure(path, 2.1 * len(labels) + 0.6, 2.6) as figure:
    axes = figure.subplots(1, len(labels), squeeze=False)[0]
    for ax, label in zip(axes, labels):
      numbers_of = values(runs, split, label, measure)
      for i, side in enumerate(sides):
        seeds = [numbers_of[side, setting] or [np.nan] for setting in SETTINGS]
        centres = np.arange(len(SETTINGS)) + (i - (len(sides) - 1) / 2) * 0.27
        ax.bar(
          centres,
          [np.mean(x) for x in seeds],
          0.25,
          color=colours[i % 3],
          yerr=[np.std(x) for x in seeds],
          label=f'{side} x {side}',
          error_kw={'linewidth': 0.8},
        )
      ax.set(title=alignment_tables.NAMES[label], xticks=range(len(SETTINGS)))
      ax.set_xticklabels(SETTINGS, fontsize=6)
    axes[0].set_ylabel(
      'accuracy' if measure == 'zero_shot' else f'Recall@1 {measure.upper()}'
    )
    figure.legend(
      *axes[0].get_legend_handles_labels(),
      ncols=len(sides),
      loc='outside upper center',
    )
