"""What lies beside the checkpoints of a run because its model needs it."""

import json
import math
import pathlib
import shutil

import jax

from fusion_jax import checksums
from fusion_jax.assembly import backbone, provenance
from fusion_jax.data.builders import mean_ranges
from fusion_jax.models import series_codes
from fusion_jax.train import checkpoint, processes, recovery

STATISTICS = 'statistics.json'


def check(workdir: pathlib.Path, data_dir: pathlib.Path) -> None:
  """Checks what a run that has begun keeps; all processes call it.

  Args:
    workdir: work directory of the run.
    data_dir: folder of its data set.

  Raises:
    CheckpointError: in every process, if a kept file is damaged.
    ValueError: if the run began with data of other statistics.
  """
  damage = ''
  if jax.process_index() == 0:
    try:
      recovery.check_beside(workdir)
    except checkpoint.CheckpointError as error:
      damage = str(error)
  if damage := processes.from_first(damage):
    raise checkpoint.CheckpointError(damage)
  kept = workdir / STATISTICS
  if kept.exists() and not _agree(kept, data_dir / STATISTICS):
    raise ValueError(
      f'The run in {workdir} began with other data than those in {data_dir}: '
      'their statistics differ. Name the data that it began with, or another '
      '--workdir.'
    )


def keep(workdir: pathlib.Path, data_dir: pathlib.Path, anew: bool) -> None:
  """Copies the statistics, and notes checksums of all that is kept.

  Args:
    workdir: work directory of the run.
    data_dir: folder of the run's data set.
    anew: whether to replace statistics and checksums that an attempt without a
      checkpoint left in the work directory.
  """
  kept = workdir / STATISTICS
  if anew or not kept.exists():
    shutil.copyfile(data_dir / STATISTICS, kept)
  files = [
    kept,
    workdir / backbone.VOCABULARY,
    workdir / provenance.FILE,
    *sorted(workdir.glob(f'{series_codes.FOLDER}/*.msgpack')),
  ]
  names = [str(x.relative_to(workdir)) for x in files if x.exists()]
  checksums.add(workdir, names, anew)


def _agree(*paths: pathlib.Path) -> bool:
  """Whether two files of statistics are equal, up to the last digits."""
  old, new = (json.loads(path.read_text()) for path in paths)
  for name in ('version', 'command', 'created', mean_ranges.NAME):
    old.pop(name, None)
    new.pop(name, None)
  if jax.tree.structure(old) != jax.tree.structure(new):
    return False
  return all(
    a == b
    if isinstance(a, str) or isinstance(b, str)
    else math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-9)
    for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new))
  )
