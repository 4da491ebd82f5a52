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

# Data sets that tokenizers and pretraining share: fields of their recipes in
# `fusion_jax.datasets`.
SAMPLES = dict(
  source='tests/testdata/terramesh',
  weather=('tests/testdata/weather/gfs',),
)
TOKEN_EARTH = dict(seed=0, image_size=72, splits=dict(train=2_000, val=64))


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
