"""Starts a pretraining run from converted or earlier weights.

Everything that the checkpoint and the model share is taken; what is new or
left out must have been named, so that nothing gets lost by a typo.
"""

import os
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
from absl import logging
from flax import traverse_util

from fusion_jax import modalities
from fusion_jax.assembly import backbone as backbone_assembly
from fusion_jax.assembly import upgrade
from fusion_jax.models import backbone
from fusion_jax.train import checkpoint
from fusion_jax.types import Config, Params

_EMBEDDINGS = (
  'encoder_embeddings',
  'decoder_embeddings',
  'modality_embeddings',
)
_SETTINGS = ('num_heads', 'mlp', 'use_bias')  # Settings that no shape shows.


def initial_params(
  config: Config, workdir: str | os.PathLike[str], mesh: jax.sharding.Mesh
) -> Params | None:
  """Returns the parameters that a run starts from, for `loop.train`.

  Args:
    config: configuration of configs/pretrain.py. `init_from` is the folder of
      the checkpoint, '' to start from scratch; `init_new` names the modalities
      that the checkpoint lacks, `init_without` those that are left out.
    workdir: work directory of the run. If the run can be resumed, nothing is
      read.
    mesh: mesh of the devices that the parameters are put on.

  Returns:
    Nested dict of arrays, without the embeddings of the new modalities, which
    stay as the model initialises them; or None.

  Raises:
    checkpoint.CheckpointError: if there is no checkpoint.
    ValueError: if the checkpoint does not fit because its model or
      standardisation is another one, or if what is new or left out is not just
      what was named.
  """
  if not config.init_from or checkpoint.list_steps(workdir):
    return None
  params, metadata = checkpoint.restore_params(config.init_from, mesh=mesh)
  stored_config = upgrade.upgrade(metadata['config'], config.init_from)
  _check_settings(config, stored_config)
  _check_places(config, params)
  params = match(
    params,
    backbone.param_shapes(backbone_assembly.make_model(config)),
    new=config.init_new,
    without=config.init_without,
    source=config.init_from,
  )
  logging.info(
    'Started from %s (step %d); new: %s; left out: %s.',
    config.init_from,
    checkpoint.find_step(config.init_from),
    ', '.join(config.init_new) or 'nothing',
    ', '.join(config.init_without) or 'nothing',
  )
  return params


def match(
  params: Params,
  model: Params,
  *,
  new: Iterable[str] = (),
  without: Iterable[str] = (),
  source: str = 'the checkpoint',
) -> Params:
  """Returns the part of the parameters of a checkpoint that a model takes.

  Args:
    params: nested dict of arrays, the parameters of the checkpoint.
    model: nested dict of shapes, the model's parameters.
    new: names of the modalities that only the model has.
    without: names of the modalities that only the checkpoint has.
    source: name of the checkpoint, for messages.

  Raises:
    ValueError: unless what only the model has are the embeddings of `new`,
      what only the checkpoint has are embeddings of `without`, and all shapes
      agree.
  """
  stored, expected = _flat(params), _flat(model)
  new_paths = {path for path in expected if _modality(path) in _names(new)}
  missing = sorted(set(expected) - set(stored) - new_paths)
  needless = sorted(new_paths & set(stored))
  surplus = set(stored) - set(expected)
  dropped = {path for path in surplus if _modality(path) in _names(without)}
  wrong = [
    f'{path} {stored[path].shape}, should be {expected[path].shape}'
    for path in sorted(set(stored) & set(expected))
    if stored[path].shape != expected[path].shape
  ]
  if missing or needless or surplus - dropped or wrong:
    raise ValueError(
      f'{source} does not fit the model. The model has, and it lacks: '
      f'{missing} (name new modalities in config.init_new). It has, and the '
      f'model lacks: {sorted(surplus - dropped)} (name modalities to leave '
      f'out in config.init_without). Named as new, but there: {needless}. '
      f'Wrong shapes: {wrong} (tables of coordinates have '
      'config.coords_vocab_size rows).'
    )
  return traverse_util.unflatten_dict(
    {path: x for path, x in stored.items() if path not in dropped}, sep='/'
  )


def _check_settings(config: Config, stored_config: Config) -> None:
  """Raises a ValueError where the weights would run but mean something else."""
  if stored_config.task != 'pretrain':
    raise ValueError(
      f'config.init_from={config.init_from} holds a model of the task '
      f'{stored_config.task!r}; expected a backbone, encoder and decoder.'
    )
  pairs = {
    f'model.{name}': (config.model[name], stored_config.model[name])
    for name in _SETTINGS
  }
  pairs['standardise'] = config.standardise, stored_config.standardise
  different = [
    f'config.{name}={configured!r}, there {stored!r}'
    for name, (configured, stored) in pairs.items()
    if configured != stored
  ]
  if different:
    raise ValueError(
      f'{config.init_from} was trained with other settings: '
      f'{"; ".join(different)}. Set them as there.'
    )
  if config.image_size != stored_config.image_size:
    logging.warning(
      'The weights of %s know images of %d pixels a side; positions are '
      'made anew for %d.',
      config.init_from,
      stored_config.image_size,
      config.image_size,
    )


def _check_places(config: Config, params: Params) -> None:
  """Warns if places would be other words than those that were trained."""
  words = pathlib.Path(config.init_from) / backbone_assembly.VOCABULARY
  names = set(config.modalities)
  reads_places = 'coords' in names and any(
    'coords' in params[kind] for kind in _EMBEDDINGS
  )
  if reads_places and not words.exists():
    logging.warning(
      '%s has no %s: the tables of places were trained with other words than '
      'those of this run, and mean nothing. Convert the file of the '
      "coordinates into that folder, or leave 'coords' out.",
      config.init_from,
      backbone_assembly.VOCABULARY,
    )


def _flat(tree: Params) -> dict[str, Any]:
  """Returns the arrays or shapes of a nested dict by their paths, 'a/b/c'."""
  return traverse_util.flatten_dict(tree, sep='/')


def _names(names: Iterable[str]) -> set[str]:
  """Returns the full names of modalities."""
  return {modalities.get(name).name for name in names}


def _modality(path: str) -> str:
  """Returns the modality that a parameter embeds, or ''."""
  kind, _, name = path.partition('/')
  return name if kind in _EMBEDDINGS else ''
