"""What the run files share: the argument after the colon, and smoke sizes."""

from collections.abc import Mapping
from typing import Any

import ml_collections

# A run of two steps, to see that a configuration works.
SMOKE = dict(
  num_steps=2,
  batch_size=8,
  log_every=1,
  optimizer=dict(warmup_steps=1),
  evals=dict(every=2, num_examples=8, batch_size=8),
  checkpoint=dict(every=2),
)

# What watches over a run. `hang_s`: seconds without a finished step, outside of
# the first batch, compilation, evaluations and saves, after which it ends with
# the stacks of all processes; 0: never. Longer than the longest wait for data,
# such as for shards that are still to be fetched. `profile`: how many steps are
# traced for XProf, and after how many; the trace is in the folder `profile` of
# the work directory.
WATCH = dict(hang_s=600.0, profile=dict(start=10, steps=0))

# Data sets that tokenizers and pretraining share: fields of their recipes in
# `fusion_jax.datasets`.
SAMPLES = dict(
  source='tests/testdata/terramesh',
  weather=('tests/testdata/weather/gfs',),
)
TOKEN_EARTH = dict(seed=0, image_size=72, splits=dict(train=2_000, val=64))

# Where the data of a run are. `dir` names one data set, a folder or a URL;
# `parts` names several and their weights instead, {name: dict(dir, weight)}.
# The shards of a URL are kept in the folder `remote.cache` on a disk of each
# machine, which may take cache_gb, in 10^9 bytes. Training reads every shard,
# so it needs the room of the whole set. A request without success for
# timeout_s, of checkpoint.mirror too, ends the run.
ONE_SET = dict(parts={}, remote=dict(cache='', cache_gb=0.0, timeout_s=300.0))
# TerraMesh's two parts, each prepared by itself (`prepare terramesh --subset`),
# and their shares of the examples that are seen.
TERRAMESH = dict(name='terramesh', dir='', prepare={}, **ONE_SET)
TERRAMESH_PARTS = TERRAMESH | dict(
  parts=dict(
    ssl4eos12=dict(dir='', weight=0.8), majortom=dict(dir='', weight=0.2)
  )
)
# Of the checkpoints: how many of the latest are kept, and a URL, gs:// or s3://,
# that gets a copy of each and from which a run in an empty work directory goes
# on; '' for none.
CHECKPOINT = dict(keep=2, mirror='')


def parse(arg: str, **defaults: Any) -> Any:
  """Reads 'size=base,data=terramesh' into an attribute dict.

  Args:
    arg: comma-separated `name=value`; a bare `name` means `name=True`.
    **defaults: every argument there is, with its default; a value is read as
      its default's type.

  Returns:
    An `ml_collections.ConfigDict` whose attributes are the arguments.

  Raises:
    ValueError: for a name that is not among the defaults.
  """
  values = dict(defaults)
  for item in filter(None, arg.split(',')):
    name, _, value = item.partition('=')
    if name not in defaults:
      raise ValueError(
        f'Unknown argument {name!r} after the colon of '
        f'--config; choose among {sorted(defaults)}.'
      )
    kind = type(defaults[name])
    values[name] = (
      value in ('', 'True', 'true', '1') if kind is bool else kind(value)
    )
  return ml_collections.ConfigDict(values)


def choose(table: Mapping[str, Any], name: str, what: str) -> Any:
  """Returns `table[name]`, or raises an error that lists the choices.

  Args:
    table: choices by their names.
    name: name of the choice.
    what: name of the argument after the colon of --config.

  Raises:
    ValueError: if the table has no such name.
  """
  if name not in table:
    raise ValueError(f'{what}={name} is not one of {sorted(table)}.')
  return table[name]
