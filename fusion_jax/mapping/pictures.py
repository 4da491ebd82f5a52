"""Draws pictures of maps and of answers to a search."""

import os
import textwrap
from typing import Any

import numpy as np
from matplotlib import figure, patches

from fusion_jax.mapping import cog

_MOST_NAMED = 25  # Largest number of classes in a legend.
_MOST_DOTS = 20_000  # Largest number of places behind the answers.


def draw_map(
  path: str | os.PathLike[str], picture: str | os.PathLike[str]
) -> Any:
  """Writes a picture of a map with its legend.

  Args:
    path: path of a map, see `cog.write`.
    picture: PNG to write.

  Returns:
    The Matplotlib figure.
  """
  classes, colours, names = cog.read_small(path)
  image = np.full((*classes.shape, 3), 255, np.uint8)
  for i in range(len(names)):
    image[classes == i] = colours[i]
  known = classes[classes != cog.NODATA]
  shares = np.bincount(known, minlength=len(names)) / max(known.size, 1)
  canvas = figure.Figure(figsize=(8, 6), layout='constrained')
  axes = canvas.add_subplot()
  axes.imshow(image, interpolation='nearest')
  axes.set_axis_off()
  tags = cog.read_tags(path)
  if 'trained_on' in tags:
    title = f'{os.path.basename(path)}, by a model {tags["trained_on"]}'
    axes.set_title(textwrap.fill(title, 60), fontsize=8)
  largest = [i for i in np.argsort(-shares) if shares[i]][:_MOST_NAMED]
  # 'outside': it takes its room from the map, however long the names are.
  canvas.legend(
    handles=[
      patches.Patch(
        color=_rgb(colours[i]),
        label=f'{_name(names[i])}, {_percent(float(shares[i]))}',
      )
      for i in largest
    ],
    loc='outside right center',
    frameon=False,
  )
  canvas.savefig(picture, dpi=150)
  return canvas


def _rgb(colour: tuple[int, int, int]) -> tuple[float, float, float]:
  """Returns a colour in [0, 255] as one in [0, 1]."""
  red, green, blue = colour
  return red / 255, green / 255, blue / 255


def _name(text: str, width: int = 28) -> str:
  """Returns the name of a class in lines, with spaces between its words."""
  return textwrap.fill(text.replace('_', ' '), width)


def _percent(share: float) -> str:
  return '<1 %' if share < 0.005 else f'{100 * share:.0f} %'


def draw_answers(
  picture: str | os.PathLike[str],
  query: str,
  lon: np.ndarray,
  lat: np.ndarray,
  scores: np.ndarray,
  background: tuple[np.ndarray, np.ndarray],
) -> None:
  """Writes a picture of where the answers lie.

  Args:
    picture: PNG to write.
    query: text above the picture.
    lon: [K] degrees east of the answers, the best first.
    lat: [K] degrees north of the answers.
    scores: [K] cosines.
    background: (lon, lat), degrees of all or some places of the index.
  """
  canvas = figure.Figure(figsize=(8, 6), layout='constrained')
  axes = canvas.add_subplot()
  step = max(1, len(background[0]) // _MOST_DOTS)
  axes.scatter(*(x[::step] for x in background), s=2, color='0.8', linewidths=0)
  dots = axes.scatter(
    lon, lat, c=scores, s=40, cmap='viridis', edgecolors='black', linewidths=0.5
  )
  for rank, (x, y) in enumerate(zip(lon, lat), 1):
    axes.annotate(
      str(rank), (x, y), textcoords='offset points', xytext=(4, 4), fontsize=7
    )
  canvas.colorbar(dots, label='cosine')
  axes.set(title=query, xlabel='longitude (°)', ylabel='latitude (°)')
  axes.set_aspect(1 / max(np.cos(np.radians(np.mean(lat))), 0.01))
  axes.ticklabel_format(useOffset=False)
  canvas.savefig(picture, dpi=150)
