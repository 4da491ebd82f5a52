r"""CLIP on pictures of Sentinel-2: the baselines of Tables 2 to 4.

  python -m fusion_jax.clip_baseline --clip weights/clip --name CLIP \
      --source Sen4Map/test.h5 --data data/places --out runs/clip \
      --scenicness data/scenicness
      Other names of the paper: GeoRSCLIP, RemoteCLIP, SkyCLIP.

A place is one picture, the annual composite of 64 x 64 pixels in red, green
and blue, and the mean of its ground photos; prompts are the files that
`prepare prompts` wrote beside the data; `--scenicness` is the folder of rated
prompts and votes that benchmarks/fetch_scenicness.py fetches. How reflectance
becomes grey levels is not published: here the percentiles of `data.pixels`, LOW
black and HIGH white, for they hold for every place. Stretching each picture by
its own extremes, the alternative, makes water as bright as sand.
"""

import argparse
import pathlib

import numpy as np
from absl import flags, logging

from fusion_jax import inference
from fusion_jax.data import labels, pipelines
from fusion_jax.data.sources import scenicness as votes_lib
from fusion_jax.data.sources import sen4map
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

_COLOURS = [pixel_transforms.BANDS.index(band) for band in ('B4', 'B3', 'B2')]
_BATCH = 64
_EMPTY = 1e-12  # The least length of a mean of photos.


def picture(annual):
  """Bytes [k, k, 3] of an annual composite [10, k, k], reflectance x 10,000."""
  shares = pixel_transforms.scale(np.asarray(annual, np.float32), 'range')[
    _COLOURS
  ]
  return np.round(255 * shares).astype(np.uint8).transpose(1, 2, 0)


def embed_places(clip, source, keys, size=64):
  """Vectors [P, E] of length 1 of the pictures of places.

  Args:
    clip: `clip_model.ClipModel`.
    source: HDF5 of acquisitions, see `data.sources.sen4map`.
    keys: P names of places.
    size: pixels a side.

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


def mean_views(views):
  """(vectors [P, E] of length 1, bool [P]) of photos [P, V, E].

  Each view is brought to length 1 first; NaN is no view. A place without any
  is 0 and False.
  """
  there = np.isfinite(views).all(axis=-1, keepdims=True)
  views = np.where(there, views, 0)
  norms = np.linalg.norm(views, axis=-1, keepdims=True)
  total = (views / np.maximum(norms, _EMPTY)).sum(axis=1)
  norms = np.linalg.norm(total, axis=-1, keepdims=True)
  return total / np.maximum(norms, _EMPTY), there.any(axis=(1, 2))


def evaluate(vectors, photos, seen, truth, prompts, split='test'):
  """{path: number}: zero-shot accuracy and recall of every task.

  Args:
    vectors: [P, E] of pictures, length 1.
    photos: [P, E], length 1.
    seen: bool [P], which places have a photo.
    truth: {task: int [P]}, -1 for none.
    prompts: folder of '{task}.{kind}.npz'; what is missing is left out.
    split: name, for the paths.
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


def table(numbers, name, split='test'):
  """Tables 2 and 3: a row a task, the paper's numbers of `name` in brackets."""
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


def read_rated(folder, examples):
  """(`RatedPrompts`, mean votes [P] of places) of a folder of scenicness.

  Raises:
    ValueError: if nobody wrote enough prompts for Table 4, fewer than two
      places have votes, or as the readers of `data.sources.scenicness`.
  """
  folder = pathlib.Path(folder)
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
  clip, source, data, out, *, name='CLIP', split='test', size=64, rated=''
):
  """Evaluates and writes report.md and metrics.json; returns the numbers.

  Args:
    clip: folder of a converted CLIP, the one that embedded the photos.
    source: HDF5 of the split's acquisitions.
    data: folder of the data set that `prepare sen4map` made of it.
    out: folder to write.
    name: of the model in the paper's tables.
    split: name.
    size: pixels a side of the pictures.
    rated: folder with prompts.csv and votes.tsv, see
      `data.sources.scenicness`; '' leaves scenicness out.

  Raises:
    ValueError: if the photos' vectors are of another CLIP, or as
      `embed_places` and `read_rated`.
  """
  model = inference.load(clip)
  found = pipelines.open_source(data, split)
  examples = [found[i] for i in range(len(found))]
  if rated:  # A wrong file is found before the pictures are embedded.
    prompts, votes = read_rated(rated, examples)
  photos, seen = mean_views(np.stack([x['views'] for x in examples]))
  if photos.shape[1] != model.width:
    raise ValueError(
      f'The photos of {data} have vectors of {photos.shape[1]} dimensions, '
      f'{clip} gives {model.width}; prepare them with this CLIP.'
    )
  truth = {
    task: np.array([x[field] for x in examples])
    for task, field in labels.FIELDS.items()
    if field in examples[0]
  }
  vectors = embed_places(model, source, [str(x['key']) for x in examples], size)
  numbers = evaluate(
    vectors, photos, seen, truth, pathlib.Path(data) / 'prompts', split
  )
  beside = f'In brackets: {name} in the paper.'
  sections = [
    (f'Tables 2 and 3 ({split}, single)', [beside, table(numbers, name, split)])
  ]
  if rated:
    count = numbers[f'{split}/scenicness_places'] = int(
      np.isfinite(votes).sum()
    )
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
    sections.append(
      (
        f'Table 4, scenicness ({split}, single)',
        [
          f'{count:,} places with votes; scale {scenicness.SCALE:g}. {beside}',
          alignment_tables.scenic(numbers, split, name, ['single']),
        ],
      )
    )
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  report.write(
    out, f'{name} on pictures of Sentinel-2', numbers, sections=sections
  )
  return numbers


def main(argv=None):
  flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.clip_baseline',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--clip', required=True, metavar='DIR', help='converted CLIP')
  add('--source', required=True, metavar='FILE', help='HDF5 of the split')
  add('--data', required=True, metavar='DIR', help='what prepare made of it')
  add('--out', required=True, metavar='DIR', help='folder to write')
  add('--name', default='CLIP', help='of the model in the paper')
  add(
    '--split',
    default='test',
    metavar='NAME',
    help='of the data set (default: %(default)s)',
  )
  add(
    '--size',
    type=int,
    default=64,
    metavar='N',
    help='pixels a side of a picture (default: %(default)s)',
  )
  add(
    '--scenicness',
    dest='rated',
    default='',
    metavar='DIR',
    help='prompts.csv and votes.tsv of scenicness (default: left out)',
  )
  run(**vars(parser.parse_args(argv)))


if __name__ == '__main__':
  main()
