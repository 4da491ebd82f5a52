"""CLIP on pictures of Sentinel-2: the baselines of Tables 2 to 4.

A place is one picture, the annual composite of 64 x 64 pixels in red, green
and blue, and the mean of its ground photos; prompts are the files that
`fusion-jax prepare prompts` wrote beside the data. How reflectance becomes grey
levels is not published: here the percentiles of `data.transforms.pixels`, LOW
black and HIGH white, for they hold for every place. Stretching each picture by
its own extremes, the alternative, makes water as bright as sand.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax import extras, inference
from fusion_jax.data import labels, pipelines
from fusion_jax.data.sources import scenicness as votes_lib
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.evals import (
  alignment_tables,
  paper_tables,
  report,
  retrieval,
  scenicness,
  tables,
  zero_shot,
)
from fusion_jax.types import Example

with extras.needed('pixels', 'Reading acquisitions'):
  from fusion_jax.data.sources import sen4map

_COLOURS = [pixel_transforms.BANDS.index(band) for band in ('B4', 'B3', 'B2')]
_BATCH = 64
_EMPTY = 1e-12  # Least length of the mean of the photos of a place.


def picture(annual: np.ndarray) -> np.ndarray:
  """A picture in red, green and blue, uint8 [k, k, 3], of a composite.

  Args:
    annual: annual composite [10, k, k] of the ten bands, reflectance x 10,000.
  """
  shares = pixel_transforms.scale(np.asarray(annual, np.float32), 'range')[
    _COLOURS
  ]
  return np.round(255 * shares).astype(np.uint8).transpose(1, 2, 0)


def embed_places(
  clip: Any,
  source: str | os.PathLike[str],
  keys: Sequence[str],
  size: int = 64,
) -> np.ndarray:
  """Vectors of the pictures of places, float [P, E] of length 1.

  Args:
    clip: `clip_model.ClipModel`.
    source: HDF5 of acquisitions, see `data.sources.sen4map`.
    keys: P names of places.
    size: pixels per side of a picture.

  Raises:
    ValueError: if a place is missing, or has no acquisitions.
  """
  rows = []
  with sen4map.opened(source) as file:
    for start in range(0, len(keys), _BATCH):
      rows.append(
        clip.embed_images(
          [
            picture(sen4map.read_annual(file, key, size))
            for key in keys[start : start + _BATCH]
          ]
        )
      )
  return np.concatenate(rows)


def mean_views(views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Means of the photos of every place, and which places have a photo.

  Args:
    views: float [P, V, E], vectors of V photos of P places; NaN is no photo.

  Returns:
    Means float [P, E] of length 1, of vectors that are brought to length 1
    first; 0 for a place without photos. And bool [P].
  """
  seen = np.asarray(np.isfinite(views).all(axis=-1, keepdims=True))
  views = np.where(seen, views, 0)
  norms = np.linalg.norm(views, axis=-1, keepdims=True)
  total = (views / np.maximum(norms, _EMPTY)).sum(axis=1)
  norms = np.linalg.norm(total, axis=-1, keepdims=True)
  return total / np.maximum(norms, _EMPTY), np.any(seen[..., 0], axis=1)


def evaluate(
  vectors: np.ndarray,
  photos: np.ndarray,
  seen: np.ndarray,
  truth: Mapping[str, np.ndarray],
  prompts: str | os.PathLike[str],
  split: str = 'test',
) -> dict[str, Any]:
  """Zero-shot accuracy and recall of every task, {path: number}.

  Args:
    vectors: vectors of pictures [P, E], of length 1.
    photos: vectors of photos [P, E], of length 1.
    seen: bool [P], which places have a photo.
    truth: {task: int [P]}, classes of the places, -1 for none.
    prompts: folder of '{task}.{kind}.npz'; files that are missing are left
      out.
    split: name of the split, for the paths of the numbers.
  """
  numbers, folder = {}, pathlib.Path(prompts)
  for task, values in truth.items():
    for kind in zero_shot.KINDS:
      path = folder / f'{task}.{kind}.npz'
      if path.exists():
        numbers |= zero_shot.metrics(
          alignment_tables.zero_shot_path(split, 'single', task, kind),
          zero_shot.evaluate(
            vectors,
            values,
            zero_shot.read_classes(
              path, task, vectors.shape[1], labels.classes(task)
            ),
          ),
        )
    numbers |= retrieval.metrics(
      alignment_tables.recall_path(split, 'single', task),
      retrieval.evaluate(vectors, photos, np.where(seen, values, labels.NONE)),
    )
  return numbers


def table(numbers: Mapping[str, Any], name: str, split: str = 'test') -> str:
  """Tables 2 and 3 as Markdown: one row a task.

  Args:
    numbers: {path: number} of `evaluate`.
    name: name of the model in the paper, whose numbers stand in brackets.
    split: name of the split.
  """
  rows = []
  for task in labels.TASKS:
    cells = [
      alignment_tables.beside(
        numbers.get(
          alignment_tables.zero_shot_path(split, 'single', task, kind)
        ),
        paper_tables.zero_shot(name, task, column, 'single'),
        100,
        1,
      )
      for kind, column in zero_shot.KINDS.items()
    ]
    path = alignment_tables.recall_path(split, 'single', task)
    cells += [
      alignment_tables.beside(
        numbers.get(f'{path}_{direction}@1'),
        paper_tables.recall(name, task, direction, 'single'),
      )
      for direction in retrieval.DIRECTIONS
    ]
    rows.append([alignment_tables.NAMES[task], *cells])
  return tables.markdown(
    (
      'label',
      *(f'{column}, %' for column in zero_shot.KINDS.values()),
      'S2G @1',
      'G2S @1',
    ),
    rows,
  )


def read_rated(
  folder: str | os.PathLike[str], examples: Sequence[Example]
) -> tuple[votes_lib.RatedPrompts, np.ndarray]:
  """Rated prompts, and mean votes of places [P], of a folder of scenicness.

  Args:
    folder: folder with prompts.csv and votes.tsv.
    examples: P examples with 'lat' and 'lon' in degrees.

  Raises:
    FileNotFoundError: if the folder lacks one of the files.
    ValueError: if nobody wrote enough prompts for Table 4, fewer than two
      places have votes, or as the readers of `data.sources.scenicness`.
  """
  folder = pathlib.Path(folder)
  for name in ('prompts.csv', 'votes.tsv'):
    if not (folder / name).exists():
      raise FileNotFoundError(
        f'{folder / name} is missing; `fusion-jax prepare scenicness --out '
        f'{folder}` fetches it.'
      )
  prompts = votes_lib.read_prompts(folder / 'prompts.csv')
  votes = votes_lib.votes_at(
    [x['lat'] for x in examples],
    [x['lon'] for x in examples],
    votes_lib.read_votes(folder / 'votes.tsv'),
  )
  most = np.unique(prompts.raters, return_counts=True)[1].max()
  if most < max(scenicness.MINIMA):
    raise ValueError(
      f'{folder / "prompts.csv"}: no rater has more than {most} prompts; '
      f'Table 4 needs one with {max(scenicness.MINIMA)}.'
    )
  if np.isfinite(votes).sum() < 2:
    raise ValueError(
      f'{folder / "votes.tsv"} has votes for fewer than two of '
      f'{len(votes):,} places; it covers Great Britain. Leave out '
      '--scenicness, or take a split with places there.'
    )
  return prompts, votes


def run(
  clip: str | os.PathLike[str],
  source: str | os.PathLike[str],
  data: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  name: str = 'CLIP',
  split: str = 'test',
  size: int = 64,
  rated: str | os.PathLike[str] = '',
) -> dict[str, Any]:
  """Evaluates a CLIP, and writes report.md and metrics.json.

  Args:
    clip: folder of a converted CLIP, the one that embedded the photos.
    source: HDF5 of the acquisitions of the split.
    data: folder that `prepare sen4map` made of it.
    out: folder to write.
    name: name of the model in the paper's tables.
    split: name of the split.
    size: pixels per side of the pictures.
    rated: folder of scenicness, see `read_rated`; '' leaves it out.

  Returns:
    {path: number}, as in metrics.json.

  Raises:
    ValueError: if the photos' vectors are of another CLIP, or as
      `embed_places` and `read_rated`.
  """
  model = inference.load_as(inference.ClipModel, clip, use='this baseline')
  records = pipelines.open_source(data, split)
  examples = [records[i] for i in range(len(records))]
  if not examples or 'views' not in examples[0]:
    raise ValueError(
      f'The split {split!r} of {data} has no vectors of photos; name a '
      'data set that fusion-jax prepare sen4map made with --photos.'
    )
  # A wrong file is found before the pictures are embedded.
  prompts, votes = read_rated(rated, examples) if rated else (None, None)
  photos, seen = mean_views(np.stack([x['views'] for x in examples]))
  if photos.shape[1] != model.width:
    raise ValueError(
      f'The photos of {data} have vectors of {photos.shape[1]} dimensions, '
      f'{clip} gives {model.width}; prepare them with this CLIP.'
    )
  vectors = embed_places(model, source, [str(x['key']) for x in examples], size)
  folder = pathlib.Path(data) / 'prompts'
  numbers = evaluate(vectors, photos, seen, _truth(examples), folder, split)
  beside = f'In brackets: {name} in the paper.'
  blocks = [beside, table(numbers, name, split)]
  sections = [(f'Tables 2 and 3 ({split}, single)', blocks)]
  if prompts is not None and votes is not None:
    blocks = _scenicness(numbers, model, vectors, prompts, votes, name, split)
    sections.append((f'Table 4, scenicness ({split}, single)', blocks))
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  title = f'{name} on pictures of Sentinel-2'
  report.write(out, title, numbers, sections=sections)
  return numbers


def _truth(examples: Sequence[Example]) -> dict[str, np.ndarray]:
  """Returns {task: int [P]}, the labels of tasks that examples have."""
  return {
    task: np.array([x[field] for x in examples])
    for task, field in labels.FIELDS.items()
    if field in examples[0]
  }


def _scenicness(
  numbers: dict[str, Any],
  model: Any,
  vectors: np.ndarray,
  prompts: votes_lib.RatedPrompts,
  votes: np.ndarray,
  name: str,
  split: str,
) -> list[str]:
  """Adds the numbers of Table 4; returns its section of the report."""
  count = numbers[f'{split}/scenicness_places'] = int(np.isfinite(votes).sum())
  numbers |= scenicness.metrics(
    alignment_tables.scenic_path(split, 'single'),
    scenicness.evaluate(
      vectors,
      votes,
      prompts._replace(
        vectors=model.embed_texts(list(prompts.texts), truncate=True)
      ),
    ),
  )
  return [
    f'{count:,} places with votes; scale {scenicness.SCALE:g}. '
    f'In brackets: {name} in the paper.',
    alignment_tables.scenic(numbers, split, name, ['single']),
  ]
