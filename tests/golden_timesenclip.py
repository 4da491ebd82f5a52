"""Reads the recorded outputs of `testdata/timesenclip`."""

import functools
import json
import pathlib

import jax
import safetensors
from safetensors import numpy as safetensors_numpy

from fusion_jax.convert import timesenclip
from fusion_jax.models import pixel_encoder

_FOLDER = pathlib.Path(__file__).parent / 'testdata' / 'timesenclip'
ENCODERS = ('encoder_tiny_1x1', 'encoder_tiny_5x5')


@functools.cache
def load(name):
  """(configuration, {key: array}) of one file."""
  path = _FOLDER / f'{name}.safetensors'
  with safetensors.safe_open(path, 'np') as file:
    config = json.loads(file.metadata()['config'])
  return config, safetensors_numpy.load_file(path)


def below(arrays, prefix):
  """The arrays whose keys start so, without that start."""
  return {
    key.removeprefix(prefix): value
    for key, value in arrays.items()
    if key.startswith(prefix)
  }


@functools.cache
def converted(name):
  """Our encoder and its parameters."""
  config, arrays = load(name)
  return timesenclip.from_torch(
    below(arrays, 'param/'), num_heads=config['heads']
  )


def tiny_encoder(**changes):
  """A small `PixelEncoder` of our own."""
  settings = dict(width=32, depth=2, num_heads=4, hidden=16, output_width=24)
  return pixel_encoder.PixelEncoder(**settings | changes)


def init(encoder, **options):
  """Fresh parameters, in one program."""
  return jax.jit(functools.partial(pixel_encoder.init, encoder, **options))(
    jax.random.key(0)
  )
