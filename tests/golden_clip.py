"""Reads the tiny CLIPs of `testdata/clip`."""

import functools
import json
import pathlib

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from fusion_jax.convert import clip as convert

_FOLDER = pathlib.Path(__file__).parent / 'testdata' / 'clip'
NAMES = ('quickgelu', 'gelu')


@functools.cache
def load(name):
  """(configuration, {key: array}) of one of `NAMES`."""
  path = _FOLDER / f'clip_tiny_{name}.safetensors'
  with safetensors.safe_open(path, 'np') as file:
    config = json.loads(file.metadata()['config'])
  return config, safetensors_numpy.load_file(path)


def weights(name):
  """The state in Hugging Face's layout."""
  return {
    key.removeprefix('param/'): value
    for key, value in load(name)[1].items()
    if key.startswith('param/')
  }


@functools.cache
def converted(name):
  """Our model and its parameters."""
  config, _ = load(name)
  return convert.from_torch(
    weights(name),
    config['hidden_act'],
    vision_heads=config['heads'],
    text_heads=config['heads'],
  )


def pixels(name):
  """The images, [B, Y, X, 3]."""
  return np.moveaxis(load(name)[1]['in/pixel_values'], 1, -1)
