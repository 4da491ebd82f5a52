"""Places found by free text (Fig. 6), as a table and a picture."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.axes
import numpy as np

from fusion_jax.data import labels
from fusion_jax.data import prompts as prompts_lib
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.evals import plots
from fusion_jax.types import Example

_RED, _GREEN, _BLUE = (
  pixel_transforms.BANDS.index(b) for b in ('B4', 'B3', 'B2')
)
_INFRARED = pixel_transforms.BANDS.index('B8')
_MONTHS = 'JFMAMJJASOND'


class Answer(NamedTuple):
  """The places that one text finds.

  Attributes:
    text: the query.
    expected: name of the class that it describes; '' for none.
    places: int [k], numbers of places, best first.
    cosines: [k], cosines of the text and these places.
    right: share of these places that have the class; NaN without a class.
  """

  text: str
  expected: str
  places: np.ndarray
  cosines: np.ndarray
  right: float


def search(
  vectors: np.ndarray,
  prompts: prompts_lib.Prompts,
  truth: np.ndarray | None = None,
  names: Sequence[str] = (),
  k: int = 5,
  per_class: int = 1,
) -> list[Answer]:
  """Finds the places nearest to texts.

  Args:
    vectors: [P, E], vectors of places, of length 1.
    prompts: prompts with vectors; the first `per_class` of every class are
      queries.
    truth: int [P], labels whose names are `names`; None if unknown.
    names: names of the classes of `truth`.
    k: number of places for each text.
    per_class: number of texts for each class.

  Returns:
    One `Answer` for each query, in the order of the prompts.
  """
  assert prompts.vectors is not None
  order = {labels.pretty(name): i for i, name in enumerate(names)}
  taken: dict[int, int] = {}
  answers = []
  for text, class_index, vector in zip(
    prompts.texts, prompts.class_of, prompts.vectors
  ):
    taken[class_index] = taken.get(class_index, 0) + 1
    if taken[class_index] > per_class:
      continue
    cosines = vectors @ (vector / np.linalg.norm(vector))
    # A stable sort: of equal places the first comes first.
    places = np.argsort(-cosines, kind='stable')[:k]
    name = prompts.classes[class_index]
    index = order.get(labels.pretty(name))
    right = (
      np.nan
      if truth is None or index is None
      else float(np.mean(truth[places] == index))
    )
    answers.append(Answer(text, name, places, cosines[places], right))
  return answers


def precision(answers: Sequence[Answer]) -> float:
  """Averages the share of places that have the class of their text.

  Args:
    answers: results of `search`.

  Returns:
    A share, or NaN if no text has a class.
  """
  shares = [answer.right for answer in answers if not np.isnan(answer.right)]
  return float(np.mean(shares)) if shares else np.nan


def picture(
  path: str | pathlib.Path,
  answers: Sequence[Answer],
  examples: Mapping[int, Example],
  names: Sequence[str],
  label: str,
) -> None:
  """Draws a row for each text and a panel for each place that it finds.

  A panel shows the colours of the year and its greenness.

  Args:
    path: file to write.
    answers: results of `search`.
    examples: {place: example} with `pixels` [12, C, k, k], `lat`, `lon`.
    names: classes of the label.
    label: field of the examples.
  """
  columns = max(len(answer.places) for answer in answers)
  with plots.new_figure(
    path, 1.75 * columns + 0.3, 1.55 * len(answers) + 0.3
  ) as figure:
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0, 0, 1, 0.975), hspace=0.22)
    axes = figure.subplots(len(answers), columns, squeeze=False)
    for row, answer in zip(axes, answers):
      for ax in row[len(answer.places) :]:
        ax.set_axis_off()
      for ax, place, cosine in zip(row, answer.places, answer.cosines):
        example = examples[int(place)]
        _year(ax, example['pixels'])
        value = int(example[label]) if label in example else -1
        name = labels.pretty(names[value]) if value >= 0 else 'no label'
        right = name == labels.pretty(answer.expected)
        ax.set_title(
          f'{_short(name)}\n{_place(example)}, cos {cosine:.2f}',
          fontsize=6,
          color=plots.INK if right else '#D55E00',
        )
      row[0].set_ylabel('NDVI', fontsize=6)
      row[0].annotate(
        f'“{answer.text}”',
        (0, 1.42),
        fontsize=7,
        weight='bold',
        xycoords='axes fraction',
        annotation_clip=False,
      ).set_in_layout(False)


def _short(name: str, most: int = 24) -> str:
  return name if len(name) <= most else f'{name[: most - 1]}…'


def _place(example: Example) -> str:
  """Coordinates as text, '41.06 N 5.44 W'."""
  lat, lon = float(example['lat']), float(example['lon'])
  return f'{abs(lat):.2f} {"NS"[lat < 0]} {abs(lon):.2f} {"EW"[lon < 0]}'


def _year(ax: matplotlib.axes.Axes, values: np.ndarray) -> None:
  """Draws greenness by month, above a strip of the months' colours."""
  centre = values.shape[-1] // 2
  year = np.nan_to_num(np.asarray(values[:, :, centre, centre], np.float32))
  red, infrared = year[:, _RED], year[:, _INFRARED]
  ndvi = (infrared - red) / np.maximum(infrared + red, 1)
  seen = year.max(axis=1) > 1  # A month without a clear day is 0 or 1.
  months = np.arange(12)
  colours = np.clip(year[:, (_RED, _GREEN, _BLUE)] / 3_000, 0, 1) ** 0.6
  colours[~seen] = 0.92
  ax.imshow(colours[None], extent=(-0.5, 11.5, -0.35, -0.15), aspect='auto')
  ax.plot(
    months[seen],
    ndvi[seen],
    marker='.',
    markersize=3,
    linewidth=1,
    color='#009E73',
  )
  ax.set(
    xlim=(-0.5, 11.5), ylim=(-0.35, 1.0), yticks=(0, 0.5, 1), xticks=months
  )
  ax.set_xticklabels(_MONTHS, fontsize=5)
  ax.tick_params(axis='y', labelsize=5)
