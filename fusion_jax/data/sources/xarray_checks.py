"""Looks at some values of a NetCDF file or Zarr store before all are read."""

from collections.abc import Sequence
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
      if records[0].where[1] == 'tp' and 'step' not in file.data.coords:
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
    if weather_meaning.check_sums(
      ends[part], samples[-1], file.declared.reset_hours, subject
    ):
      known.add(kind)
      break
  if not file.declared.precipitation_unit and unit not in _METRES:
    weather_meaning.check_unit(np.concatenate(samples), step, unit, subject)


def _read(
  file: xarray_fields.XarrayFile, records: Sequence[weather_units.Record]
) -> np.ndarray:
  """Returns some cells of fields of one variable, [T, P] K or mm."""
  name, role, index = records[0].where
  space = file.space
  side = int(_CELLS ** (1 / max(len(space), 1)))
  thin = {d: slice(None, None, -(-file.data.sizes[d] // side)) for d in space}
  dim = next((d for d in xarray_fields.TIMES if d in index), '')
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
