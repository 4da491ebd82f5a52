"""Converts TimeSenCLIP's encoder to a folder for `fusion_jax.load`."""

import os
import pathlib

from absl import logging

from fusion_jax.convert import checkpoints, files, timesenclip

# Fields of `PixelEncoder` that a folder stores.
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


def convert(
  source: str,
  out: str | os.PathLike[str],
  *,
  file: str = '',
  revision: str = '',
  activation: str = 'relu',
  num_heads: int = 0,
  single: str = 'mean',
) -> None:
  """Converts one file of TimeSenCLIP's encoder of pixels.

  Args:
    source: path of a file, or id on the Hugging Face hub.
    out: folder to write, for `fusion_jax.load`.
    file: file in the repository of a hub id, see `files.fetch`.
    revision: revision on the hub, see `files.fetch`.
    activation: activation of the MLPs, see `timesenclip.from_torch`.
    num_heads: number of heads, see `timesenclip.from_torch`.
    single: position of a single time step, see `PixelEncoder`.

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
    files.origin(source, path, revision),
  )
  logging.info(
    'The encoder of %d x %d pixels is in %s.', encoder.side, encoder.side, out
  )
