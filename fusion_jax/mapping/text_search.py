"""Finds places by a text, among the embeddings of a map or of a data set."""

import csv
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from fusion_jax import extras, inference
from fusion_jax.data import composites, pipelines, prompt_files
from fusion_jax.inference import pixel_model, trained
from fusion_jax.ops import zero_shot

with extras.needed('search', 'Searching'):
  from fusion_jax.mapping import embeddings, index, pictures

_EMBEDDINGS = ('.zarr', '.parquet')
_BATCH = 1024
_COLUMNS: tuple[str, ...] = ('rank', 'score', 'lon', 'lat', 'key', 'model')
_TRAINED_ON = 'trained_on'  # In the facts of an index.


def build_index(
  source: str | os.PathLike[str],
  folder: str | os.PathLike[str],
  *,
  checkpoint: str | os.PathLike[str] = '',
  which: str | int = 'last',
  split: str = 'test',
) -> index.Index:
  """Writes an index of embeddings; see `index.build`.

  Args:
    source: embeddings of a map (.zarr or .parquet); or the folder of a
      prepared data set, whose pixels are encoded.
    folder: folder of the index; it is made if it does not exist.
    checkpoint: encoder of pixels, for a data set.
    which: 'last', 'best' or a step of the encoder.
    split: split of the data set.

  Raises:
    ValueError: if vectors do not lie in CLIP's space, or a data set is given
      without an encoder whose vectors do.
  """
  source = pathlib.Path(source)
  if source.suffix in _EMBEDDINGS:
    return _index_map(source, folder)
  if not checkpoint:
    raise ValueError(
      f'{source} is neither {" nor ".join(_EMBEDDINGS)}; name the encoder '
      'of a data set with --checkpoint.'
    )
  model = inference.load_as(
    inference.PixelModel, checkpoint, which, use='an index of texts'
  )
  if model.classes:
    raise ValueError(
      f'{checkpoint} holds no encoder of pixels in the space of texts; name '
      'a run of configs/align_pixels.py without supervised=.'
    )
  encoded = list(_encode(source, split, model))
  return index.build(
    folder,
    lambda: iter(encoded),
    sum(len(x[0]) for x in encoded),
    about={
      'source': f'{source} ({split})',
      'checkpoint': str(checkpoint),
      _TRAINED_ON: model.trained_on,
    },
  )


def _index_map(
  source: pathlib.Path, folder: str | os.PathLike[str]
) -> index.Index:
  """Writes an index of the embeddings of a map."""
  comparable = embeddings.read_tag(source, 'comparable_with')
  if comparable == 'each other':
    raise ValueError(
      f'{source} has vectors of a classifier, which do not lie in the '
      'space of texts; map with a run of configs/align_pixels.py without '
      'supervised=.'
    )
  if not comparable:
    logging.warning(
      '%s does not say whether its vectors lie in the space of '
      'texts; map again to be sure.',
      source,
    )

  def parts() -> Iterator[tuple]:
    for lon, lat, vectors in embeddings.read(source):
      yield lon, lat, vectors, None

  count = sum(len(lon) for lon, *_ in parts())
  about = {
    'source': str(source),
    _TRAINED_ON: embeddings.read_tag(source, _TRAINED_ON),
  }
  return index.build(folder, parts, count, about=about)


def find_places(
  text: str,
  folder: str | os.PathLike[str],
  *,
  clip: str | os.PathLike[str] = '',
  prompts: str | os.PathLike[str] = '',
  count: int = 20,
  apart_m: float = 0.0,
  out: str | os.PathLike[str] = '',
) -> index.Answers:
  """Returns the places of an index whose vectors are nearest to a text.

  Args:
    text: description of the places.
    folder: folder of the index, see `build_index`.
    clip: folder of a converted CLIP, see `query_vector`.
    prompts: file of prompt vectors, see `query_vector`.
    count: largest number of answers.
    apart_m: least distance between two answers in metres.
    out: folder for the answers, see `write_answers`; '' to write none.

  Returns:
    Places and their cosines with the text, the best first.

  Raises:
    FileNotFoundError: if there is no index.
    ValueError: if `count` or `apart_m` is out of range; see also
      `query_vector`.
  """
  if count < 1 or apart_m < 0:
    raise ValueError(
      f'--count {count} --apart-m {apart_m:g}: give at least 1 answer and 0 '
      'metres.'
    )
  places = index.Index(folder)
  vector = query_vector(text, clip=clip, prompts=prompts)
  answers = places.search(vector, count, apart_m)
  if str(out):
    write_answers(answers, text, places, out)
  return answers


def query_vector(
  text: str,
  *,
  clip: str | os.PathLike[str] = '',
  prompts: str | os.PathLike[str] = '',
) -> np.ndarray:
  """Returns the vector of a text, float [E].

  Args:
    text: description of the places.
    clip: folder of a converted CLIP, which reads any text.
    prompts: file of prompt vectors; `text` is one of its texts or classes.

  Raises:
    ValueError: if neither is given, the folder holds no CLIP, or the file
      does not know the text.
  """
  if clip:
    model = inference.load_as(inference.ClipModel, clip, use='reading texts')
    return model.embed_texts([text])[0]
  if not prompts:
    raise ValueError(
      'Name a converted CLIP that reads the text (--clip), or a '
      'file of prompt vectors that has it (--prompts).'
    )
  stored_prompts = prompt_files.read(prompts)
  if stored_prompts.vectors is None:
    raise ValueError(
      f'{prompts} has texts only; their vectors are needed, or '
      'a CLIP to make them (--clip).'
    )
  if text in stored_prompts.texts:
    return stored_prompts.vectors[stored_prompts.texts.index(text)]
  if text in stored_prompts.classes:
    return np.asarray(
      zero_shot.class_vectors(
        stored_prompts.vectors,
        np.array(stored_prompts.class_of),
        len(stored_prompts.classes),
      )
    )[stored_prompts.classes.index(text)]
  shown = ', '.join((*stored_prompts.classes, *stored_prompts.texts)[:20])
  raise ValueError(f'{prompts} knows no {text!r}; it has {shown} ...')


def write_answers(
  answers: index.Answers,
  text: str,
  places: index.Index,
  out: str | os.PathLike[str],
) -> None:
  """Writes answers.csv, answers.geojson and answers.png, and logs a table.

  Args:
    answers: places that were found.
    text: query that the places answer.
    places: index that was searched; its places are drawn behind the answers.
    out: folder to write; it is made if it does not exist.
  """
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  trained_on = places.about.get(_TRAINED_ON) or trained.UNKNOWN
  rows = [
    {
      'rank': rank,
      'score': round(float(score), 4),
      'lon': round(float(lon), 6),
      'lat': round(float(lat), 6),
      'key': str(key),
      'model': trained_on,
    }
    for rank, (score, lon, lat, key) in enumerate(
      zip(answers.scores, answers.lon, answers.lat, answers.keys), 1
    )
  ]
  with open(out / 'answers.csv', 'w', newline='', encoding='utf-8') as file:
    writer = csv.DictWriter(file, list(_COLUMNS))
    writer.writeheader()
    writer.writerows(rows)
  content = json.dumps(_geojson(rows, text), ensure_ascii=False)
  (out / 'answers.geojson').write_text(content, 'utf-8')
  pictures.draw_answers(
    out / 'answers.png',
    f'{text}\nby a model {trained_on}',
    answers.lon,
    answers.lat,
    answers.scores,
    (places.lon, places.lat),
  )
  logging.info(
    '%s, by a model %s\n%s',
    text,
    trained_on,
    '\n'.join(
      '  '.join(f'{value:>11}' for value in row)
      for row in (_COLUMNS[:-1], *([*x.values()][:-1] for x in rows))
    ),
  )


def _geojson(rows: list[dict[str, Any]], text: str) -> dict[str, Any]:
  """Returns the answers to a text as points of GeoJSON."""
  return {
    'type': 'FeatureCollection',
    'features': [
      {
        'type': 'Feature',
        'properties': row | {'query': text},
        'geometry': {
          'type': 'Point',
          'coordinates': [row['lon'], row['lat']],
        },
      }
      for row in rows
    ],
  }


def _encode(
  source: pathlib.Path, split: str, model: pixel_model.PixelModel
) -> Iterator[tuple]:
  """Yields lon, lat, vectors and keys of all pixels of a data set with data."""
  examples = pipelines.open_source(source, split)
  for start in range(0, len(examples), _BATCH):
    batch = [
      examples[i] for i in range(start, min(start + _BATCH, len(examples)))
    ]
    pixels, valid = (
      np.stack([x[name] for x in batch]) for name in ('pixels', 'valid')
    )
    vectors = model.encode(
      composites.centre_crop(pixels, model.encoder.side), valid
    )
    finite = np.asarray(np.isfinite(vectors).all(axis=1))
    if not finite.all():
      logging.warning(
        'Left out %d of %d places without data in any month.',
        (~finite).sum(),
        len(finite),
      )
    lon, lat, keys = (
      np.array([x[name] for x in batch])[finite]
      for name in ('lon', 'lat', 'key')
    )
    yield (
      lon.astype(float),
      lat.astype(float),
      vectors[finite],
      keys.astype(str),
    )
