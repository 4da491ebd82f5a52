"""The command `convert terramind`: any of its files to folders of ours."""

import pathlib

import ml_collections
from absl import logging

from fusion_jax import released_encoder
from fusion_jax.convert import (
  checkpoints,
  files,
  terramind,
  terramind_files,
)
from fusion_jax.models import coordinate_tokenizer
from fusion_jax.tasks import pretrain

DESCRIPTION = "TerraMind's backbones, encoders, tokenizers and coordinates"
_COORDINATES = 'coords_tokenizer.json'


def add_arguments(parser):
  """Adds what only this command takes."""
  parser.epilog = 'Known ids: ' + ', '.join(terramind_files.PUBLISHED)
  add = parser.add_argument
  add('--variant', default='', choices=['', *terramind_files.VARIANTS],
      help='what the backbone should be; anything else is an error (default: '
      'what it is)')
  add('--num_heads', type=int, default=0, metavar='N',
      help='of a model of no published size (default: heads 64 wide)')


def convert(source, out, *, file='', revision='', variant='', num_heads=0):
  """Converts one file of TerraMind.

  Args:
    source: file or hub id.
    out: folder to write: the main model of the file in it; others below it,
      `sampler` and `tokenizers/<modality>`. The file of the coordinates
      becomes `coords_tokenizer.json` in it.
    file: see `files.fetch`.
    revision: likewise.
    variant: see `terramind_files.describe`.
    num_heads: likewise.

  Raises:
    FileNotFoundError: if the source cannot be found.
    ValueError: if it does not fit, see `terramind.from_terramind`; or if the
      folder has a checkpoint already.
  """
  path = files.fetch(source, terramind_files.PUBLISHED, file=file,
                     revision=revision)
  out = pathlib.Path(out)
  if path.suffix == '.json':
    out.mkdir(parents=True, exist_ok=True)
    coordinate_tokenizer.load(path).save(out / _COORDINATES)
    logging.info('The vocabulary of coordinates is in %s.', out)
    return
  origin = {'source': source, 'file': path.name, 'revision': revision,
            'sha256': files.digest(path)}
  try:
    parts = terramind_files.parts(files.read_state(path))
    plans = [_plan(part, variant, num_heads) for part in parts]
    for part, plan in zip(parts, plans):  # Nothing is written before all fit.
      _write(part, *plan, out / part.folder, origin)
  except ValueError as error:
    named = '' if str(path) in str(error) else f'{path}: '
    raise ValueError(f'{named}{error}') from error


def make_model(config):
  """The `Backbone` or `Encoder` of a configuration of `describe`."""
  config = ml_collections.ConfigDict(config)
  if config.task == 'pretrain':
    return pretrain.make_backbone(config)
  return released_encoder.make_encoder(config)


def _plan(part, variant, num_heads):
  """Configuration, table and shapes of a part, once its keys fit them."""
  config = terramind_files.describe(
      part, variant=variant, num_heads=num_heads)
  rows, shapes = terramind_files.rows_and_shapes(make_model(config))
  terramind.match(part.state, rows, shapes)
  return config, rows, shapes


def _write(part, config, rows, shapes, out, origin):
  params = terramind.from_terramind(part.state, rows, shapes)
  checkpoints.write(out, params, config, origin)
  names = list(config['modalities'])
  logging.info('%s is in %s. Modalities: %s.', config['name'], out,
               ', '.join(names))
  if 'coords' in names and not (out / _COORDINATES).exists():
    logging.warning(
        'The model reads places by the vocabulary it was trained with: '
        'convert %s into %s, too. Without it places mean nothing.',
        terramind_files.COORDINATES, out)
