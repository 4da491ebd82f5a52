"""The command `convert timesenclip`: a published encoder to our folder."""

import pathlib

from absl import logging

from fusion_jax.convert import checkpoints, files, timesenclip

# Fields of `PixelEncoder` that a folder keeps.
_FIELDS = (
  'width',
  'depth',
  'num_heads',
  'hidden',
  'output_width',
  'num_bands',
  'side',
  'activation',
  'dropout',
  'single',
  'kept',
  'unroll',
)
DESCRIPTION = "TimeSenCLIP's encoder of pixels, alone or in a training run"


def add_arguments(parser):
  """Adds what only this command takes."""
  add = parser.add_argument
  add(
    '--activation',
    default='relu',
    choices=('relu', 'gelu'),
    help='what the weights were trained with (default: %(default)s, as in '
    'all public code; the paper names the GELU)',
  )
  add(
    '--num_heads',
    type=int,
    default=0,
    metavar='N',
    help='of the attention (default: heads 64 wide)',
  )
  add(
    '--single',
    default='mean',
    choices=('mean', 'first'),
    help='position of a single time step: the mean of the twelve, or '
    "January's as the newest public code (default: %(default)s)",
  )


def convert(
  source,
  out,
  *,
  file='',
  revision='',
  activation='relu',
  num_heads=0,
  single='mean',
):
  """Converts one file.

  Args:
    source: file or hub id.
    out: folder to write, for `fusion_jax.load`.
    file: see `files.fetch`.
    revision: likewise.
    activation: see `timesenclip.from_torch`.
    num_heads: likewise.
    single: see `PixelEncoder`.

  Raises:
    FileNotFoundError: if the source cannot be found.
    ValueError: if the weights do not fit, see `timesenclip.from_torch`; or if
      the folder has a checkpoint already.
  """
  path = files.fetch(source, {}, file=file, revision=revision)
  try:
    encoder, params = timesenclip.from_torch(
      files.read_state(path), num_heads=num_heads, activation=activation
    )
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  encoder = encoder.clone(single=single)
  model = {name: getattr(encoder, name) for name in _FIELDS}
  # Bands B2 .. B12 in order: older public loaders mixed them up.
  config = {
    'name': pathlib.Path(out).name,
    'task': 'pixel_encoder',
    'model': model | {'dtype': 'float32', 'factored_first_layer': 'auto'},
    'scaling': 'published',
    'missing_bands': [],
  }
  checkpoints.write(
    out,
    {'encoder': params},
    config,
    {
      'source': source,
      'file': path.name,
      'revision': revision,
      'sha256': files.digest(path),
    },
  )
  logging.info(
    'The encoder of %d x %d pixels is in %s.', encoder.side, encoder.side, out
  )
