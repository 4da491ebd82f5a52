"""Looks at some values of a NetCDF file or Zarr store before all are read."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fusion_jax.data import windows
from fusion_jax.data.sources import (
  weather_meaning,
  weather_units,
  xarray_fields,
)

_METRES = ('m', 'm of water equivalent')
_HOURS, _CELLS = 73, 64  # Length of a sample, and its number of cells.
_ENOUGH = 1000  # Values with rain that tell what they are.
_SAMPLES = 5  # Of a file; as many are read until it rains in one.


def check(file: xarray_fields.XarrayFile, known: set[tuple[Any, ...]]) -> None:
  """Checks units, and after which hours amounts start again, by samples.

  Args:
    file: the file.
    known: kinds of variables that need no check any more; those of the file are
      added.

  Raises:
    ValueError: if values cannot be what they are called, or if amounts start
      again after other hours than the user says.
  """
  by_name: dict[str, list[weather_units.Record]] = {}
  for record in file.records:
    by_name.setdefault(record.where[0], []).append(record)
  for name, records in by_name.items():
    variable, kind = records[0].variable, (name, file.unit(name))
    if variable == 'tp':
      if records[0].where[1] == 'tp' and not file.steps:
        _check_amounts(file, sorted(records, key=lambda r: r.end), known)
    elif kind not in known:
      _read(file, records[:1])
      known.add(kind)


def _check_amounts(
  file: xarray_fields.XarrayFile,
  records: Sequence[weather_units.Record],
  known: set[tuple[Any, ...]],
) -> None:
  """Checks amounts of precipitation, in the order of their times."""
  name = records[0].where[0]
  ends = np.array([record.end for record in records])
  step = int(np.median(np.diff(ends))) if len(ends) > 1 else 0
  unit = file.unit(name)
  kind, subject = (name, unit, step), f'{name} in {file.path}'
  if kind in known or step > 6 * windows.HOUR:
    return
  samples = []
  last = max(len(records) - _HOURS, 0)
  for first in np.unique(np.linspace(0, last, _SAMPLES).astype(int)):
    part = slice(first, first + _HOURS)
    samples.append(_read(file, records[part]))
    if any(r.end - r.start != step for r in records[part]) and not (
      file.declared.reset_hours
    ):
      continue  # Their bounds state what they are sums of.
    if weather_meaning.check_sums(
      ends[part], samples[-1], file.declared.reset_hours, subject
    ):
      known.add(kind)
      break
  if not file.declared.precipitation_unit and unit not in _METRES:
    weather_meaning.check_unit(np.concatenate(samples), step, unit, subject)


def check_runs(files: Iterable[Any]) -> None:
  """Checks that amounts of forecast steps are sums since the run's start.

  A sample of runs is read, whose steps may lie in several files.

  Args:
    files: files of an archive; those without forecast steps are passed over.

  Raises:
    ValueError: if they are not, or if it cannot be told.
  """
  # {name and unit: {run and region: records}}.
  kinds: dict[Any, dict[Any, list[weather_units.Record]]] = {}
  for file in files:
    for run, record in getattr(file, 'steps', ()):
      name, grid = record.where[0], file.grid(record)
      region = np.asarray(grid.lats).tobytes(), np.asarray(grid.lons).tobytes()
      runs = kinds.setdefault((name, file.unit(name)), {})
      runs.setdefault((run, *region), []).append(record)
  for runs in kinds.values():
    listed = [sorted(runs[key], key=lambda r: r.end) for key in sorted(runs)]
    listed = [records for records in listed if len(records) > 1]
    if not listed:
      continue
    number = max(_SAMPLES, _SAMPLES * _HOURS // len(listed[0]))
    chosen = np.linspace(0, len(listed) - 1, min(number, len(listed)))
    _check_runs([listed[i][:_HOURS] for i in chosen.astype(int)])


def _check_runs(runs: Sequence[Sequence[weather_units.Record]]) -> None:
  """Checks runs of one kind, given by their records in order."""
  file, name = runs[0][0].file, runs[0][0].where[0]
  pairs = []
  for records in runs:
    values = np.concatenate(
      [_read(part[0].file, part) for part in _blocks(records)]
    )
    ends = np.array([record.end for record in records])
    times = np.broadcast_to(ends[:, None], values.shape)
    pairs.append([x.ravel() for x in (times[:-1], values[:-1], values[1:])])
    wet = sum((pair[2] > 0.1).sum() for pair in pairs)
    if wet > _ENOUGH:
      break
  times, before, after = (np.concatenate(part) for part in zip(*pairs))
  step = int(np.median(np.diff([record.end for record in runs[0]])))
  subject = f'{name} in {file.path}'
  reset = file.declared.reset_hours
  weather_meaning.check_run(times, before, after, step, reset, subject)


def _blocks(
  records: Sequence[weather_units.Record],
) -> Iterator[list[weather_units.Record]]:
  """Yields records that differ along one dimension of one file."""
  block: list[weather_units.Record] = []
  for record in records:
    if block and not (
      record.file is block[0].file and len(_differing([*block, record])) == 1
    ):
      yield block
      block = []
    block.append(record)
  yield block


def _differing(records: Sequence[weather_units.Record]) -> list[Any]:
  """Returns the dimensions along which some fields of a file differ."""
  first = records[0].where[2]
  return [d for d in first if any(r.where[2][d] != first[d] for r in records)]


def _read(
  file: xarray_fields.XarrayFile, records: Sequence[weather_units.Record]
) -> np.ndarray:
  """Returns some cells of fields of one variable, [T, P] K or mm."""
  name, role, index = records[0].where
  space = file.space
  side = int(_CELLS ** (1 / max(len(space), 1)))
  thin = {d: slice(None, None, -(-file.data.sizes[d] // side)) for d in space}
  dim = next(iter(_differing(records)), '')
  times = {dim: [r.where[2][dim] for r in records]} if dim else {}
  array = file.data[name].isel({**index, **times, **thin})
  first = weather_units.iso(records[0].end)
  field = f'{file.path}, {first},' if len(records) == 1 else file.path
  return weather_units.convert(
    file.values(array.transpose(..., *space), name, field).reshape(
      len(records), -1
    ),
    't2m' if role.startswith('t2m') else role,
    file.unit(name),
    max(record.end - record.start for record in records),
    field,
    file.declared,
  )
