"""Checks of a configuration before any work is done for it.

Values that no run can have would else be met after the data were prepared, or
deep in a model, without the name of their field.
"""

import math
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fusion_jax.train import optim

# Names of fields that count something there has to be.
_COUNTS = re.compile(
  r'(.*_)?(width|depth|num_heads|image_size|patch_size|batch_size|vocab_size|'
  r'hidden|num_bands|num_steps|accumulate)'
)
_NO_NUMBERS = ('prepare',)  # Recipes of data sets check their own fields.


def check(config: Any) -> None:
  """Checks the fields that can be checked without data.

  Args:
    config: configuration of a run, brought up to date.

  Raises:
    ValueError: names the field, its value and what it may be.
  """
  for field, value in _leaves(config.to_dict()):
    name = field.rpartition('.')[2]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      continue
    if math.isnan(value):
      raise ValueError(f'config.{field}={value}; set it to a number.')
    if _COUNTS.fullmatch(name) and value < 1:
      raise ValueError(f'config.{field}={value}; set it to 1 or more.')
    if name == 'dropout' and not 0 <= value < 1:
      raise ValueError(f'config.{field}={value} is not in [0, 1).')
  _check_heads(config)
  _check_folders(config)
  optimizer = config.optimizer.to_dict()
  if not optimizer.get('warmup_tokens'):  # Else the task knows its length.
    optim.make(optimizer, config.num_steps)


def _leaves(
  fields: Mapping[str, Any], prefix: str = ''
) -> Iterator[tuple[str, Any]]:
  """Yields (path of a field, its value), without those of recipes."""
  for name, value in fields.items():
    if name in _NO_NUMBERS:
      continue
    if isinstance(value, Mapping):
      yield from _leaves(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value


def _check_heads(config: Any) -> None:
  """Checks that the heads of an attention divide its width."""
  fields = dict(_leaves(config.to_dict()))
  for field, heads in fields.items():
    section, _, name = field.rpartition('.')
    width = fields.get(f'{section}.width')
    if name == 'num_heads' and width and width % heads:
      raise ValueError(
        f'config.{field}={heads} does not divide {section}.width={width}; set '
        'one of them so that it does.'
      )


def _check_folders(config: Any) -> None:
  """Checks that folders which a run reads are there."""
  data = config.data
  folders = {
    field: value
    for field, value in _leaves(config.to_dict())
    if field == 'init_from'
  }
  if not data.prepare and '://' not in data.dir:  # Else a run makes it.
    folders['data.dir'] = data.dir
  for field, folder in folders.items():
    if folder and not pathlib.Path(folder).is_dir():
      raise ValueError(
        f'config.{field}={folder} is no folder; give the path of a folder that '
        'exists.'
      )
