"""Reads TerraMesh shards as published: aligned tars of zipped Zarr version 2.

`{root}/{train,val}/{modality}/{shard}.tar` holds members `{key}.zarr.zip`; a
shard has the same keys under every modality. S1GRD exists only in shards of
SSL4EO-S12, S1RTC only in those of MajorTOM. They are read with plain `tarfile`.
Images, place and time of a sample are kept, its cloud mask is not.
"""

import dataclasses
import functools
import io
import pathlib
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, cast

import numpy as np
import zarr
from absl import logging

from fusion_jax import geo, modalities
from fusion_jax.data import examples, readers
from fusion_jax.untrusted import archives, zarr_store

OFFSET = 1000  # Added to L1C counts by processing baselines since 04.00.
_CIRRUS_LIMIT = 900  # A larger median of B10 contains the offset.
_SUFFIX = '.zarr.zip'
_OPTICAL = (
  'S2L2A',
  'S2L1C',
  'S2RGB',
  'NDVI',
  'LULC',
)  # The time of a sample is that of one of these.
_RADAR = ('S1GRD', 'S1RTC')
_NAMED_BANDS = ('S2L2A', 'S2L1C', 'S1GRD', 'S1RTC')  # Published by name.


@dataclasses.dataclass(frozen=True)
class TerraMesh:
  """A builder's source (see `data.builders`): one part is one published tar.

  Attributes:
    root: folder that holds `train` and `val`.
    images: modalities to read; by default all that have a folder.
    splits: folders under `root`; by default those that exist.
    subset: start of the names of the shards to read, 'majortom' or 'ssl4eos12';
      '' for all.
  """

  root: str
  images: tuple[str, ...] = ()
  splits: tuple[str, ...] = ()
  subset: str = ''

  def __post_init__(self) -> None:
    root = pathlib.Path(self.root)
    splits = self.splits or tuple(
      s
      for s in ('train', 'val')
      if (root / s).is_dir()
      and (not self.subset or any((root / s).glob(f'*/{self.subset}*.tar')))
    )
    images = self.images or tuple(
      name
      for name in examples.IMAGE_TYPES
      if any((root / split / name).is_dir() for split in splits)
    )
    if not splits or not images:
      raise FileNotFoundError(
        f'{root} holds no TerraMesh: expected train/ or val/ and in them '
        f'a folder for each modality ({", ".join(examples.IMAGE_TYPES)}).'
      )
    object.__setattr__(self, 'images', tuple(images))
    object.__setattr__(self, 'splits', tuple(splits))

  @functools.cached_property
  def schema(self) -> examples.Schema:
    """The fields of the examples: image modalities and pixels per side."""
    split, part = next(
      (split, part) for split, parts in self.parts().items() for part in parts
    )
    for example in self.read(split, part):
      if not isinstance(example, readers.Skipped):
        return examples.Schema(self.images, examples.schema_of(example).width)
    raise ValueError(f'No sample of {split}/*/{part} can be read.')

  def parts(self) -> dict[str, list[str]]:
    """Returns {split: names of its shards}.

    Raises:
      FileNotFoundError: if a modality lacks a shard that it should have.
    """
    return {split: self._shards(split) for split in self.splits}

  def _shards(self, split: str) -> list[str]:
    """Returns the names of the tars of one split, after a check for gaps."""
    folder, pattern = pathlib.Path(self.root) / split, f'{self.subset}*.tar'
    shards = {
      name: {path.name for path in (folder / name).glob(pattern)}
      for name in self.images
    }
    every = sorted(set().union(*shards.values()))
    gaps = [
      f'{name}/{shard}'
      for name in self.images
      if name not in _RADAR
      for shard in every
      if shard not in shards[name]
    ]
    if gaps or not every:
      raise FileNotFoundError(
        f'{folder} lacks {len(gaps) or "all"} shards, for example '
        f'{gaps[0] if gaps else pattern}: fetch them, or leave the modality '
        'out with --images.'
      )
    return every

  def read(
    self, split: str, part: str
  ) -> Iterator[readers.Example | readers.Skipped]:
    """Yields the samples of one shard, in the order of its first modality."""
    tars = self._open(split, part)
    shifted = 0
    try:
      for key in _keys(tars):
        try:
          example = _example(key, tars)
        except (
          Exception
        ) as error:  # Damaged bytes cause many kinds of errors in zarr.
          reason = f'{split}/{part}: {type(error).__name__}: {error}'
          logging.warning('Left out sample %s, %s', key, reason)
          yield readers.Skipped(key, reason)
          continue
        shifted += bool(example.get('S2L1C_offset'))
        yield example
    finally:
      for tar in tars.values():
        tar.close()
    if shifted:
      logging.warning(
        '%d samples of %s/S2L1C/%s carry the offset of +%d; it '
        'is kept with each as S2L1C_offset.',
        shifted,
        split,
        part,
        OFFSET,
      )

  def places(
    self, split: str, part: str
  ) -> dict[str, tuple[float, float, int]]:
    """Returns {key: (latitude, longitude, time)} of a shard's samples.

    Of each sample, a few kilobytes of one modality are read, no image.
    """
    tars = self._open(split, part)
    name = next((n for n in _OPTICAL + _RADAR if n in tars), 'DEM')
    places = {}
    for key in _keys(tars):
      try:
        store = _open_store(tars[name].open(key), _is_of_place)
        places[key] = _place(store) + (_time(store),)
      except Exception as error:  # `read` skips it with a warning.
        logging.debug('No place of %s: %s', key, error)
    for tar in tars.values():
      tar.close()
    return places

  def _open(self, split: str, part: str) -> 'dict[str, _Tar]':
    """Opens {modality: its tar of this shard} for modalities that have one."""
    paths = {
      name: pathlib.Path(self.root) / split / name / part
      for name in self.images
    }
    return {name: _Tar(path) for name, path in paths.items() if path.exists()}


class _Tar:
  """The members of a tar by key, of which the last one may be truncated."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.members = {}
    self.damage = ''
    self._file = open(path, 'rb')
    try:
      with tarfile.open(fileobj=self._file, mode='r:') as tar:
        for member in tar:
          if member.name.endswith(_SUFFIX):
            key = pathlib.PurePosixPath(member.name).name[: -len(_SUFFIX)]
            self.members[key] = member.offset_data, member.size
    except tarfile.TarError as error:
      self.damage = f' (the tar is damaged: {error})'

  def read(self, key: str) -> bytes:
    """Returns the bytes of a member.

    Raises:
      ValueError: if the member is missing or truncated.
    """
    if key not in self.members:
      raise ValueError(f'{self.path.parent.name} lacks the key{self.damage}')
    offset, size = self.members[key]
    self._file.seek(offset)
    content = self._file.read(size)
    if len(content) < size:
      raise ValueError(f'{self.path.parent.name} ends in the middle of it')
    return content

  def open(self, key: str) -> BinaryIO:
    """Opens a member, of which only what is asked for is read.

    Raises:
      KeyError: if the member is missing.
    """
    raw: Any = _Part(self._file, *self.members[key])
    return cast(BinaryIO, io.BufferedReader(raw, 1024))

  def close(self) -> None:
    self._file.close()


class _Part(io.RawIOBase):
  """Bytes of a file, as a file of its own."""

  def __init__(self, file: BinaryIO, offset: int, size: int):
    self._file, self._offset, self._size = file, offset, size
    self._position = 0

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
    origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}
    self._position = origin.get(whence, self._size) + offset
    if self._position < 0:
      raise OSError(f'no byte {self._position} in a file of {self._size}')
    return self._position

  def tell(self) -> int:
    return self._position

  def readinto(self, buffer: Any) -> int:
    self._file.seek(self._offset + self._position)
    count = min(len(buffer), max(self._size - self._position, 0))
    content = self._file.read(count)
    buffer[: len(content)] = content
    self._position += len(content)
    return len(content)


def _keys(tars: Mapping[str, _Tar]) -> dict[str, None]:
  """Returns the keys of all tars: those of the first, then all others."""
  return dict.fromkeys(key for tar in tars.values() for key in tar.members)


def _example(key: str, tars: Mapping[str, _Tar]) -> readers.Example:
  """Returns one sample of all modalities."""
  example: dict[str, Any] = {'key': key}
  times = {}
  for name, tar in tars.items():
    store = _open_store(io.BytesIO(tar.read(key)))
    example[name] = _image(name, store)
    times[name] = _time(store)
    example['lat'], example['lon'] = _place(store)
  example['time'] = next(
    (times[name] for name in _OPTICAL + _RADAR if times.get(name)), None
  )
  if example['time'] is None:
    raise ValueError('no modality has a time')
  if 'S2L1C' in example:
    cirrus = example['S2L1C'][..., modalities.S2L1C_BANDS.index('B10')]
    shifted = np.median(cirrus) > _CIRRUS_LIMIT
    example['S2L1C_offset'] = np.int16(OFFSET if shifted else 0)
  return example


def _is_of_place(name: str) -> bool:
  """Whether a file of a Zarr group says where and when the sample is."""
  array, _, file = name.rpartition('/')
  return file.startswith('.z') or array in ('center_lat', 'center_lon', 'time')


def _open_store(file: BinaryIO, is_needed: Callable[[str], bool] = bool) -> Any:
  """Opens the Zarr group in a zip, with those of its files that are needed."""
  with zipfile.ZipFile(file) as archive:
    archives.check_zip(archive, 'the zipped Zarr')
    members = {
      name: archive.read(name)
      for name in archive.namelist()
      if not name.endswith('/') and is_needed(name)
    }
  store = zarr_store.of_members(members, 'the zipped Zarr')
  return zarr.open_group(store, mode='r', zarr_format=2)


def _image(name: str, store: Any) -> np.ndarray:
  """Reads an image [Y, X, C], north up, with bands in the published order."""
  image = store['bands'][0]  # [C, Y, X]
  expected = modalities.IMAGE_FIELDS[name].bands
  if len(image) != len(expected):
    raise ValueError(f'{name} has {len(image)} bands, not {len(expected)}')
  if name in _NAMED_BANDS:
    bands = [str(band).lower() for band in np.atleast_1d(store['band'][...])]
    if sorted(bands) != sorted(band.lower() for band in expected):
      raise ValueError(f'{name} has the bands {bands}, not {expected}')
    image = image[[bands.index(band.lower()) for band in expected]]
  if 'y' in store and np.diff(store['y'][...][:2]) > 0:
    image = image[:, ::-1]
  image = np.moveaxis(image, 0, -1)
  return np.ascontiguousarray(image, examples.IMAGE_TYPES[name])


def _place(store: Any) -> tuple[np.float64, np.float64]:
  """Returns latitude and longitude of a sample's centre in degrees."""
  lat, lon = (
    float(np.ravel(store[name][...])[0])
    for name in ('center_lat', 'center_lon')
  )
  if not (np.isfinite([lat, lon]).all() and abs(lat) <= 90):
    raise ValueError(f'there is no place {lat} N, {lon} E')
  return np.float64(lat), np.float64(geo.wrap_longitude(lon))


def _time(store: Any) -> int:
  """Returns the time of the acquisition in s since 1970; 0 if it has none."""
  if 'time' not in store:
    return 0
  times = np.ravel(store['time'][...])
  if times.dtype.kind != 'M':
    times = times.astype('datetime64[ns]')
  seconds = times[:1].astype('datetime64[s]').astype(np.int64)
  return int(seconds[0]) if len(seconds) and not np.isnat(times[0]) else 0
