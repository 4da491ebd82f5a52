"""Figures of generated weather series."""

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib.axes
import matplotlib.collections
import numpy as np
from matplotlib import ticker

from fusion_jax.evals import plots


def profiles(
  path: str | pathlib.Path,
  images: np.ndarray,
  leads: Sequence[int],
  truth: np.ndarray,
  samples: np.ndarray,
  oracle: np.ndarray | None = None,
  titles: Sequence[str] | None = None,
  unit: str = 'K',
  per: str = 'hours',
) -> None:
  """Draws series of single places beside the image they are generated from.

  Args:
    path: file to write.
    images: [P, Y, X, 3] in [0, 1].
    leads: [T], hours or days from the acquisition.
    truth: [P, T] in `unit`.
    samples: [P, S, T] in `unit`.
    oracle: [P, T] in `unit`, the best possible prediction, or None.
    titles: P strings, such as places and dates.
    unit: unit of the values.
    per: what leads count, 'hours' or 'days'.
  """
  num_places = len(images)
  columns = min(2, num_places)
  rows = -(-num_places // columns)
  with plots.new_figure(path, 5.2 * columns, 1.75 * rows + 0.5) as figure:
    axes = figure.subplots(
      rows, 2 * columns, squeeze=False, width_ratios=(1, 2.3) * columns
    )
    for ax in axes.flat[2 * num_places :]:
      ax.set_axis_off()
    for place in range(num_places):
      picture, ax = axes.flat[2 * place : 2 * place + 2]
      picture.imshow(images[place])
      picture.set_axis_off()
      if titles is not None:
        picture.set_title(titles[place], fontsize=8)
      _profile(
        ax,
        leads,
        truth[place],
        samples[place],
        None if oracle is None else oracle[place],
      )
      ax.set_ylabel(unit)
    for ax in axes[-1, 1::2]:
      ax.set_xlabel(f'{per} from the acquisition')
    figure.legend(
      *axes[0, 1].get_legend_handles_labels(),
      ncols=4,
      loc='outside upper center',
    )


def _profile(
  ax: matplotlib.axes.Axes,
  leads: Sequence[int],
  truth: np.ndarray | None,
  samples: np.ndarray,
  oracle: np.ndarray | None,
) -> None:
  """Draws the series of one place: truth [T], samples [S, T], oracle [T]."""
  tails = np.quantile(samples, [0.05, 0.95], axis=0, method='weibull')
  ax.axvline(0, color='#bbbbbb', linewidth=0.8)
  ax.fill_between(
    leads, *tails, color='#c9e0f2', linewidth=0, label='90 % of samples'
  )
  ax.plot(
    leads,
    samples.mean(0),
    color=plots.COLOURS['model'],
    linewidth=1.6,
    label=plots.LABELS['model'],
  )
  if oracle is not None:
    ax.plot(
      leads,
      oracle,
      color=plots.COLOURS['oracle'],
      linewidth=1.2,
      dashes=(4, 2),
      label=plots.LABELS['oracle'],
    )
  if truth is not None:
    ax.plot(
      leads,
      truth,
      color=plots.COLOURS['truth'],
      linewidth=1.2,
      label=plots.LABELS['truth'],
    )
  ax.set_xlim(leads[0], leads[-1])


def series(
  path: str | pathlib.Path,
  leads: Sequence[int],
  samples: np.ndarray,
  image: np.ndarray | None = None,
  title: str = '',
  unit: str = 'K',
  per: str = 'hours',
) -> None:
  """Draws one generated series: mean and bands of its samples.

  Args:
    path: file to write.
    leads: [T], hours or days from the acquisition.
    samples: [S, T] in `unit`.
    image: [Y, X, 3] in [0, 1], what it is generated from, or None.
    title: title of the figure.
    unit: unit of the values.
    per: what leads count, 'hours' or 'days'.
  """
  with plots.new_figure(path, 7.5 if image is not None else 5.5, 3.0) as figure:
    if image is None:
      ax = figure.subplots()
    else:
      picture, ax = figure.subplots(1, 2, width_ratios=(1, 2))
      picture.imshow(image)
      picture.set_axis_off()
      picture.set_title('input', fontsize=8)
    _profile(ax, leads, None, samples, None)
    half = np.quantile(samples, [0.25, 0.75], axis=0, method='weibull')
    ax.fill_between(
      leads,
      *half,
      color='#8fbfe0',
      linewidth=0,
      label='50 % of samples',
      zorder=1.5,
    )
    ax.set_ylabel(unit)
    ax.set_xlabel(f'{per} from the acquisition')
    ax.set_title(title)
    figure.legend(
      *ax.get_legend_handles_labels(), ncols=3, loc='outside lower right'
    )


def parity(
  path: str | pathlib.Path,
  truth: np.ndarray,
  predictions: Mapping[str, np.ndarray],
  r2: Mapping[str, float],
  unit: str = 'K',
) -> None:
  """Draws predictions against the truth as shaded density.

  Args:
    path: file to write.
    truth: [P] in `unit`, NaN where a value is missing.
    predictions: {name: [P]} in `unit`, a panel for each; at least one.
    r2: {name: R2} for the titles of the panels.
    unit: unit of the values.
  """
  valid = ~np.isnan(truth)
  low, high = np.percentile(truth[valid], [0, 100])
  margin = 0.05 * max(high - low, 1e-6)
  window = (low - margin, high + margin)
  with plots.new_figure(path, 2.9 * len(predictions) + 0.7, 3.4) as figure:
    axes = figure.subplots(
      1, len(predictions), sharex=True, sharey=True, squeeze=False
    )[0]
    dots = [
      _parity_panel(ax, truth[valid], predicted[valid], window)
      for ax, predicted in zip(axes, predictions.values())
    ]
    for ax, name in zip(axes, predictions):
      ax.set(
        title=f'{plots.LABELS.get(name, name)}: R² = {r2[name]:.3f}',
        xlabel=f'truth ({unit})',
      )
    axes[0].set_ylabel(f'prediction ({unit})')
    figure.colorbar(dots[-1], ax=axes, shrink=0.8, label='places near by')


def _parity_panel(
  ax: matplotlib.axes.Axes,
  x: np.ndarray,
  y: np.ndarray,
  window: tuple[float, float],
) -> matplotlib.collections.PathCollection:
  """Draws the predictions y [P] against the truth x [P]."""
  density = _density(x, y, window)
  order = np.argsort(density)
  dots = ax.scatter(
    x[order],
    y[order],
    c=density[order],
    s=9,
    cmap='viridis',
    linewidths=0,
    rasterized=True,
  )
  ax.plot(window, window, color=plots.INK, linewidth=0.8)
  for axis in ax.xaxis, ax.yaxis:
    axis.set_major_locator(ticker.MaxNLocator(4))
  ax.set(xlim=window, ylim=window, aspect='equal')
  return dots


def _density(
  x: np.ndarray, y: np.ndarray, window: tuple[float, float], bins: int = 40
) -> np.ndarray:
  """Places [P] in the neighbourhood of each place: a smoothed histogram."""
  counts, _, _ = np.histogram2d(x, np.clip(y, *window), bins, [window] * 2)
  padded = np.pad(counts, 1)
  near = np.zeros_like(counts)
  for i in range(3):
    for j in range(3):
      near += padded[i : i + bins, j : j + bins]

  def cell(values: np.ndarray) -> np.ndarray:
    share = (values - window[0]) / (window[1] - window[0])
    return np.clip((share * bins).astype(int), 0, bins - 1)

  return near[cell(x), cell(y)]


def error_by_lead(
  path: str | pathlib.Path,
  leads: Sequence[int],
  rmse: Mapping[str, np.ndarray],
  unit: str = 'K',
  per: str = 'hours',
) -> None:
  """Draws the root mean squared error over lead time.

  Args:
    path: file to write.
    leads: [T], hours or days from the acquisition.
    rmse: {name: [T]} in `unit`, a line for each.
    unit: unit of the error.
    per: what leads count, 'hours' or 'days'.
  """
  with plots.new_figure(path, 6.2, 3.4) as figure:
    ax = figure.subplots()
    ax.axvline(0, color='#bbbbbb', linewidth=0.8)
    ax.text(
      0,
      0.99,
      ' acquisition',
      fontsize=7,
      color='#777777',
      va='top',
      transform=ax.get_xaxis_transform(),
    )
    for name, errors in rmse.items():
      ax.plot(
        leads,
        errors,
        color=plots.COLOURS.get(name, plots.INK),
        linestyle=plots.DASHES.get(name, '-'),
        label=plots.LABELS.get(name, name),
        linewidth=2 if name == 'model' else 1.4,
      )
    ax.set(
      xlim=(leads[0], leads[-1]),
      xlabel=f'{per} from the acquisition',
      ylabel=f'root mean squared error ({unit})',
    )
    ax.set_ylim(bottom=0)
    ax.legend(loc='center left', bbox_to_anchor=(1.0, 0.5))
