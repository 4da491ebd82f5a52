"""Reads the weather of many shards at once, before the shards are written.

The samples of a shard are of all seasons and years, so a shard that reads its
own weather reads nearly every field of the archive, and so does the next shard.
Therefore the places of all shards of a process are listed first and sorted by
time. Chunks of `PLACES` of them read their weather, each field once, into
scratch files of 1.4 KB a place, and the shards take their rows from these.

What it costs. A window has 40 days. Let S be the days of the archive, F the
bytes of its fields, N the samples of this call (all of them, or the share of a
job array). There are C = N / PLACES chunks, and a field is read

  1 + 40 C / S times at most: once if all samples are in one chunk,

so a sample costs F (1 + 40 C / S) / N bytes, instead of the F 40 / S bytes of
its own window, or the F / (samples a shard) of reading shard by shard. Example:
9 M samples over 5 years of hourly global fields of 0.25 degrees, two variables
of 2 MB each (F = 175 GB, S = 1826, C = 138): every field is read 4 times, 78 KB
a sample. In a job array of n, F is read by each job: n x 19 KB a sample more.
The number of workers does not matter. A worker holds two tables of 960 hours x
8 bytes for the places of its chunk, 1.0 GB, and 1.5 GB at its peak, whatever
the size of the data set. Every process reads the heads of all messages once.
"""

import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fusion_jax.data import readers
from fusion_jax.data.builders import layout

PLACES = 65_536  # Of a chunk.

# Calls `function(item, *arguments)` for items: `workers.run`, `Beam.run`.
Run = Callable[
  [Callable[..., Any], Sequence[Any], tuple[Any, ...]], Generator[Any]
]


class Shard(Protocol):
  """One shard to write."""

  @property
  def split(self) -> str:
    """Name of its split."""
    ...

  @property
  def part(self) -> Any:
    """Part of the reader."""
    ...

  @property
  def path(self) -> pathlib.Path:
    """The file that will be written."""
    ...


@dataclasses.dataclass(frozen=True)
class Part:
  """A part whose weather has been read.

  Attributes:
    part: the part of the reader.
    places: file with the keys of its samples.
    rows: file with the number of each sample in the order of time.
  """

  part: Any
  places: str
  rows: str


@dataclasses.dataclass(frozen=True)
class Ahead:
  """A reader of `Part`s, which takes the weather from scratch files.

  Attributes:
    source: the reader that is joined with weather.
    chunks: folder of the chunks.
    places_per_chunk: number of places of a chunk.
  """

  source: readers.JoinedReader
  chunks: str
  places_per_chunk: int

  @property
  def schema(self) -> readers.Schema:
    """The fields of the joined reader."""
    return self.source.schema

  def parts(self) -> Mapping[str, Sequence[Any]]:
    """The parts of the joined reader, without their weather."""
    return self.source.parts()

  def read(
    self, split: str, part: Part
  ) -> Iterator[readers.Example | readers.Skipped | readers.Dropped]:
    """Yields the examples of a part with their series."""
    keys = np.load(part.places)['keys'].tolist()
    rows = np.load(part.rows)
    series = {}
    for chunk in np.unique(rows // self.places_per_chunk):
      chosen = rows // self.places_per_chunk == chunk
      for path in _chunk(self.chunks, chunk).iterdir():
        values = np.load(path, mmap_mode='r')
        if path.stem not in series:
          series[path.stem] = np.empty(
            (len(rows), values.shape[1]), values.dtype
          )
        series[path.stem][chosen] = values[rows[chosen] % self.places_per_chunk]
    return self.source.join(
      split, part.part, {key: i for i, key in enumerate(keys)}, series
    )


class Todo(NamedTuple):
  """What is left to write when the weather has been read.

  Attributes:
    source: reader of the parts of `shards`.
    shards: the shards, whose parts are `Part`s.
  """

  source: readers.Reader
  shards: list[Any]


def read_weather(
  source: readers.JoinedReader,
  shards: Sequence[Shard],
  run: Run,
  folder: pathlib.Path,
) -> Todo:
  """Reads the weather of some shards.

  Args:
    source: the reader, whose weather it is.
    shards: the shards to write, which are dataclasses with a field `part`.
    run: how the work is spread.
    folder: scratch folder of this call. What a killed call has left there is
      used if it fits.
  """
  to_list = [s for s in shards if not _places(folder, s).exists()]
  for _ in run(_list_places, to_list, (source, str(folder))):
    pass
  tables = [np.load(_places(folder, shard))['table'] for shard in shards]
  table = np.concatenate([np.zeros((0, 3)), *tables])
  names = ' '.join(f'{s.path.name}:{len(t)}' for s, t in zip(shards, tables))
  digest = hashlib.sha256(f'{PLACES} {names}'.encode() + table.tobytes())
  chunks = folder / f'chunks-{digest.hexdigest()[:16]}'
  order = np.argsort(table[:, 2], kind='stable')
  position = np.empty(len(order), np.int64)
  position[order] = np.arange(len(order))
  parts, start = [], 0
  for shard, rows in zip(shards, map(len, tables)):
    path = chunks / f'{shard.path.name}.npy'
    _save(path, position[start : start + rows])
    places = str(_places(folder, shard))
    parts.append(Part(shard.part, places, str(path)))
    start += rows
  missing = []
  for chunk in range(-(-len(order) // PLACES)):
    if not _chunk(chunks, chunk).exists():
      path = chunks / f'places-{chunk:05d}.npy'
      _save(path, table[order[chunk * PLACES : (chunk + 1) * PLACES]])
      missing.append((chunk, str(path)))
  for _ in run(_read_chunk, missing, (source.weather, str(chunks))):
    pass
  return Todo(
    Ahead(source, str(chunks), PLACES),
    [
      dataclasses.replace(shard, part=part)  # pyright: ignore[reportArgumentType]  # It is a dataclass.
      for shard, part in zip(shards, parts)
    ],
  )


def _list_places(
  shard: Shard, source: readers.JoinedReader, folder: str
) -> None:
  """Writes keys, places and times of the samples of a shard."""
  places = source.places(shard.split, shard.part)
  path = _places(pathlib.Path(folder), shard)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = layout.temporary_name(path)
  with open(temporary, 'wb') as file:
    np.savez(
      file,
      keys=np.array(list(places), str),
      table=np.reshape(list(places.values()), (-1, 3)).astype(np.float64),
    )
  os.replace(temporary, path)


def _read_chunk(item: tuple[int, str], weather: Any, chunks: str) -> None:
  """Writes the series of the places of a chunk, one file a series."""
  number, path = item
  lat, lon, time = np.load(path).T
  final = _chunk(chunks, number)
  temporary = pathlib.Path(layout.temporary_name(final))
  series = weather.series(lat, lon, time.astype(np.int64))
  temporary.mkdir(parents=True)
  for name, values in series.items():
    np.save(temporary / f'{name}.npy', values)
  try:
    temporary.rename(final)
  except OSError:  # A process that a killed one has left was faster.
    if not final.exists():
      raise
    shutil.rmtree(temporary)


def _save(path: pathlib.Path, array: np.ndarray) -> None:
  """Writes an array, of which readers never see a part."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = layout.temporary_name(path)
  with open(temporary, 'wb') as file:
    np.save(file, array)
  os.replace(temporary, path)


def _places(folder: pathlib.Path, shard: Shard) -> pathlib.Path:
  return folder / 'places' / f'{shard.path.name}.npz'


def _chunk(folder: str | pathlib.Path, number: int) -> pathlib.Path:
  return pathlib.Path(folder) / f'chunk-{number:05d}'
