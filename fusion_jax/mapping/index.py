"""An index of embeddings with their places, for nearest neighbours.

Small indices are searched exactly, large ones by faiss's inverted lists with 8
bits per value.

`index.json` names the files of an index with their checksums, and replaces the
one before in one go when they are whole: a build that is killed leaves the old
index.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import faiss
import numpy as np
from absl import logging

from fusion_jax import checksums, geo, locks
from fusion_jax.untrusted import archives, memory
from fusion_jax.untrusted.reading import reading

_ABOUT, _FILES = 'index.json', 'files'
_INDEX, _PLACES = 'index.faiss', 'places.npz'  # Of earlier versions.
_PATTERNS = ('index*.faiss', 'places*.npz')
_EXACT = 200_000  # Up to this number of vectors, all are compared.
_TRAINED_ON = 100_000  # Number of vectors that the lists are trained on.
_PROBED = 32  # Number of lists that are searched.
_MORE = 16  # Candidates per answer, if answers must lie apart.


@dataclasses.dataclass(frozen=True)
class Answers:
  """The nearest places, the best first.

  Attributes:
    lon: float [K], degrees east.
    lat: float [K], degrees north.
    scores: [K] cosines with the query.
    keys: [K] names of the places, or their numbers in the index.
  """

  lon: np.ndarray
  lat: np.ndarray
  scores: np.ndarray
  keys: np.ndarray


class Index:
  """Embeddings of places, ready to be searched.

  Attributes:
    lon: float [N], degrees east.
    lat: float [N], degrees north.
    keys: [N] names of the places.
    about: facts about where the vectors came from.
    width: length E of the vectors.
  """

  def __init__(self, folder: str | os.PathLike[str]):
    """Opens what `build` wrote.

    Raises:
      FileNotFoundError: if there is no index.
      ChecksumError: if a file is not what was written.
    """
    folder = pathlib.Path(folder)
    if not (folder / _ABOUT).exists():
      raise FileNotFoundError(
        f'{folder} holds no index; make one: python -m fusion_jax.search '
        f'--build EMBEDDINGS --index {folder}'
      )
    with reading(folder, 'index', 'build it again'):
      try:
        self.about, (index, places) = _read_about(folder)
      except checksums.ChecksumError as error:
        raise checksums.ChecksumError(
          f'The index in {folder} is damaged: {error}. Build it again, or copy '
          'it again.'
        ) from error
      with memory.bounded():
        self._faiss = faiss.read_index(str(folder / index))
      with archives.open_npz(folder / places) as stored:
        self.lon, self.lat, self.keys = (
          stored[name] for name in ('lon', 'lat', 'keys')
        )
    self.width = self._faiss.d

  def search(
    self, vector: np.ndarray, count: int, apart_m: float = 0.0
  ) -> Answers:
    """Returns the places whose vectors are nearest to a query.

    Args:
      vector: float [E], the query, of any norm.
      count: largest number K of answers.
      apart_m: least distance between two answers in metres, because
        neighbouring pixels are alike and one of them is enough.

    Returns:
      `Answers`, K of them or fewer if the index has fewer places.

    Raises:
      ValueError: if the vector has another width than the index.
    """
    vector = np.asarray(vector, np.float32).reshape(1, -1)
    if vector.shape[1] != self.width:
      raise ValueError(
        f'The query has {vector.shape[1]} dimensions, the index has '
        f'{self.width}; embed it with the CLIP that the encoder was trained '
        'with.'
      )
    faiss.normalize_L2(vector)
    total, num_neighbours = len(self.lon), count
    while True:
      num_neighbours = min(num_neighbours * (_MORE if apart_m else 1), total)
      scores, indices = self._faiss.search(vector, num_neighbours)
      scores, indices = scores[0][indices[0] >= 0], indices[0][indices[0] >= 0]
      chosen = self._apart(indices, count, apart_m)
      if len(chosen) >= count or num_neighbours == total or not apart_m:
        break
    indices, scores = indices[chosen], scores[chosen]
    return Answers(
      self.lon[indices], self.lat[indices], scores, self.keys[indices]
    )

  def _apart(self, indices, count, apart_m):
    """Indices into `indices` of the first `count` that lie apart."""
    chosen = []
    for i, place in enumerate(indices):
      others = indices[chosen]
      if (
        not apart_m
        or not len(others)
        or 1000
        * geo.distance_km(
          self.lat[place], self.lon[place], self.lat[others], self.lon[others]
        ).min()
        >= apart_m
      ):
        chosen.append(i)
      if len(chosen) == count:
        break
    return chosen


def build(
  folder: str | os.PathLike[str],
  parts: Callable[[], Iterable[tuple[Any, ...]]],
  count: int,
  *,
  about: Mapping[str, Any],
) -> 'Index':
  """Writes an index.

  Args:
    folder: folder to write; it is made.
    parts: a function that yields (lon [N], lat [N], vectors [N, E] of length
      1, keys [N] or None), the same each time; all of them are never in
      memory, except for their 8 bits a value.
    count: number of vectors in all.
    about: facts that are kept with the index.

  Returns:
    `Index`.

  Raises:
    ValueError: if there is no vector, one is not finite, or another process
      writes the index.
  """
  if not count:
    raise ValueError(f'{about.get("source")} has no embedding.')
  folder = pathlib.Path(folder)
  with locks.hold(folder / '.lock', folder, 'Choose another folder.'):
    index, places = _fill(parts, count, about)
    _write(folder, index, places, about)
  logging.info(
    '%d vectors of %d places are in %s.',
    index.ntotal,
    len(places['lon']),
    folder,
  )
  return Index(folder)


def _fill(
  parts: Callable[[], Iterable[tuple[Any, ...]]],
  count: int,
  about: Mapping[str, Any],
) -> tuple[Any, dict[str, np.ndarray]]:
  """Returns an index of faiss, and {'lon' [N], 'lat' [N], 'keys' [N]}."""
  index, places, start = None, [], 0
  for lon, lat, vectors, keys in parts():
    vectors = np.ascontiguousarray(vectors, np.float32)
    if not np.isfinite(vectors).all():
      raise ValueError(
        f'{about.get("source")} has vectors that are not finite '
        f'near longitude {lon[0]:.3f}, latitude {lat[0]:.3f}.'
      )
    index = index or _empty(vectors.shape[1], count, parts)
    index.add(vectors)
    keys = np.arange(start, start + len(lon)) if keys is None else keys
    places.append((lon, lat, np.asarray(keys).astype(str)))
    start += len(lon)
  if index is None:
    raise ValueError(f'{about.get("source")} has no embedding.')
  lon, lat, keys = (np.concatenate(x) for x in zip(*places))
  return index, {'lon': lon, 'lat': lat, 'keys': keys}


def _write(
  folder: pathlib.Path,
  index: Any,
  places: Mapping[str, np.ndarray],
  about: Mapping[str, Any],
) -> None:
  """Replaces the index of a folder by another one."""
  writers: dict[str, Callable[[pathlib.Path], Any]] = {
    'index-{}.faiss': lambda path: faiss.write_index(index, str(path)),
    'places-{}.npz': lambda path: np.savez(path, **cast(Any, places)),
  }
  digests = {}
  for name, write in writers.items():
    aside = folder / name.format('new')
    write(aside)
    digest = checksums.digest(aside)
    digests[name.format(digest[:8])] = digest
    aside.replace(folder / name.format(digest[:8]))
  content = {**about, 'count': len(places['lon']), 'width': index.d}
  aside = folder / f'{_ABOUT}.new'
  aside.write_text(checksums.dumps({**content, _FILES: digests}))
  aside.replace(folder / _ABOUT)
  for path in (x for pattern in _PATTERNS for x in folder.glob(pattern)):
    if path.name not in digests:  # Of the index before, or of a killed build.
      path.unlink()


def _read_about(
  folder: pathlib.Path,
) -> tuple[dict[str, Any], tuple[str, str]]:
  """Reads what an index is, and checks its files.

  Returns:
    Facts about the index, and the names of its two files.

  Raises:
    ChecksumError: names the file that is not what was written.
  """
  about, has_digest = checksums.loads((folder / _ABOUT).read_bytes(), _ABOUT)
  if not has_digest and _FILES not in about:
    logging.info('%s is of an earlier version: it has no checksums.', folder)
    return about, (_INDEX, _PLACES)
  if not has_digest:
    raise checksums.ChecksumError(f'the file {_ABOUT} is not what was saved')
  files = about.pop(_FILES)
  checksums.compare(folder, files)
  index, places = files
  return about, (index, places)


def _empty(width, count, parts):
  """Returns an empty faiss index for `count` vectors, trained if necessary."""
  if count <= _EXACT:
    return faiss.IndexFlatIP(width)
  lists = round(4 * count**0.5)
  index = faiss.IndexIVFScalarQuantizer(
    faiss.IndexFlatIP(width),
    width,
    lists,
    faiss.ScalarQuantizer.QT_8bit,
    faiss.METRIC_INNER_PRODUCT,
  )
  index.nprobe = _PROBED
  step = max(1, count // _TRAINED_ON)
  sample = np.concatenate([vectors[::step] for _, _, vectors, _ in parts()])
  index.train(np.ascontiguousarray(sample, np.float32))
  return index
