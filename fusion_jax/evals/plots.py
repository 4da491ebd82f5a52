"""Figures of generated weather series and of training, drawn without a screen.

Colours: Okabe and Ito's, safe for colour-blind readers; every line also has its
own dash, so that a figure survives a grey printer.
"""

import contextlib

import matplotlib.figure
import numpy as np
from matplotlib import style, ticker
from matplotlib.backends import backend_agg

INK = '#222222'
COLOURS = {
  'model': '#0072B2',
  'truth': INK,
  'oracle': '#009E73',
  'climatology': '#999999',
  'linear_regression': '#D55E00',
  'greedy': '#56B4E9',
  'one_sample': '#CC79A7',
}
DASHES = {
  'oracle': (0, (4, 2)),
  'climatology': (0, (1, 1.5)),
  'linear_regression': (0, (6, 2, 1, 2)),
  'greedy': (0, (2, 1)),
  'one_sample': (0, (3, 1, 1, 1)),
}
LABELS = {
  'model': 'model (mean of samples)',
  'truth': 'truth',
  'oracle': 'oracle',
  'climatology': 'climatology',
  'linear_regression': 'linear regression',
  'greedy': 'greedy decoding',
  'one_sample': 'one sample',
}
_STYLE = {
  'font.size': 9,
  'axes.titlesize': 9,
  'axes.labelsize': 9,
  'legend.fontsize': 8,
  'xtick.labelsize': 8,
  'ytick.labelsize': 8,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.edgecolor': '#666666',
  'axes.linewidth': 0.8,
  'axes.grid': True,
  'grid.color': '#e4e4e4',
  'grid.linewidth': 0.6,
  'axes.axisbelow': True,
  'text.color': INK,
  'axes.labelcolor': INK,
  'legend.frameon': False,
  'figure.constrained_layout.use': True,
  'savefig.dpi': 160,
}


@contextlib.contextmanager
def new_figure(path, width, height):
  """A figure of `width` x `height` inches, written to `path` at the end."""
  with style.context(_STYLE):
    figure = matplotlib.figure.Figure(figsize=(width, height))
    backend_agg.FigureCanvasAgg(figure)
    yield figure
    figure.savefig(path)


def stretch(image):
  """Display image [Y, X, 3] in [0, 1] of red, green and blue counts.

  Each scene is stretched between its own 2 % and 98 %, all bands alike, so
  that hues stay comparable within a scene.
  """
  image = np.asarray(image, np.float32)
  low, high = np.percentile(image, [2, 98])
  return np.clip((image - low) / max(high - low, 1e-6), 0, 1) ** 0.8


def profiles(
  path,
  images,
  leads,
  truth,
  samples,
  oracle=None,
  titles=None,
  unit='K',
  per='hours',
):
  """Series of single places beside the image they were generated from.

  Args:
    path: file to write.
    images: [P, Y, X, 3] in [0, 1].
    leads: [T] hours or days from the acquisition.
    truth: [P, T].
    samples: [P, S, T].
    oracle: [P, T] or None.
    titles: P strings, e.g. places and dates.
    unit: of the values.
    per: what leads count, 'hours' or 'days'.
  """
  num_places = len(images)
  columns = min(2, num_places)
  rows = -(-num_places // columns)
  with new_figure(path, 5.2 * columns, 1.75 * rows + 0.5) as figure:
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


def _profile(ax, leads, truth, samples, oracle):
  tails = np.quantile(samples, [0.05, 0.95], axis=0, method='weibull')
  ax.axvline(0, color='#bbbbbb', linewidth=0.8)
  ax.fill_between(
    leads, *tails, color='#c9e0f2', linewidth=0, label='90 % of samples'
  )
  ax.plot(
    leads,
    samples.mean(0),
    color=COLOURS['model'],
    linewidth=1.6,
    label=LABELS['model'],
  )
  if oracle is not None:
    ax.plot(
      leads,
      oracle,
      color=COLOURS['oracle'],
      linewidth=1.2,
      dashes=(4, 2),
      label=LABELS['oracle'],
    )
  if truth is not None:
    ax.plot(
      leads, truth, color=COLOURS['truth'], linewidth=1.2, label=LABELS['truth']
    )
  ax.set_xlim(leads[0], leads[-1])


def series(path, leads, samples, image=None, title='', unit='K', per='hours'):
  """One generated series, mean and bands of the samples [S, T]."""
  with new_figure(path, 7.5 if image is not None else 5.5, 3.0) as figure:
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


def parity(path, truth, predictions, r2, unit='K'):
  """Prediction against truth as shaded density, one panel a predictor.

  Args:
    path: file to write.
    truth: [P], NaN = missing.
    predictions: {name: [P]}.
    r2: {name: number} for the panels' titles.
    unit: of the values.
  """
  valid = ~np.isnan(truth)
  low, high = np.percentile(truth[valid], [0, 100])
  margin = 0.05 * max(high - low, 1e-6)
  window = (low - margin, high + margin)
  with new_figure(path, 2.9 * len(predictions) + 0.7, 3.4) as figure:
    axes = figure.subplots(
      1, len(predictions), sharex=True, sharey=True, squeeze=False
    )[0]
    for ax, (name, predicted) in zip(axes, predictions.items()):
      x, y = truth[valid], predicted[valid]
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
      ax.plot(window, window, color=INK, linewidth=0.8)
      for axis in ax.xaxis, ax.yaxis:
        axis.set_major_locator(ticker.MaxNLocator(4))
      ax.set(
        xlim=window,
        ylim=window,
        aspect='equal',
        title=f'{LABELS.get(name, name)}: R² = {r2[name]:.3f}',
        xlabel=f'truth ({unit})',
      )
    axes[0].set_ylabel(f'prediction ({unit})')
    figure.colorbar(dots, ax=axes, shrink=0.8, label='places near by')


def _density(x, y, window, bins=40):
  """Places in the neighbourhood of each place (x, y): a smoothed histogram."""
  counts, _, _ = np.histogram2d(x, np.clip(y, *window), bins, [window] * 2)
  padded = np.pad(counts, 1)
  near = sum(
    padded[i : i + bins, j : j + bins] for i in range(3) for j in range(3)
  )

  def cell(values):
    share = (values - window[0]) / (window[1] - window[0])
    return np.clip((share * bins).astype(int), 0, bins - 1)

  return near[cell(x), cell(y)]


def error_by_lead(path, leads, rmse, unit='K', per='hours'):
  """Root mean squared error over lead time, one line a predictor.

  Args:
    path: file to write.
    leads: [T] hours or days from the acquisition.
    rmse: {name: [T]}.
    unit: of the error.
    per: what leads count, 'hours' or 'days'.
  """
  with new_figure(path, 6.2, 3.4) as figure:
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
        color=COLOURS.get(name, INK),
        linestyle=DASHES.get(name, '-'),
        label=LABELS.get(name, name),
        linewidth=2 if name == 'model' else 1.4,
      )
    ax.set(
      xlim=(leads[0], leads[-1]),
      xlabel=f'{per} from the acquisition',
      ylabel=f'root mean squared error ({unit})',
    )
    ax.set_ylim(bottom=0)
    ax.legend(loc='center left', bbox_to_anchor=(1.0, 0.5))


def learning_curve(path, train, validation, ylabel='loss (nats)', log=False):
  """Losses over training steps.

  Args:
    path: file to write.
    train: (steps [n], losses [n]) of every logged step.
    validation: {name: (steps [m], losses [m])}.
    ylabel: of the losses.
    log: whether their axis is logarithmic.
  """
  palette = (
    '#D55E00',
    '#009E73',
    '#CC79A7',
    '#E69F00',
    '#56B4E9',
    '#0072B2',
    INK,
    '#999999',
  )
  with new_figure(path, 6.2, 3.4) as figure:
    ax = figure.subplots()
    steps, losses = np.asarray(train[0]), np.asarray(train[1], float)
    ax.plot(steps, losses, color=COLOURS['model'], alpha=0.3, linewidth=0.8)
    ax.plot(
      steps,
      _running_mean(losses),
      color=COLOURS['model'],
      linewidth=1.8,
      label='training',
    )
    for index, (name, (steps, losses)) in enumerate(validation.items()):
      ax.plot(
        steps,
        losses,
        marker='os^Dvp*X'[index % 8],
        markersize=4,
        linewidth=1.2,
        color=palette[index % len(palette)],
        label=name,
      )
    ax.set(xlabel='step', ylabel=ylabel, yscale='log' if log else 'linear')
    ax.legend(loc='center left', bbox_to_anchor=(1.0, 0.5))


def _running_mean(values, share=0.1):
  """Centred mean over a `share` of the values, shorter at the ends."""
  half = int(share * len(values)) // 2
  sums = np.cumsum(np.concatenate([[0.0], values]))
  low = np.maximum(np.arange(len(values)) - half, 0)
  high = np.minimum(np.arange(len(values)) + half + 1, len(values))
  return (sums[high] - sums[low]) / (high - low)
