"""Opens the files of an archive of weather, whatever else lies beside them.

A folder may hold indexes, other variables and files that a broken download cut
off. What holds no weather is passed over, what is damaged is named; neither is
a reason to stop as long as the rest is enough.
"""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from fusion_jax import extras
from fusion_jax.data import windows
from fusion_jax.data.sources import (
  netcdf,
  weather_units,
  xarray_checks,
  xarray_fields,
  xarray_times,
)

_NO_WEATHER = ('.md', '.idx', '.txt', '.csv', '.json', '.anl', '.log', '.html')
_WEATHER = ('.nc', '.nc4', '.cdf', '.grib', '.grib1', '.grib2', '.grb', '.grb2')
_NAMED = 3  # As many files of a kind are named in a line of the log.


@dataclasses.dataclass(frozen=True)
class DamagedFile:
  """A file of which nothing can be read.

  Attributes:
    path: path of the file.
    reason: what is wrong with it.
  """

  path: str
  reason: str


@dataclasses.dataclass(frozen=True)
class Archive:
  """The files of an archive.

  Attributes:
    files: the files with weather, of `grib` and `xarray_fields`.
    damaged: files of which nothing can be read.
    passed_over: files of folders that hold no weather, and what they are.
    left_out: fields that are not used, by the reason.
  """

  files: Sequence[Any]
  damaged: Sequence[DamagedFile]
  passed_over: Mapping[str, str]
  left_out: Mapping[str, int]


def open_all(
  paths: Sequence[str],
  names: Mapping[str, Sequence[str]],
  declared: weather_units.Declared,
) -> Archive:
  """Scans the heads of all files, and logs what is not read.

  Args:
    paths: files, Zarr folders, or folders of files.
    names: {role: variable names}, as `gridded.NAMES`.
    declared: what the user says of the files.

  Raises:
    ValueError: if no weather is left; if a file does not say what its values
      are; if there are several ensemble members and none is chosen; or if no
      value belongs to a whole hour.
  """
  files, damaged, passed_over = [], [], {}
  problem = None
  known: set[tuple[Any, ...]] = set()
  for path, is_named in _listed(paths):
    if not is_named and path.suffix.lower() in _NO_WEATHER:
      passed_over[str(path)] = f'{path} ends with {path.suffix}'
      continue
    try:
      file = _open(path, names, declared, is_named)
      if isinstance(file, xarray_fields.XarrayFile):
        xarray_checks.check(file, known)
    except weather_units.NoWeatherError as error:
      problem = problem or error
      if is_named:
        raise
      passed_over[str(path)] = str(error)
      continue
    except weather_units.DamagedFileError as error:
      problem = error
      damaged.append(DamagedFile(str(path), str(error)))
      continue
    for number, reason in getattr(file, 'damaged', ()):
      logging.warning('Left out message %d of %s: %s.', number, path, reason)
    files.append(file)
  xarray_checks.check_runs(files)
  _check_some(paths, files, problem)
  for damage in damaged:
    logging.warning('Left out a file: %s', damage.reason)
  _say(passed_over)
  _check_members(files, declared)
  return Archive(files, damaged, passed_over, _left_out(files))


def _listed(
  paths: Iterable[str | pathlib.Path], is_named: bool = True
) -> Iterator[tuple[pathlib.Path, bool]]:
  """Yields files and Zarr stores; another folder stands for its content.

  Yields:
    The path, and whether the user named it rather than its folder.
  """
  for path in map(pathlib.Path, paths):
    if path.is_dir() and not xarray_times.is_zarr(path):
      yield from _listed(sorted(path.iterdir()), False)
    else:
      yield path, is_named


def _open(
  path: pathlib.Path,
  names: Mapping[str, Sequence[str]],
  declared: weather_units.Declared,
  is_named: bool,
) -> Any:
  """Opens the file of a path, by its content.

  Raises:
    weather_units.NoWeatherError: if it is of no known kind.
    weather_units.DamagedFileError: if it is called weather, but is none.
  """
  if xarray_times.is_zarr(path):
    return xarray_fields.XarrayFile(str(path), names, declared)
  with open(path, 'rb') as file:
    head = file.read(1024)
  if head.startswith((netcdf.CLASSIC, netcdf.HDF5)):
    return xarray_fields.XarrayFile(str(path), names, declared)
  # After NetCDF, whose attributes may say GRIB; bulletins begin a little later.
  if b'GRIB' in head:
    with extras.needed('weather', 'Reading GRIB'):
      try:
        from fusion_jax.data.sources import grib
      except RuntimeError as error:  # ecCodes has no C library.
        raise ImportError(str(error), name='eccodes') from error
    roles = {role: names[role] for role in ('t2m', 'tp', 'rate')}
    return grib.GribFile(str(path), roles, declared)
  message = (
    f'{os.fspath(path)} is neither GRIB, NetCDF nor Zarr (it '
    f'starts with {head[:4]!r}).'
  )
  if path.suffix.lower() in _WEATHER and not is_named:
    raise weather_units.DamagedFileError(f'{message} Fetch it again.')
  raise weather_units.NoWeatherError(message)


def _say(passed_over: Mapping[str, str]) -> None:
  """Logs which files hold no weather, in one line for each ending."""
  by_ending = collections.defaultdict(list)
  for path, reason in passed_over.items():
    by_ending[pathlib.Path(path).suffix].append((path, reason))
  for listed in by_ending.values():
    more = len(listed) - _NAMED
    logging.warning(
      'Passed over files without weather (%d): %s%s.',
      len(listed),
      '; '.join(reason.rstrip('.') for _, reason in listed[:_NAMED]),
      f'; and {more} more' if more > 0 else '',
    )


def _check_some(
  paths: Sequence[str], files: Sequence[Any], problem: ValueError | None
) -> None:
  """Checks that something is left to read."""
  if any(file.records for file in files):
    return
  bad = [
    f'{file.path}, message {number}: {reason}'
    for file in files
    for number, reason in getattr(file, 'damaged', ())
  ]
  if bad:
    raise ValueError(
      f'No message with weather is whole; {bad[0]} ({len(bad)} in all). Fetch '
      'the files again.'
    )
  if problem is not None:
    raise problem
  raise ValueError(f'{", ".join(paths)} holds no weather.')


def _check_members(
  files: Sequence[Any], declared: weather_units.Declared
) -> None:
  """Checks that all fields are of one ensemble member.

  Raises:
    ValueError: if they are of several; names two files and their members.
  """
  if declared.member:
    return
  first: dict[str, str] = {}
  for file in files:
    for member in sorted(file.members, key=lambda name: (len(name), name)):
      first.setdefault(member, file.path)
  if len(first) > 1:
    listed = ', '.join(f'{name} ({path})' for name, path in first.items())
    raise ValueError(
      f'The weather has {len(first)} members of an ensemble '
      f'(perturbationNumber of GRIB, or a dimension of NetCDF): {listed}. '
      f'Choose one with --member {next(iter(first))}.'
    )


def _left_out(files: Sequence[Any]) -> dict[str, int]:
  """Counts fields that are of no whole hour or of no date, and says so.

  Raises:
    ValueError: if all of a variable are off the hour.
  """
  left_out = {}
  if undated := sum(getattr(file, 'num_undated', 0) for file in files):
    left_out['no date'] = undated
  records = [record for file in files for record in file.records]
  for variable in ('t2m', 'tp'):
    times = [r for r in records if r.variable == variable]
    off = [r for r in times if r.end % windows.HOUR]
    whole = {t % windows.HOUR for r in times for t in (r.start, r.end)}
    if times and (len(off) == len(times) or 0 not in whole):
      raise ValueError(
        f'{variable} in {off[0].file.path} is given at '
        f'{weather_units.iso(off[0].end)} and at no whole hour; interpolate it '
        'to whole hours, or shift its times by what they are off.'
      )
    if variable == 't2m' and off:
      left_out['off the hour'] = len(off)
  for reason, number in left_out.items():
    logging.warning('Left out %d fields: %s.', number, reason)
  return left_out
