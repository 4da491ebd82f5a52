"""Converts any file of TerraMind to folders for `fusion_jax.load`."""

import os
import pathlib

import jax
import numpy as np
from absl import logging

from fusion_jax import checksums
from fusion_jax.assembly import backbone as backbone_assembly
from fusion_jax.assembly import encoder as encoder_assembly
from fusion_jax.assembly import upgrade
from fusion_jax.convert import (
  checkpoints,
  files,
  published,
  terramind,
  terramind_files,
  terramind_models,
  terramind_tokenizers,
)
from fusion_jax.models import backbone, coordinate_tokenizer, encoder
from fusion_jax.types import Config


def convert(
  source: str,
  out: str | os.PathLike[str],
  *,
  file: str = '',
  revision: str = '',
  variant: str = '',
  modality: str = '',
  num_heads: int = 0,
) -> None:
  """Converts one file of TerraMind.

  Args:
    source: path of a file, or id on the Hugging Face hub.
    out: folder to write: it gets the main model of the file, and other models
      below it in `sampler` and `tokenizers/<modality>`. The file of the
      coordinates becomes `coords_tokenizer.json` in it.
    file: file in the repository of a hub id, see `files.fetch`.
    revision: revision on the hub, see `files.fetch`.
    variant: expected variant of the backbone, see `terramind_models.describe`.
    modality: modality of a tokenizer whose file is not named after it.
    num_heads: number of heads of a model of no published size; 0 for heads 64
      wide.

  Raises:
    FileNotFoundError: if the source cannot be found.
    ValueError: if it does not fit, see `terramind.from_terramind`; or if the
      folder has a checkpoint already.
  """
  path = files.fetch(source, published.TERRAMIND, file=file, revision=revision)
  out = pathlib.Path(out)
  if path.suffix == '.json':
    out.mkdir(parents=True, exist_ok=True)
    coordinate_tokenizer.load(path).save(out / backbone_assembly.VOCABULARY)
    checksums.add(out, [backbone_assembly.VOCABULARY])
    logging.info('The vocabulary of coordinates is in %s.', out)
    return
  origin = files.origin(source, path, revision)
  try:
    parts = terramind_files.parts(files.read_state(path))
    plans = []
    for part in parts:  # Nothing is written before everything fits.
      if part.kind == 'tokenizer':
        name = (
          part.name
          or modality
          or terramind_files.named(f'{source} {path.name}')
        )
        plans.append(_plan_tokenizer(part, name, num_heads))
      else:
        plans.append(_plan_backbone(part, variant, num_heads))
    for part, (config, make_params) in zip(parts, plans):
      checkpoints.write(out / part.folder, make_params(), config, origin)
      logging.info('%s is in %s.', config['name'], out / part.folder)
      if part.kind != 'tokenizer':
        _say_modalities(config, out / part.folder)
  except ValueError as error:
    prefix = '' if str(path) in str(error) else f'{path}: '
    raise ValueError(f'{prefix}{error}') from error


def make_model(config: Config) -> backbone.Backbone | encoder.Encoder:
  """The `Backbone` or `Encoder` of a configuration of `describe`."""
  config = upgrade.upgrade(config)
  if config.task == 'pretrain':
    return backbone_assembly.make_model(config)
  return encoder_assembly.make_model(config)


def _plan_backbone(part, variant, num_heads):
  """Returns the configuration and a function that makes the parameters."""
  config = terramind_models.describe(part, variant=variant, num_heads=num_heads)
  rows, shapes = terramind_models.rows_and_shapes(make_model(config))
  terramind.match(part.state, rows, shapes)
  return config, lambda: terramind.from_terramind(part.state, rows, shapes)


def _plan_tokenizer(part, name, num_heads):
  """Returns the configuration of a tokenizer, and what makes its parameters."""
  config, model = terramind_models.describe_tokenizer(
    part, name, num_heads=num_heads
  )
  shapes = {
    key: jax.ShapeDtypeStruct(x.shape, np.float32)
    for key, x in part.state.items()
  }
  jax.eval_shape(
    lambda state: terramind_tokenizers.from_terramind(state, model), shapes
  )

  def make_params():
    params = terramind_tokenizers.from_terramind(part.state, model)
    return jax.tree.map(lambda x: np.asarray(x, np.float32), params)

  return config, make_params


def _say_modalities(config, out):
  names = list(config['modalities'])
  logging.info('It has the modalities %s.', ', '.join(names))
  if 'coords' in names and not (out / backbone_assembly.VOCABULARY).exists():
    logging.warning(
      'The model reads places by the vocabulary it was trained with: '
      'convert %s into %s, too. Without it places mean nothing.',
      published.COORDINATES,
      out,
    )
