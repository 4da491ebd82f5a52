"""CLIP's vectors of ground photos, which `datasets.Sen4Map` reads."""

import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from fusion_jax.data.builders import layout, skipped
from fusion_jax.datasets import build

if TYPE_CHECKING:
  from fusion_jax.inference import clip_model

_MADE_FROM = 'made_from.json'
_TORCH = ('.pt', '.pth')


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoVectors:
  """CLIP's vectors of ground photos, for sen4map --photos.

  Killed, the step goes on with the first file that is missing; done, it does
  nothing.

  Attributes:
    source: Folder of photos such as NL/406/832/40683280W.jpg or
      NL_40683280W.jpg; or a file that torch.save wrote, a dictionary of
      vectors.
    out: Folder of the files of vectors.
    clip: Folder of a converted CLIP, which photos need (`fusion-jax convert
      clip`).
    photos_per_file: Number of photos in one file, at most.
    batch_size: Number of photos that are embedded together.
    shard: Writes only every N-th file from the I-th, I = 0 .. N-1, for a job
      array (default: all).
    max_bad: Stops if a larger share of the photos, 0 to 1, does not decode.
  """

  source: str
  out: str
  clip: str = ''
  photos_per_file: int = 8_192
  batch_size: int = 64
  shard: tuple[int, int] = (0, 1)
  max_bad: float = 0.01

  def __post_init__(self) -> None:
    if self.photos_per_file < 1 or self.batch_size < 1:
      raise ValueError(
        f'photos_per_file={self.photos_per_file} and '
        f'batch_size={self.batch_size} must be 1 or more.'
      )
    if not 0 <= self.max_bad <= 1:
      raise ValueError(f'max_bad={self.max_bad} is no share from 0 to 1.')
    build.check_shard(self.shard)


def write_photo_vectors(step: PhotoVectors) -> int:
  """Writes vectors of all photos under a folder.

  A photo that does not decode is left out, named in the note beside its file
  and counted.

  Args:
    step: which photos, which CLIP, and where the vectors go.

  Returns:
    Number of vectors of this process's share.

  Raises:
    ValueError: if there are no photos, or `out` holds vectors of other ones.
    TooManyBadExamples: if too many do not decode.
  """
  out = pathlib.Path(step.out)
  if pathlib.Path(step.source).suffix in _TORCH:
    return _write_from_torch(step.source, out)
  if not step.clip:
    raise ValueError(
      'Photos need a CLIP: convert one (fusion-jax convert clip) and name it '
      'with --clip.'
    )
  import tqdm

  from fusion_jax.data.sources import ground_photos

  names, paths = zip(*ground_photos.find(step.source).items())
  # A wrong CLIP is found before the folder is called one of its vectors.
  model = None if (out / _MADE_FROM).exists() else _load(step.clip)
  _check_same(out, names, step.clip)
  starts = range(0, len(names), step.photos_per_file)
  starts = starts[step.shard[0] :: step.shard[1]]
  limit, total = skipped.Limit(len(starts), step.max_bad), 0
  for start in tqdm.tqdm(starts, 'files', disable=not sys.stderr.isatty()):
    path = out / f'photos-{start:08d}.safetensors'
    note = path.with_suffix('.json')
    if not (path.exists() and note.exists()):
      model = model or _load(step.clip)
      chosen = slice(start, start + step.photos_per_file)
      left_out = _write(
        path, names[chosen], paths[chosen], model, step.batch_size
      )
      num_examples = len(names[chosen]) - len(left_out)
      layout.write_whole(
        note, json.dumps({'num_examples': num_examples, 'skipped': left_out})
      )
    content = json.loads(note.read_text())
    limit.add(content)
    limit.check()
    total += content['num_examples']
  return total


def _load(clip: str) -> 'clip_model.ClipModel':
  from fusion_jax import inference

  return inference.load_as(inference.ClipModel, clip, use='embedding photos')


def _write(
  path: pathlib.Path,
  names: Sequence[str],
  photos: Sequence[pathlib.Path],
  model: 'clip_model.ClipModel',
  batch_size: int,
) -> list[list[str]]:
  """Writes one file of vectors.

  Returns:
    [name, reason] of every photo that is left out.
  """
  from fusion_jax.data import clip_images
  from fusion_jax.data.sources import photo_vectors

  stored_keys, vectors, left_out = [], [], []
  for start in range(0, len(names), batch_size):
    batch = []
    chosen = slice(start, start + batch_size)
    for name, photo in zip(names[chosen], photos[chosen]):
      try:
        batch.append((name, clip_images.resize(photo, model.model.image_size)))
      except ValueError as error:
        logging.warning('Left out photo %s: %s', name, error)
        left_out.append([name, str(error)])
    if batch:
      decoded_names, images = zip(*batch)
      stored_keys += decoded_names
      vectors.append(
        model.embed_images(list(images), normalize=False, batch_size=batch_size)
      )
  table = (
    np.concatenate(vectors)
    if vectors
    else np.zeros((0, model.width), np.float32)
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}')
  photo_vectors.write(temporary, stored_keys, table)
  temporary.replace(path)
  return left_out


def _check_same(out: pathlib.Path, names: Sequence[str], clip: str) -> None:
  """Checks that a folder holds no vectors of other photos or another CLIP.

  Raises:
    ValueError: if it does.
  """
  made_from = {
    'clip': str(pathlib.Path(clip).resolve()),
    'num_photos': len(names),
    'names': hashlib.sha256('\n'.join(names).encode()).hexdigest(),
  }
  note = out / _MADE_FROM
  if not note.exists():
    layout.write_whole(note, json.dumps(made_from))
    return
  stored = json.loads(note.read_text())
  if stored != made_from:
    raise ValueError(
      f'{out} holds vectors of {stored["num_photos"]} photos by '
      f'{stored["clip"]}; now there are {len(names)} by '
      f'{made_from["clip"]}. Choose another folder, or delete this one.'
    )


def _write_from_torch(source: str, out: pathlib.Path) -> int:
  """Writes vectors of a torch dictionary {name: [1, D]}; their number.

  Raises:
    ValueError: if the file is no such dictionary.
  """
  from fusion_jax.convert import torch_files
  from fusion_jax.data.sources import photo_vectors

  table = torch_files.load(source)
  rows = (
    {name: np.ravel(array) for name, array in table.items()}
    if isinstance(table, dict)
    else {}
  )
  if len({row.shape for row in rows.values()}) != 1 or any(
    row.dtype.kind != 'f' for row in rows.values()
  ):
    raise ValueError(
      f'{source} is no dictionary of vectors; expected are arrays of one size '
      "under names such as 'NL_40683280W'."
    )
  out.mkdir(parents=True, exist_ok=True)
  names = sorted(rows)
  photo_vectors.write(
    out / 'photos.safetensors', names, np.stack([rows[name] for name in names])
  )
  return len(names)
