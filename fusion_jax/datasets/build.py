"""Writes the data set that a recipe describes."""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from absl import logging

from fusion_jax import extras, locks
from fusion_jax.data import readers
from fusion_jax.data.builders import layout
from fusion_jax.datasets import description, recipe

if TYPE_CHECKING:
  from fusion_jax.data.builders import beam_route

# Files of a data set, in the order in which they may be deleted: first what
# says that it is whole, last what says that it is one.
_FILES = (
  layout.STATISTICS,
  layout.FEATURES,
  layout.CODES,
  layout.REPORT,
  layout.CODES_REPORT,
  '*_info.json',
  f'{layout.NOTES}/*',
  f'{layout.RECORDS}*',
  'prompts/*.npz',
  'scenicness/*',
  'scores.json',
  description.FILE,
)

# Files that get another name when they are complete, and folders of such.
_TEMPORARY = re.compile(r'.*\.tmp-([0-9a-f]{32}|\d+)|\.features-.*')


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildSettings:
  """How a data set is written; its bytes do not depend on this.

  Attributes:
    num_workers: Number of processes (default: one for each processor).
    shard: Writes only every N-th shard from the I-th, I = 0 .. N-1, for a job
      array (default: all).
    max_bad: Stops if a larger share of the archive, 0 to 1, is unreadable.
      What is left out stands in report.json.
    overwrite: Replaces a data set that was made with other arguments.
    beam_runner: Writes with this runner of Apache Beam, such as DirectRunner
      or FlinkRunner; --num-workers does nothing then (default: own processes).
      Its workers see the folders that are read and written.
    beam_options: Flags of the Beam runner without their leading dashes, such
      as flink_master=host:8081.
  """

  num_workers: int = 0
  shard: tuple[int, int] = (0, 1)
  max_bad: float = 0.01
  overwrite: bool = False
  beam_runner: str = ''
  beam_options: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    if self.num_workers < 0:
      raise ValueError(
        f'num_workers={self.num_workers} is negative; write the number of '
        'processes, or 0 for one for each processor.'
      )
    if not 0 <= self.max_bad <= 1:
      raise ValueError(f'max_bad={self.max_bad} is no share from 0 to 1.')
    check_shard(self.shard)
    check_beam(self.beam_runner, self.beam_options)


def check_beam(runner: str, options: Sequence[str]) -> None:
  """Checks that flags of a Beam runner come with a runner.

  Raises:
    ValueError: if they do not.
  """
  if options and not runner:
    raise ValueError(f'--beam-options {" ".join(options)} need --beam-runner.')


def beam(runner: str, options: Sequence[str]) -> 'beam_route.Beam | None':
  """The runner of Apache Beam that settings name; None if they name none.

  Args:
    runner: name of the runner.
    options: its flags, without their leading dashes.

  Raises:
    MissingExtraError: if Beam is not installed.
  """
  if not runner:
    return None
  with extras.needed('beam', 'Writing through Apache Beam'):
    importlib.import_module('apache_beam')
  from fusion_jax.data.builders import beam_route

  return beam_route.Beam(runner, tuple(f'--{flag}' for flag in options))


def check_shard(shard: tuple[int, int]) -> None:
  """Checks the share (i, n) of a job array.

  Raises:
    ValueError: if it is not 0 <= i < n.
  """
  i, n = shard
  if not 0 <= i < n:
    raise ValueError(f'shard={shard} is not (i, n) with 0 <= i < n.')


@contextlib.contextmanager
def hold(
  folder: str | os.PathLike[str], shard: tuple[int, int]
) -> Iterator[None]:
  """Keeps other processes from writing to a data set, see `locks.hold`.

  Processes of a job array, each with its own share, write side by side.

  Args:
    folder: folder of the data set; made if need be.
    shard: share (i, n) of the process; (0, 1) is the whole data set.

  Raises:
    locks.InUseError: if another process writes to the data set, or to this
      share of it.
  """
  folder = pathlib.Path(folder)
  i, n = shard
  whole = n == 1
  with locks.hold(
    folder / ('.lock' if whole else f'.lock-{i}-of-{n}'),
    folder,
    'Choose another folder.',
    rivals='.lock*' if whole else '.lock',
  ):
    if whole:
      _remove_leftovers(folder)
    yield


def _remove_leftovers(folder: pathlib.Path) -> None:
  """Removes what killed processes left, in a folder that no other one uses."""
  for path in (*folder.glob('*'), *folder.glob('*/*')):
    if not _TEMPORARY.fullmatch(path.name):
      continue
    if path.is_dir():
      shutil.rmtree(path)
    else:
      path.unlink()


def prepare(
  dataset: recipe.Recipe,
  out: str | os.PathLike[str],
  settings: BuildSettings | None = None,
) -> pathlib.Path:
  """Writes the data set of a recipe as ArrayRecord, or finds it written.

  A build that was killed goes on with the first shard that is missing.

  Args:
    dataset: which data set, such as `datasets.Simulated(seed=0)`.
    out: folder of the data set.
    settings: how it is written; by default as `BuildSettings()`.

  Returns:
    Path of the folder.

  Raises:
    ValueError: if files do not fit the recipe, the folder holds another data
      set, or another process writes to it.
    MissingExtraError: if optional packages are not installed.
    TooManyBadExamples: if too much of the archive is unreadable.
  """
  settings = settings or BuildSettings()
  out = pathlib.Path(out)
  if _is_done(dataset, out, settings):
    logging.info('%s is already prepared.', out)
    return out
  reader = dataset.open_reader()
  with hold(out, settings.shard):
    _prepare(dataset, reader, out, settings)
  return out


def _prepare(
  dataset: recipe.Recipe,
  reader: readers.Reader,
  out: pathlib.Path,
  settings: BuildSettings,
) -> None:
  """Writes a data set to a folder that no other process writes to."""
  if settings.overwrite:
    _remove(out)
  is_new = not (out / description.FILE).exists()
  description.write(dataset, out)
  try:
    _write(dataset, reader, out, settings)
  except Exception:
    # A corrected call is not to be told that the folder holds a data set.
    # Other jobs of an array may still write theirs.
    if is_new and settings.shard == (0, 1) and _holds_no_records(out):
      (out / description.FILE).unlink()
    raise


def _holds_no_records(out: pathlib.Path) -> bool:
  """Whether no shard of a folder is written."""
  return not any(
    any(out.glob(pattern)) for pattern in (layout.RECORDS, f'{layout.NOTES}/*')
  )


def _write(
  dataset: recipe.Recipe,
  reader: readers.Reader,
  out: pathlib.Path,
  settings: BuildSettings,
) -> None:
  """Writes the files of a data set."""
  dataset.write_beside(reader, out)
  from fusion_jax.data.builders import shards

  shards.build(
    reader,
    out,
    num_workers=settings.num_workers or os.cpu_count() or 1,
    beam=beam(settings.beam_runner, settings.beam_options),
    share=settings.shard,
    max_bad=settings.max_bad,
    compression=dataset.compression,
    command=shlex.join(sys.argv),
  )


def _is_done(
  dataset: recipe.Recipe, out: pathlib.Path, settings: BuildSettings
) -> bool:
  """Whether a folder holds just this data set.

  Raises:
    ValueError: if it holds another one, and `settings.overwrite` is false.
  """
  if not (out / description.FILE).exists():
    if any(out.glob(layout.RECORDS)):
      raise ValueError(
        f'{out} holds records of unknown origin (there is no '
        f'{description.FILE}); choose another folder.'
      )
    if (out / layout.STATISTICS).exists():  # Those of a run are not replaced.
      raise ValueError(
        f'{out} holds a run or weights: there is {layout.STATISTICS}, but no '
        f'{description.FILE}; choose another folder.'
      )
    return False
  if settings.overwrite:
    if settings.shard != (0, 1):
      raise ValueError(
        '--overwrite and --shard together would delete what the other jobs '
        f'write; delete {out} first.'
      )
    return False
  try:
    changed = description.differences(description.read(out), dataset)
  except ValueError as error:
    raise ValueError(
      f'{error} Choose another folder, or pass --overwrite to replace the '
      'data set.'
    ) from error
  if changed:
    listed = ', '.join(
      f'{name}={old!r} (now {new!r})' for name, (old, new) in changed.items()
    )
    raise ValueError(
      f'{out} holds a data set made with other arguments: {listed}. Choose '
      'another folder, or replace it by fusion-jax prepare with --overwrite.'
    )
  return layout.is_complete(out)


def _remove(out: pathlib.Path) -> None:
  """Deletes the files of a data set, and nothing else."""
  shutil.rmtree(out / layout.SCRATCH, ignore_errors=True)
  for pattern in _FILES:
    for path in out.glob(pattern):
      path.unlink()
