"""CLIP's vectors of ground photos, in files.

A file holds vectors under the names of photos, 'NL_40683280W' (country, point,
direction), in one of two forms, as .safetensors or .npz:

  table       `vectors` [N, D] float, and `keys`, N names: an array of strings
              (.npz) or a JSON list in the metadata (.safetensors)
  dictionary  one array [D] or [1, D] a name, as TimeSenCLIP's own file

Vectors are not of unit length: they are as CLIP's image tower projects them.
"""

import functools
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from fusion_jax.data.sources import ground_photos
from fusion_jax.untrusted import archives, nested
from fusion_jax.untrusted.reading import reading

DIRECTIONS = ('W', 'E', 'N', 'S')  # This is the order of TimeSenCLIP's code.
_VECTORS, _KEYS = 'vectors', 'keys'
_ENDINGS = ('.safetensors', '.npz')


class PhotoVectors:
  """Vectors of photos by point, which are read when they are used.

  Attributes:
    path: path of the file, or of a folder of such files.
    width: length D of the vectors.
    points: identifiers of the points that have a photo.
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Reads the names of the photos.

    Raises:
      FileNotFoundError: if there is no such file, or none in the folder.
      ValueError: if a file is of another form, or files differ in width.
    """
    self.path = pathlib.Path(path)
    paths = [self.path]
    if self.path.is_dir():
      paths = sorted(
        p
        for p in self.path.iterdir()
        if p.suffix in _ENDINGS and not p.name.startswith('.')
      )  # Such a file is being written.
    if not paths or not all(p.exists() for p in paths):
      raise FileNotFoundError(
        f'{path} holds no vectors of photos (.safetensors or .npz); make '
        'them with `python -m fusion_jax.prepare photos`.'
      )
    self._of = {}
    widths, others = set(), []
    for file in paths:
      names, width, read = _opened(file)
      widths.add(width)
      for i, name in enumerate(names):
        view = ground_photos.view_of(name)
        if view is None:
          others.append(name)
        elif view in self._of:
          raise ValueError(
            f'{path} has the photo of point {view[0]} towards {view[1]} twice, '
            f'as {self._of[view][0]} and as {name}; keep one.'
          )
        else:
          self._of[view] = name, read, i
    if len(widths) > 1:
      raise ValueError(
        f'The vectors in {path} are of several widths, '
        f'{sorted(widths)}; make them with one CLIP.'
      )
    self.width = widths.pop()
    self.points = {point for point, _ in self._of}
    if others and not self.points:
      raise ValueError(
        f'{path} has no name of a photo, such as NL_40683280W; '
        f'it has {sorted(others)[:3]}.'
      )

  def has(self, point: int) -> bool:
    """Returns whether a point has any photo."""
    return point in self.points

  def views(self, point: int) -> np.ndarray:
    """Returns the vectors of a point, float32 [4, D], NaN without a photo.

    Args:
      point: identifier of the point; photos of a point at a border may be
        filed under the neighbouring country.
    """
    vectors = no_views(self.width)
    for i, direction in enumerate(DIRECTIONS):
      if entry := self._of.get((point, direction)):
        _, read, row = entry
        vectors[i] = read(row)
    return vectors

  def __len__(self) -> int:
    return len(self._of)


def no_views(width: int = 512) -> np.ndarray:
  """Returns the vectors of a point without photos, [4, D] float32, all NaN."""
  return np.full((len(DIRECTIONS), width), np.nan, np.float32)


@functools.cache
def opened(path: str | os.PathLike[str]) -> PhotoVectors:
  """Returns the vectors of a path, opened once per process."""
  return PhotoVectors(path)


def write(
  path: str | os.PathLike[str], names: Sequence[str], vectors: np.ndarray
) -> None:
  """Writes a table as .safetensors.

  Args:
    path: path of the file to write.
    names: N names of photos, see `ground_photos.key`.
    vectors: [N, D] float32 vectors, not normalised.
  """
  safetensors_numpy.save_file(
    {_VECTORS: np.ascontiguousarray(vectors, np.float32)},
    path,
    {_KEYS: json.dumps(list(names))},
  )


def _opened(path):
  """Returns names, width, and a function of the number of a row."""
  with reading(path, 'file of vectors of photos', 'write it again'):
    if path.suffix == '.npz':
      return _npz(path)
    if path.suffix == '.safetensors':
      return _safetensors(path)
  raise ValueError(
    f'{path}: files of photo vectors end in {" or ".join(_ENDINGS)}.'
  )


def _npz(path):
  with archives.open_npz(path) as file:
    if {_VECTORS, _KEYS} <= set(file):
      vectors = np.asarray(file[_VECTORS], np.float32)
      names = file[_KEYS].tolist()
    else:
      names = sorted(file)
      vectors = np.stack([np.ravel(file[name]) for name in names])
  _check(names, vectors.shape)
  return names, vectors.shape[1], vectors.__getitem__


def _safetensors(path):
  file = safetensors.safe_open(path, 'numpy')
  if _VECTORS in file.keys():
    vectors = file.get_slice(_VECTORS)
    names = nested.loads((file.metadata() or {})[_KEYS], path)
    _check(names, tuple(vectors.get_shape()))
    return names, vectors.get_shape()[1], lambda i: vectors[i : i + 1][0]
  names = sorted(file.keys())
  widths = {int(np.prod(file.get_slice(name).get_shape())) for name in names}
  if len(widths) != 1:
    raise ValueError(f'the vectors have several widths, {sorted(widths)}')
  return names, widths.pop(), lambda i: np.ravel(file.get_tensor(names[i]))


def _check(names, shape):
  if not isinstance(names, list) or not all(isinstance(x, str) for x in names):
    raise ValueError(f'the names of the photos are {names!r:.60}')
  if len(shape) != 2 or len(names) != shape[0]:
    raise ValueError(f'vectors are {shape} for {len(names)} names')
