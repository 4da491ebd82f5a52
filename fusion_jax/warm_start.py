"""Starts a pretraining run from converted or earlier weights.

Everything that the checkpoint and the model share is taken; what is new or
left out must have been named, so that nothing gets lost by a typo.
"""

import pathlib

from absl import logging
from flax import traverse_util

from fusion_jax import modalities
from fusion_jax.assembly import upgrade
from fusion_jax.models import backbone
from fusion_jax.tasks import pretrain
from fusion_jax.train import checkpoint

_EMBEDDINGS = (
  'encoder_embeddings',
  'decoder_embeddings',
  'modality_embeddings',
)
_SETTINGS = ('num_heads', 'mlp', 'use_bias')  # Of the model; in no shape.


def initial_params(config, workdir, mesh):
  """The parameters that a run starts from, for `loop.train`.

  Args:
    config: of configs/pretrain.py: `init_from` is the folder of the
      checkpoint, '' to start from scratch; `init_new` names the modalities
      that the checkpoint lacks, `init_without` those that are left out.
    workdir: of the run. If it can be resumed, nothing is read.
    mesh: to put the parameters on.

  Returns:
    Nested dict of arrays, without the embeddings of the new modalities, which
    stay as the model initialises them; or None.

  Raises:
    checkpoint.CheckpointError: if there is no checkpoint.
    ValueError: if it does not fit: another model or standardisation; or if
      what is new or left out is not just what was named.
  """
  if not config.init_from or checkpoint.list_steps(workdir):
    return None
  params, metadata = checkpoint.restore_params(config.init_from, mesh=mesh)
  _check_settings(config, upgrade.upgrade(metadata['config'], config.init_from))
  _check_places(config, params)
  model = backbone.param_shapes(pretrain.make_backbone(config))
  params = match(
    params,
    model,
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


def match(params, model, *, new=(), without=(), source='the checkpoint'):
  """The part of `params` that a model takes.

  Args:
    params: nested dict of arrays.
    model: nested dict of shapes, the model's parameters.
    new: modalities that only the model has.
    without: modalities that only `params` have.
    source: name of the checkpoint, for messages.

  Raises:
    ValueError: unless what only the model has are the embeddings of `new`,
      what only `params` have embeddings of `without`, and all shapes agree.
  """
  had, wanted = (
    traverse_util.flatten_dict(tree, sep='/') for tree in (params, model)
  )
  expected = {path for path in wanted if _modality(path) in _names(new)}
  lacking = sorted(set(wanted) - set(had) - expected)
  needless = sorted(expected & set(had))
  surplus = set(had) - set(wanted)
  dropped = {path for path in surplus if _modality(path) in _names(without)}
  wrong = [
    f'{path} {had[path].shape}, should be {wanted[path].shape}'
    for path in sorted(set(had) & set(wanted))
    if had[path].shape != wanted[path].shape
  ]
  if lacking or needless or surplus - dropped or wrong:
    raise ValueError(
      f'{source} does not fit the model. The model has, and it lacks: '
      f'{lacking} (name new modalities in config.init_new). It has, and the '
      f'model lacks: {sorted(surplus - dropped)} (name modalities to leave '
      f'out in config.init_without). Named as new, but there: {needless}. '
      f'Wrong shapes: {wrong} (tables of coordinates have '
      'config.coords_vocab_size rows).'
    )
  return traverse_util.unflatten_dict(
    {path: x for path, x in had.items() if path not in dropped}, sep='/'
  )


def _check_settings(config, theirs):
  """Raises where the weights would run and mean something else."""
  if theirs.task != 'pretrain':
    raise ValueError(
      f'config.init_from={config.init_from} holds a model of the task '
      f'{theirs.task!r}; wanted is a backbone, encoder and decoder.'
    )
  pairs = {
    f'model.{name}': (config.model[name], theirs['model'][name])
    for name in _SETTINGS
  }
  pairs['standardise'] = config.standardise, theirs['standardise']
  different = [
    f'config.{name}={ours!r}, there {their!r}'
    for name, (ours, their) in pairs.items()
    if ours != their
  ]
  if different:
    raise ValueError(
      f'{config.init_from} was trained with other settings: '
      f'{"; ".join(different)}. Set them as there.'
    )
  if config.image_size != theirs['image_size']:
    logging.warning(
      'The weights of %s know images of %d pixels a side; positions are '
      'made anew for %d.',
      config.init_from,
      theirs['image_size'],
      config.image_size,
    )


def _check_places(config, params):
  """Warns if places would be other words than those that were trained."""
  words = pathlib.Path(config.init_from) / pretrain.VOCABULARY
  taken = 'coords' in config.modalities and any(
    'coords' in params[kind] for kind in _EMBEDDINGS
  )
  if taken and not words.exists():
    logging.warning(
      '%s has no %s: the tables of places were trained with other words than '
      'those of this run, and mean nothing. Convert the file of the '
      "coordinates into that folder, or leave 'coords' out.",
      config.init_from,
      pretrain.VOCABULARY,
    )


def _names(names):
  return {modalities.get(name).name for name in names}


def _modality(path):
  """The modality that a parameter embeds, or ''."""
  kind, _, name = path.partition('/')
  return name if kind in _EMBEDDINGS else ''
