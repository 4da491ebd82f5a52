"""Places found by free text (Fig. 6), as a table and a picture."""

from typing import NamedTuple

import numpy as np

from fusion_jax.data import labels
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.evals import plots

_RED, _GREEN, _BLUE = (
  pixel_transforms.BANDS.index(b) for b in ('B4', 'B3', 'B2')
)
_INFRARED = pixel_transforms.BANDS.index('B8')
_MONTHS = 'JFMAMJJASOND'


class Found(NamedTuple):
  """What one text finds.

  Attributes:
    text: the query.
    wanted: name of the class that it describes; '' for none.
    places: int [k], best first.
    cosines: [k].
    right: share of the places of that class; NaN without one.
  """

  text: str
  wanted: str
  places: np.ndarray
  cosines: np.ndarray
  right: float


def search(vectors, prompts, truth=None, names=(), k=5, per_class=1):
  """The places nearest to texts.

  Args:
    vectors: [P, E] of places, length 1.
    prompts: `data.prompts.Prompts` with vectors; the first `per_class` of
      every class are queries.
    truth: int [P], labels whose names are `names`; None if unknown.
    names: of the classes of `truth`.
    k: places a text.
    per_class: texts of a class.

  Returns:
    List of `Found`, in the order of the prompts.
  """
  order = {labels.pretty(name): i for i, name in enumerate(names)}
  taken, found = {}, []
  for text, of, vector in zip(prompts.texts, prompts.class_of, prompts.vectors):
    taken[of] = taken.get(of, 0) + 1
    if taken[of] > per_class:
      continue
    cosines = vectors @ (vector / np.linalg.norm(vector))
    # A stable sort: of equal places the first comes first.
    places = np.argsort(-cosines, kind='stable')[:k]
    name = prompts.classes[of]
    index = order.get(labels.pretty(name))
    right = (
      np.nan
      if truth is None or index is None
      else float(np.mean(truth[places] == index))
    )
    found.append(Found(text, name, places, cosines[places], right))
  return found


def precision(found):
  """Mean share of the places found that have the class of their text."""
  shares = [one.right for one in found if not np.isnan(one.right)]
  return float(np.mean(shares)) if shares else np.nan


def picture(path, found, examples, names, label):
  """A row a text, a column a place: the year's colours and its greenness.

  Args:
    path: file to write.
    found: list of `Found`.
    examples: {place: example} with `pixels` [12, C, k, k], `lat`, `lon`.
    names: classes of the label.
    label: field of the examples.
  """
  columns = max(len(one.places) for one in found)
  with plots.new_figure(
    path, 1.75 * columns + 0.3, 1.55 * len(found) + 0.3
  ) as figure:
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.975), hspace=0.22)
    axes = figure.subplots(len(found), columns, squeeze=False)
    for row, one in zip(axes, found):
      for ax in row[len(one.places) :]:
        ax.set_axis_off()
      for ax, place, cosine in zip(row, one.places, one.cosines):
        example = examples[int(place)]
        _year(ax, example['pixels'])
        value = int(example[label]) if label in example else -1
        name = labels.pretty(names[value]) if value >= 0 else 'no label'
        right = name == labels.pretty(one.wanted)
        ax.set_title(
          f'{_short(name)}\n{_place(example)}, cos {cosine:.2f}',
          fontsize=6,
          color=plots.INK if right else '#D55E00',
        )
      row[0].set_ylabel('NDVI', fontsize=6)
      row[0].annotate(
        f'“{one.text}”',
        (0, 1.42),
        fontsize=7,
        weight='bold',
        xycoords='axes fraction',
        annotation_clip=False,
      ).set_in_layout(False)


def _short(name, most=24):
  return name if len(name) <= most else f'{name[: most - 1]}…'


def _place(example):
  """'41.06 N 5.44 W'."""
  lat, lon = float(example['lat']), float(example['lon'])
  return f'{abs(lat):.2f} {"NS"[lat < 0]} {abs(lon):.2f} {"EW"[lon < 0]}'


def _year(ax, values):
  """Greenness by month over the colours of the months, as a strip below."""
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
