"""Reads the golden tokenizers of `testdata/terramind`: models, arrays."""

import functools
import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import numpy as safetensors

from fusion_jax.convert import terramind_tokenizers

_FOLDER = pathlib.Path(__file__).parent / 'testdata' / 'terramind'
NUM_HEADS = 4  # Of both cases: heads of 16, which no file tells.


class Case(NamedTuple):
  """One golden case, images turned to channels last."""

  weights: dict[str, np.ndarray]
  io: dict[str, np.ndarray]
  model: Any
  params: Any

  def inputs(self, name):
    return _channels_last(self.io[f'inputs/{name}'])

  def __getitem__(self, name):
    return _channels_last(self.io[f'outputs/{name}'])

  def names(self, prefix):
    """What follows `prefix` in the names of outputs."""
    start = f'outputs/{prefix}'
    return sorted(
      key.removeprefix(start) for key in self.io if key.startswith(start)
    )


@functools.cache
def load(name):
  """The case called `name`, 'diffusion' or 'lulc'."""
  read = safetensors.load_file
  weights = read(_FOLDER / f'tokenizer_{name}.weights.safetensors')
  model = terramind_tokenizers.model_of(weights, NUM_HEADS)
  return Case(
    weights,
    read(_FOLDER / f'tokenizer_{name}.io.safetensors'),
    model,
    terramind_tokenizers.from_terramind(weights, model),
  )


@functools.cache
def config(name):
  return json.loads((_FOLDER / f'tokenizer_{name}.json').read_text())


@functools.cache
def compiled(name, method, **static):
  """A jitted method of a case's model, with its parameters bound."""
  case = load(name)
  call = jax.jit(functools.partial(case.model.apply, method=method, **static))
  return functools.partial(call, {'params': case.params})


def _channels_last(array):
  return np.moveaxis(array, -3, -1) if array.ndim >= 4 else array
