"""What a model was trained on, in words that go with each of its results.

A model of the simulated Earth looks like one of measured data: it loads, maps
and draws. So a run writes down what it was trained on, and everything made with
the model repeats it.
"""

import datetime
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from fusion_jax.data import mixtures, normalize
from fusion_jax.train import checkpoint
from fusion_jax.types import Config

FILE = 'trained_on.json'  # In the work directory of a run.
_DESCRIPTION = 'prepare.json'  # Of a data set, see `datasets.description`.
_OWN = 'samples', 'series'  # Of a user; the name of the folder tells which.
_SIMULATED = {
  'simulated': 'the simulated Earth (no measured data)',
  'simulated_pixels': "the simulated Earth's pixels (no measured data)",
}


def write(
  workdir: pathlib.Path, config: Config, data_dir: pathlib.Path
) -> None:
  """Writes what a run is trained on beside its checkpoints.

  Args:
    workdir: work directory of the run.
    config: its configuration.
    data_dir: folder of its data set, or of the mixture of its data sets.
  """
  content = _content(config, normalize.load_statistics(data_dir))
  folders = [data_dir]
  if (data_dir / mixtures.FILE).exists():
    mixture = json.loads((data_dir / mixtures.FILE).read_text())
    folders = [pathlib.Path(folder) for folder, _ in mixture.values()]
  content['data'] = [
    _name(folder) or name
    for folder, name in zip(folders, content['data'], strict=True)
  ]
  base = config.to_dict().get('init_from')
  if base:
    content['started_from'] = _describe_base(base)
  content['begun'] = datetime.datetime.now(datetime.UTC).date().isoformat()
  (workdir / FILE).write_text(json.dumps(content, indent=1) + '\n')


def describe(
  folder: str | os.PathLike[str], config: Config, metadata: Mapping[str, Any]
) -> str:
  """Says what a model was trained on.

  Args:
    folder: work directory of a run, or folder that `convert` wrote.
    config: configuration of the model, up to date.
    metadata: metadata of its checkpoint; converted ones name a source.

  Returns:
    Words that go on after 'a model ', such as 'trained on the simulated Earth
    (no measured data), 6,000 examples of 2026-11-30'.
  """
  source = metadata.get('source')
  if source:
    parts = [source.get('source', ''), source.get('file', '')]
    # A hub's id says more than the path of a file on some machine.
    named = [part for part in parts if part and not os.path.isabs(part)]
    known = ', '.join(dict.fromkeys(named)) or parts[-1]
    return f'converted from {known or "a file that it does not name"}'
  path = pathlib.Path(folder) / FILE
  if path.exists():
    return _sentence(_read(path))
  statistics = pathlib.Path(folder) / 'statistics.json'
  stored = json.loads(statistics.read_text()) if statistics.exists() else {}
  content = _content(config, stored)
  if config.to_dict().get('data', {}).get('dir'):
    # A run of an earlier version on data that its configuration may miscall.
    content['data'] = [
      f'data that its configuration calls {name}' for name in content['data']
    ]
  return _sentence(content)


def _content(config: Config, statistics: Mapping[str, Any]) -> dict[str, Any]:
  """Returns which data a run reads, how many examples, and from when."""
  fields = config.to_dict()  # A converted model has no data.
  data = fields.get('data', {})
  parts = data.get('parts', {})
  return {
    'data': sorted(n for n, p in parts.items() if p['weight'])
    or [data.get('name', '')],
    'examples': statistics.get('num_examples', {}).get('train', 0),
    'prepared': statistics.get('created', '')[:10],
    'started_from': pathlib.Path(fields.get('init_from', '')).name,
  }


def _describe_base(folder: str) -> str:
  """Returns what the weights are that a run starts from."""
  step = checkpoint.find_step(folder, 'last')
  metadata = checkpoint.read_metadata(folder, step)
  config = ml_collections.ConfigDict(metadata['config'])
  return f'{pathlib.Path(folder).name}, {describe(folder, config, metadata)}'


def _name(folder: pathlib.Path) -> str:
  """Returns the name of a prepared data set; '' if its folder has none.

  The configuration may call it otherwise: own samples are trained with the
  configuration of TerraMesh.
  """
  path = folder / _DESCRIPTION
  if not path.exists():
    return ''
  name = json.loads(path.read_text()).get('dataset', '')
  return f'{name} {folder.name!r}' if name in _OWN else name


def _read(path: pathlib.Path) -> dict[str, Any]:
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(
      f'{path} is damaged ({error}); copy it again, or remove it: then the '
      'configuration alone says what the model was trained on.'
    ) from error


def _sentence(content: Mapping[str, Any]) -> str:
  """Returns the words of `describe`."""
  names: list[str] = [
    _SIMULATED.get(name) or name for name in content['data'] if name
  ]
  text = f'trained on {", ".join(names) or "data that it does not name"}'
  if content['examples']:
    text += f', {content["examples"]:,} examples'
  if content['prepared']:
    text += f' of {content["prepared"]}'
  if content['started_from']:
    text += f'; from the weights {content["started_from"]}'
  return text
