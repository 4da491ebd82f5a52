"""The style of all figures, and learning curves; drawn without a screen.

The colours are those of Okabe and Ito, safe for colour-blind readers; every
line also has its own dash, so that a figure survives a grey printer.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib import style
from matplotlib.backends import backend_agg

Curve = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]

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
def new_figure(
  path: str | pathlib.Path, width: float, height: float
) -> Iterator[matplotlib.figure.Figure]:
  """Yields a figure and writes it at the end.

  Args:
    path: file to write.
    width: width in inches.
    height: height in inches.
  """
  with style.context(_STYLE):
    figure = matplotlib.figure.Figure(figsize=(width, height))
    backend_agg.FigureCanvasAgg(figure)
    yield figure
    figure.savefig(path)


def stretch(image: np.ndarray) -> np.ndarray:
  """Turns counts of red, green and blue into a picture.

  Each scene is stretched between its own 2 % and 98 %, all bands alike, so
  that hues stay comparable within a scene.

  Args:
    image: [Y, X, 3], counts.

  Returns:
    [Y, X, 3] float32 in [0, 1].
  """
  image = np.asarray(image, np.float32)
  low, high = np.percentile(image, [2, 98])
  return np.clip((image - low) / max(high - low, 1e-6), 0, 1) ** 0.8


def learning_curve(
  path: str | pathlib.Path,
  train: Curve,
  validation: Mapping[str, Curve],
  ylabel: str = 'loss (nats)',
  log: bool = False,
) -> None:
  """Draws losses over training steps.

  Args:
    path: file to write.
    train: (steps [n], losses [n]) of every logged step.
    validation: {name: (steps [m], losses [m])}.
    ylabel: what the losses are, with their unit.
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


def _running_mean(values: np.ndarray, share: float = 0.1) -> np.ndarray:
  """Centred means [n] over a share of the values [n], shorter at the ends."""
  half = int(share * len(values)) // 2
  sums = np.cumsum(np.concatenate([[0.0], values]))
  low = np.maximum(np.arange(len(values)) - half, 0)
  high = np.minimum(np.arange(len(values)) + half + 1, len(values))
  return (sums[high] - sums[low]) / (high - low)
