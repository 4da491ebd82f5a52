"""A reader of Sen4Map that joins LUCAS, photos and maps.

A label is taken from the file of labels if there is one with the point, else
from the survey (or the attributes of the HDF5), else from the maps.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from absl import logging

from fusion_jax.data import composites, labels, lucas_grid, readers
from fusion_jax.data.builders import places
from fusion_jax.data.sources import (
  lucas,
  photo_vectors,
  region_maps,
  sen4map,
  sen4map_groups,
)
from fusion_jax.untrusted.reading import reading

# Left out of the training split by TimeSenCLIP's code, which gives no reason.
LEFT_OUT = frozenset({45061526, 45281654, 47501690})


_SPLITS = ('train', 'val', 'test')
_ENDINGS = ('.h5', '.hdf5')
_LOOKED_AT = 10_000  # Places at which it is checked that maps have classes.


@dataclasses.dataclass(frozen=True)
class Sen4Map:
  """The places of HDF5 files, in shards.

  Attributes:
    files: path of the HDF5 file of every split, by the name of the split.
    size: pixels per side of the crop, k.
    composite: kind of the monthly composites, see `composites.monthly`.
    missing_bands: names of bands that the files may lack.
    survey: CSV of the LUCAS micro-data; '' for the attributes of the HDF5.
    labels: CSV of published labels (`lucas.read_labels`); '' for none.
    photos: vectors of the photos (`photo_vectors`); '' for none.
    bioregions: map of the regions (`region_maps`); '' for none.
    eunis: map of the habitats; '' for none.
    eunis_table: CSV of what the values of the map of habitats mean; '' for
      none.
    need_photos: splits whose places without a photo are dropped.
    need_eunis: splits whose places without a habitat are dropped, if habitats
      are known at all: from a map, labels, or attributes of any place.
    examples_per_shard: largest number of places in one file.
  """

  files: Mapping[str, str]
  size: int = 1
  composite: composites.Kind = 'published'
  missing_bands: tuple[str, ...] = ()
  survey: str = ''
  labels: str = ''
  photos: str = ''
  bioregions: str = ''
  eunis: str = ''
  eunis_table: str = ''
  need_photos: tuple[str, ...] = ('train',)
  need_eunis: tuple[str, ...] = ('test',)
  examples_per_shard: int = 1024

  @property
  def schema(self) -> places.Schema:
    """The fields of the places.

    Pixels are int16 where they are composed of acquisitions, float32 where
    composites are stored: these may have fractions in one place and none in
    another.
    """
    floats = bool(self.missing_bands)
    for path in self.files.values():
      with sen4map.opened(path) as file:
        floats |= sen4map.is_composite(file, sen4map.keys(file)[0])
    width = _vectors(self.photos).width if self.photos else 512
    return places.Schema(self.size, width, 'float32' if floats else 'int16')

  def parts(self) -> dict[str, list[tuple[int, int]]]:
    """Ranges of the sorted keys of every file, (first, last + 1).

    Raises:
      ValueError: if no place has a photo where they are needed, or a map has
        its axes exchanged.
    """
    self._check_maps()
    parts = {}
    for split in self.files:
      self._check_photos(split)
      total, size = len(self._keys(split)), self.examples_per_shard
      parts[split] = [(i, min(i + size, total)) for i in range(0, total, size)]
    return parts

  def read(
    self, split: str, part: tuple[int, int]
  ) -> Iterator[readers.Example | readers.Skipped | readers.Dropped]:
    """Yields the examples of a range, `Dropped` for those left out."""
    dropped = 0
    with sen4map.opened(self.files[split]) as file:
      for key in self._keys(split)[slice(*part)]:
        try:
          example = self._example(file, key)
        except ValueError as error:
          logging.warning('Left out %s: %s', key, error)
          yield readers.Skipped(key, str(error))
          continue
        if lacking := self._lacking(split, example):
          dropped += 1
          yield readers.Dropped(key, lacking)
        else:
          yield example
    if dropped:
      logging.warning(
        'Dropped %d of %d places of %s without photo or habitat.',
        dropped,
        part[1] - part[0],
        split,
      )

  def _check_maps(self) -> None:
    """Checks that the maps lie where the places are.

    Raises:
      ValueError: if one has its axes exchanged.
    """
    keys = [(x, key) for x in self.files for key in self._keys(x)]
    points = []
    for split, key in keys[:: len(keys) // _LOOKED_AT + 1]:
      with reading(self.files[split], 'file of Sen4Map'):
        points.append(sen4map.point_id(key))
    for task, path, table in self._maps():
      if path:
        _map(path, task, table)(points)

  def _maps(self) -> tuple[tuple[str, str, str], ...]:
    """Returns task, path and table of each map."""
    return (
      ('bioregion', self.bioregions, ''),
      ('eunis', self.eunis, self.eunis_table),
    )

  def _check_photos(self, split: str) -> None:
    """Checks that a split that needs photos would not be empty.

    Raises:
      ValueError: if it would.
    """
    if self.photos and split in self.need_photos:
      points = {
        f'{sen4map.PREFIX}{point}' for point in _vectors(self.photos).points
      }
      if points.isdisjoint(self._keys(split)):
        raise ValueError(
          f'{self.photos} has no photo of any place of {self.files[split]}, '
          f'but of points such as {sorted(points)[:3]}.'
        )

  def _keys(self, split: str) -> tuple[str, ...]:
    return _keys(self.files[split], split == 'train')

  def _year(self, file: h5py.File, key: str) -> tuple[np.ndarray, np.ndarray]:
    return sen4map.read_year(
      file, key, self.size, self.composite, self.missing_bands
    )

  def _example(self, file: h5py.File, key: str) -> readers.Example:
    point = sen4map.point_id(key)
    lat, lon = lucas_grid.coordinates(point)
    surveyed = self._surveyed(file, key, point)
    pixels, valid = self._year(file, key)
    indices = self._labels(file, key, point, surveyed)
    return {
      'key': key,
      'lat': lat,
      'lon': lon,
      'pixels': pixels,
      'valid': valid,
      'views': (
        _vectors(self.photos).views(point)
        if self.photos
        else photo_vectors.no_views()
      ),
    } | {labels.FIELDS[task]: np.int32(indices[task]) for task in labels.TASKS}

  def _surveyed(self, file: h5py.File, key: str, point: int) -> lucas.Point:
    """Returns the `lucas.Point` of a place."""
    if not self.survey:
      return lucas.Point(
        *sen4map.read_attributes(file, key, sen4map.SURVEY).values()
      )
    points = _survey(self.survey)
    if point not in points:
      raise ValueError(f'{self.survey} has no point {point}')
    return points[point]

  def _labels(
    self, file: h5py.File, key: str, point: int, surveyed: lucas.Point
  ) -> dict[str, int]:
    """Returns the index of the class of a place, by task."""
    indices = dict.fromkeys(labels.TASKS, labels.NONE)
    indices |= lucas.survey_labels(surveyed)
    indices |= _regions(file[key].attrs)
    for task, path, table in self._maps():
      if path and indices[task] == labels.NONE:
        indices[task] = _map(path, task, table).classes_at([point])[0]
    if self.labels:
      indices |= _labels(self.labels).get(point, {})
    return indices

  def _lacking(self, split: str, example: readers.Example) -> str:
    """Returns what a place lacks that its split needs; '' for nothing."""
    knows_habitats = bool(
      self.eunis
      or self.labels
      or (split in self.need_eunis and _has_habitats(self.files[split]))
    )
    no_habitat = example[labels.FIELDS['eunis']] == labels.NONE
    if split in self.need_eunis and knows_habitats and no_habitat:
      return 'no habitat'
    needs_photo = bool(self.photos) and split in self.need_photos
    if needs_photo and not np.isfinite(example['views']).all(axis=1).any():
      return 'no photo'
    return ''


def find_files(folder: str | os.PathLike[str]) -> dict[str, str]:
  """Finds the HDF5 files of a folder, by how their names begin.

  `test_with_eunis.h5` is the file of the test split, for instance.

  Args:
    folder: folder of the files.

  Returns:
    Path of the file of every split, by the name of the split.

  Raises:
    ValueError: if there are no such files, or two files of one split.
  """
  files = {}
  for path in sorted(pathlib.Path(folder or '.').glob('*')):
    split = next((s for s in _SPLITS if path.name.startswith(s)), '')
    if path.suffix not in _ENDINGS or not split:
      continue
    if split in files:
      raise ValueError(
        f'{files[split]} and {path} are both of {split!r}; move one away.'
      )
    files[split] = str(path)
  if not files or not folder:
    raise ValueError(
      f'--source={str(folder)!r} holds no Sen4Map; give a folder with '
      'train.h5, val.h5, test.h5 or some of them.'
    )
  return dict(sorted(files.items(), key=lambda item: _SPLITS.index(item[0])))


def _regions(attributes: Mapping[str, Any]) -> dict[str, int]:
  """Returns the classes that the attributes of a composite name, by task.

  Codes are the numbers of the class lists; names are understood, too.
  """
  indices = {}
  for name, task in (
    ('bioregion_class_code', 'bioregion'),
    ('EUNIS_L2', 'eunis'),
  ):
    if name in attributes:
      text = sen4map_groups.as_text(attributes[name]).removesuffix('.0')
      if text.isdigit():
        indices[task] = labels.of_code(task, text)
      elif text == '-1':
        indices[task] = labels.NONE
      else:
        try:
          indices[task] = labels.of_name(task, text)
        except ValueError as error:
          raise ValueError(f'attribute {name}: {error}') from error
  return indices


# Tables are read once a process and stay out of what is pickled.


@functools.cache
def _keys(path: str, leave_out: bool) -> tuple[str, ...]:
  """Returns the sorted keys of a file, without `LEFT_OUT` on request."""
  with sen4map.opened(path) as file:
    keys = sen4map.keys(file)
  return tuple(
    key
    for key in keys
    if not (
      leave_out and key.removeprefix(sen4map.PREFIX) in map(str, LEFT_OUT)
    )
  )


@functools.cache
def _has_habitats(path: str) -> bool:
  """Returns whether a place of a file of composites has a habitat."""
  with sen4map.opened(path) as file:
    keys = sen4map.keys(file)
    return sen4map.is_composite(file, keys[0]) and any(
      sen4map.REGIONS[1] in file[key].attrs for key in keys
    )


@functools.cache
def _survey(path: str) -> Mapping[int, lucas.Point]:
  return lucas.read_survey(path)


@functools.cache
def _labels(path: str) -> Mapping[int, Mapping[str, int]]:
  return lucas.read_labels(path)


@functools.cache
def _map(
  path: str, task: str, table: str
) -> region_maps.Polygons | region_maps.Raster:
  return region_maps.read(path, task, table)


def _vectors(path: str) -> photo_vectors.PhotoVectors:
  return photo_vectors.opened(path)
