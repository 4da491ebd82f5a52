r"""Turns ground photos into CLIP's vectors, for `prepare sen4map --photos`.

  python -m fusion_jax.prepare photos --source PHOTOS --clip DIR --out DIR \
      --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT
  python -m fusion_jax.prepare photos --source vectors.pt --out DIR
      A dictionary of vectors that torch.save wrote, as TimeSenCLIP's.

Killed, it goes on with the first file that is missing; done, it does nothing.
"""

import argparse
import hashlib
import json
import pathlib
import sys

import numpy as np
import tqdm
from absl import flags, logging

from fusion_jax.data import clip_images
from fusion_jax.data.builders import shards
from fusion_jax.data.sources import lucas, photo_vectors

_NOTE = '{}.json'  # Beside every file: what was left out.
_TORCH = ('.pt', '.pth')


def embed(
  source,
  out,
  clip='',
  *,
  photos_per_file=8_192,
  batch_size=64,
  share=(0, 1),
  max_bad=0.01,
):
  """Writes vectors of all photos under a folder.

  A photo that does not decode is left out, named in the note beside its file
  and counted.

  Args:
    source: folder of photos (`sources.lucas.find_photos`), or a torch file.
    out: folder of the files of vectors.
    clip: folder of a converted CLIP; not for a torch file.
    photos_per_file: at most so many in one file.
    batch_size: photos at a time.
    share: (i, n): every n-th file from the i-th.
    max_bad: share of the photos, 0..1, that may not decode.

  Returns:
    Number of vectors of this process's share.

  Raises:
    ValueError: if there are no photos, or `out` holds those of other ones.
    shards.TooManyBadExamples: if too many do not decode.
  """
  out = pathlib.Path(out)
  if pathlib.Path(source).suffix in _TORCH:
    return _from_torch(source, out)
  if not clip:
    raise ValueError(
      'Photos need a CLIP: convert one (python -m '
      'fusion_jax.convert clip) and name it with --clip.'
    )
  names, paths = zip(*lucas.find_photos(source).items())
  _check_same(out, names, clip)
  starts = range(0, len(names), photos_per_file)
  notes, model = [], None
  for start in tqdm.tqdm(
    starts[share[0] :: share[1]], 'files', disable=not sys.stderr.isatty()
  ):
    path = out / f'photos-{start:08d}.safetensors'
    note = path.with_name(_NOTE.format(path.stem))
    if not (path.exists() and note.exists()):
      model = model or _load(clip)
      chosen = slice(start, start + photos_per_file)
      _write(path, note, names[chosen], paths[chosen], model, batch_size)
    notes.append(json.loads(note.read_text()))
    shards.check_bad(notes, len(starts[share[0] :: share[1]]), max_bad)
  return sum(note['num_examples'] for note in notes)


def _load(clip):
  from fusion_jax import inference

  return inference.load(clip)


def _write(path, note, names, paths, model, batch_size):
  """One file of vectors, then its note."""
  kept, vectors, skipped = [], [], []
  for start in range(0, len(names), batch_size):
    batch = []
    for name, photo in zip(
      names[start : start + batch_size], paths[start : start + batch_size]
    ):
      try:
        batch.append((name, clip_images.resize(photo, model.model.image_size)))
      except ValueError as error:
        logging.warning('Left out photo %s: %s', name, error)
        skipped.append([name, str(error)])
    if batch:
      some, images = zip(*batch)
      kept += some
      vectors.append(
        model.embed_images(list(images), normalize=False, batch_size=batch_size)
      )
  vectors = (
    np.concatenate(vectors)
    if vectors
    else np.zeros((0, model.width), np.float32)
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}')
  photo_vectors.write(temporary, kept, vectors)
  temporary.replace(path)
  shards.write_whole(
    note, json.dumps({'num_examples': len(kept), 'skipped': skipped})
  )


def _check_same(out, names, clip):
  """Raises a ValueError if a folder holds vectors of other photos."""
  made_from = {
    'clip': str(pathlib.Path(clip).resolve()),
    'num_photos': len(names),
    'names': hashlib.sha256('\n'.join(names).encode()).hexdigest(),
  }
  note = out / 'made_from.json'
  if note.exists():
    there = json.loads(note.read_text())
    if there != made_from:
      raise ValueError(
        f'{out} holds vectors of {there["num_photos"]} photos by '
        f'{there["clip"]}; now there are {len(names)} by '
        f'{made_from["clip"]}. Choose another folder.'
      )
  else:
    shards.write_whole(note, json.dumps(made_from))


def _from_torch(source, out):
  """Vectors of a torch dictionary {name: [1, D]}."""
  from fusion_jax.convert import torch_pickle

  table = torch_pickle.load(source)
  rows = (
    {name: np.ravel(array) for name, array in table.items()}
    if isinstance(table, dict)
    else {}
  )
  if len({row.shape for row in rows.values()}) != 1 or any(
    row.dtype.kind != 'f' for row in rows.values()
  ):
    raise ValueError(
      f'{source} is no dictionary of vectors; wanted are '
      "arrays of one size under names such as 'NL_40683280W'."
    )
  out.mkdir(parents=True, exist_ok=True)
  names = sorted(rows)
  photo_vectors.write(
    out / 'photos.safetensors', names, np.stack([rows[name] for name in names])
  )
  return len(names)


def _parser(share):
  """The command line; `share` parses I/N."""
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.prepare photos',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add(
    '--source',
    required=True,
    metavar='PATH',
    help='folder of photos, such as NL/406/832/40683280W.jpg or '
    'NL_40683280W.jpg; or a torch file of vectors',
  )
  add('--out', required=True, metavar='DIR', help='folder to write')
  add(
    '--clip',
    default='',
    metavar='DIR',
    help='converted CLIP (python -m fusion_jax.convert clip)',
  )
  add(
    '--photos_per_file',
    type=int,
    default=8_192,
    metavar='N',
    help='photos in one file (default: %(default)s)',
  )
  add(
    '--batch_size',
    type=int,
    default=64,
    metavar='N',
    help='photos at a time (default: %(default)s)',
  )
  add(
    '--shard',
    dest='share',
    type=share,
    default=(0, 1),
    metavar='I/N',
    help='every N-th file from the I-th, for a job array (default: all)',
  )
  add(
    '--max_bad',
    type=float,
    default=0.01,
    metavar='SHARE',
    help='stop if more photos do not decode (default: %(default)s)',
  )
  return parser


def main(argv, share):
  """Runs the command; `share` parses I/N."""
  arguments = vars(_parser(share).parse_args(argv))
  flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  number = embed(**arguments)
  logging.info('%s holds vectors of %d photos.', arguments['out'], number)
