r"""Finds places by a text among embeddings of a map or of a data set.

  python -m fusion_jax.search --build map.zarr --index DIR
  python -m fusion_jax.search --build DATA --checkpoint RUN --index DIR
      Embeddings of map_scene, or a prepared data set and its encoder.
  python -m fusion_jax.search "flooded rice field" --index DIR --clip CLIP_DIR
  python -m fusion_jax.search "rice" --index DIR --prompts vectors.npz
      Without a CLIP: a text or a class of a file of prompt vectors.

Answers are logged as a table and written as answers.csv, .geojson and .png.
"""

import argparse
import csv
import json
import pathlib

import numpy as np
from absl import flags, logging

import fusion_jax
from fusion_jax.data import composites, pipelines, prompt_files
from fusion_jax.inference import clip_model, pixel_model
from fusion_jax.ops import zero_shot
from fusion_jax.train import log

_EMBEDDINGS = ('.zarr', '.parquet')
_BATCH = 1024
_COLUMNS = ('rank', 'score', 'lon', 'lat', 'key')


def build(source, folder, *, checkpoint='', which='last', split='test'):
  """Writes an index of embeddings; see `index.build`.

  Args:
    source: embeddings of `map_scene` (.zarr or .parquet); or a folder that
      `prepare` wrote, whose pixels are encoded.
    folder: to write.
    checkpoint: the encoder, for a data set.
    which: 'last', 'best' or a step of it.
    split: of the data set.

  Raises:
    ValueError: if vectors are not of CLIP's space, or a data set comes without
      an encoder of it.
  """
  from fusion_jax.mapping import embeddings, index

  source = pathlib.Path(source)
  if source.suffix in _EMBEDDINGS:
    comparable = embeddings.comparable_with(source)
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

    def parts():
      for lon, lat, vectors in embeddings.read(source):
        yield lon, lat, vectors, None

    count = sum(len(lon) for lon, *_ in parts())
    return index.build(folder, parts, count, about={'source': str(source)})
  if not checkpoint:
    raise ValueError(
      f'{source} is neither {" nor ".join(_EMBEDDINGS)}; name the encoder '
      'of a data set with --checkpoint.'
    )
  model = fusion_jax.load(checkpoint, which)
  if not isinstance(model, pixel_model.PixelModel) or model.classes:
    raise ValueError(
      f'{checkpoint} holds no encoder of pixels in the space of texts; name '
      'a run of configs/align_pixels.py without supervised=.'
    )
  encoded = list(_encode(source, split, model))
  return index.build(
    folder,
    lambda: iter(encoded),
    sum(len(x[0]) for x in encoded),
    about={'source': f'{source} ({split})', 'checkpoint': str(checkpoint)},
  )


def query_vector(text, *, clip='', prompts=''):
  """The vector [E] of a text.

  Args:
    text: to look for.
    clip: folder of a converted CLIP, which reads any text.
    prompts: file of prompt vectors; `text` is one of its texts or classes.

  Raises:
    ValueError: if neither is given, the folder holds no CLIP, or the file
      does not know the text.
  """
  if clip:
    model = fusion_jax.load(clip)
    if not isinstance(model, clip_model.ClipModel):
      raise ValueError(
        f'{clip} holds no CLIP; convert one (python -m '
        'fusion_jax.convert clip).'
      )
    return model.embed_texts([text])[0]
  if not prompts:
    raise ValueError(
      'Name a converted CLIP that reads the text (--clip), or a '
      'file of prompt vectors that has it (--prompts).'
    )
  known = prompt_files.read(prompts)
  if known.vectors is None:
    raise ValueError(
      f'{prompts} has texts only; their vectors are needed, or '
      'a CLIP to make them (--clip).'
    )
  if text in known.texts:
    return known.vectors[known.texts.index(text)]
  if text in known.classes:
    return np.asarray(
      zero_shot.class_vectors(
        known.vectors, np.array(known.class_of), len(known.classes)
      )
    )[known.classes.index(text)]
  shown = ', '.join((*known.classes, *known.texts)[:20])
  raise ValueError(f'{prompts} knows no {text!r}; it has {shown} ...')


def write(answers, text, found, out):
  """Writes answers as table, GeoJSON and picture.

  Args:
    answers: `index.Answers`.
    text: the query.
    found: `index.Index`, for what lies around.
    out: folder.
  """
  from fusion_jax.mapping import pictures

  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  rows = [
    {
      'rank': rank,
      'score': round(float(score), 4),
      'lon': round(float(lon), 6),
      'lat': round(float(lat), 6),
      'key': str(key),
    }
    for rank, (score, lon, lat, key) in enumerate(
      zip(answers.scores, answers.lon, answers.lat, answers.keys), 1
    )
  ]
  with open(out / 'answers.csv', 'w', newline='', encoding='utf-8') as file:
    writer = csv.DictWriter(file, _COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
  (out / 'answers.geojson').write_text(
    json.dumps(
      {
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
      },
      ensure_ascii=False,
    ),
    'utf-8',
  )
  pictures.draw_answers(
    out / 'answers.png',
    text,
    answers.lon,
    answers.lat,
    answers.scores,
    (found.lon, found.lat),
  )
  logging.info(
    '%s\n%s',
    text,
    '\n'.join(
      '  '.join(f'{value:>11}' for value in row)
      for row in (_COLUMNS, *(row.values() for row in rows))
    ),
  )


def _encode(source, split, model):
  """Yields lon, lat, vectors and keys of the pixels of a data set with data."""
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
    seen = np.isfinite(vectors).all(axis=1)
    if not seen.all():
      logging.warning(
        'Left out %d of %d places without data in any month.',
        (~seen).sum(),
        len(seen),
      )
    lon, lat, keys = (
      np.array([x[name] for x in batch])[seen] for name in ('lon', 'lat', 'key')
    )
    yield lon.astype(float), lat.astype(float), vectors[seen], keys.astype(str)


def _parser():
  """The command line."""
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.search',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('text', nargs='?', default='', help='what to look for')
  add('--index', required=True, metavar='DIR', help='folder of the index')
  add(
    '--build',
    default='',
    metavar='PATH',
    help='make the index: of embeddings of map_scene (.zarr, .parquet) or of '
    'a prepared data set',
  )
  add(
    '--checkpoint', default='', metavar='DIR', help='the encoder of a data set'
  )
  add(
    '--which',
    default='last',
    metavar='STEP',
    help="'last', 'best' or a step of it (default: %(default)s)",
  )
  add(
    '--split',
    default='test',
    metavar='NAME',
    help='of the data set (default: %(default)s)',
  )
  add(
    '--clip',
    default='',
    metavar='DIR',
    help='converted CLIP that reads the text',
  )
  add(
    '--prompts',
    default='',
    metavar='FILE',
    help='prompt vectors (.npz, .safetensors) among which the text is',
  )
  add(
    '--count',
    type=int,
    default=20,
    metavar='K',
    help='answers (default: %(default)s)',
  )
  add(
    '--apart_m',
    type=float,
    default=0.0,
    metavar='M',
    help='metres that answers lie apart at least (default: 0)',
  )
  add(
    '--out',
    default='answers',
    metavar='DIR',
    help='folder to write (default: %(default)s)',
  )
  return parser


def main(argv=None):
  flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  log.show_progress()
  parser = _parser()
  args = parser.parse_args(argv)
  if not args.text and not args.build:
    parser.error('give a text to look for, or --build')
  if args.count < 1 or args.apart_m < 0:
    parser.error(
      f'--count {args.count} --apart_m {args.apart_m:g}: wanted are '
      'at least 1 answer and 0 metres'
    )
  try:
    from fusion_jax.mapping import index

    if args.build:
      build(
        args.build,
        args.index,
        checkpoint=args.checkpoint,
        which=args.which,
        split=args.split,
      )
    if args.text:
      found = index.Index(args.index)
      vector = query_vector(args.text, clip=args.clip, prompts=args.prompts)
      write(
        found.search(vector, args.count, args.apart_m),
        args.text,
        found,
        args.out,
      )
  except ImportError as error:
    raise SystemExit(
      f'{error}: searching needs more packages; install them '
      "with pip install 'fusion_jax[search]'."
    ) from error


if __name__ == '__main__':
  main()
