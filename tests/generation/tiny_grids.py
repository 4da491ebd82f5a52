"""A tiny model of grids whose distributions can be written out."""

import dataclasses
import functools

import jax
import numpy as np

from fusion_jax import modalities
from fusion_jax.data import masking
from fusion_jax.generation import grids
from fusion_jax.models import backbone as backbone_lib

DEM, LULC, NDVI = 'tok_dem@224', 'tok_lulc@224', 'tok_ndvi@224'
CODES = {DEM: 5, LULC: 3, NDVI: 4, 'coords': 12}  # Vocabularies.
INPUTS = {
  DEM: np.array([[3, 1], [4, 0]]),
  'coords': np.array([7, 11, 3]),
  'untok_dem@224': np.linspace(-2, 2, 32 * 32).reshape(32, 32, 1),
}


def make(grid=(2, 2), unseen=()):
  """Backbone and parameters for grids of codes; images have 2 x 2 patches."""
  names = [DEM, LULC, NDVI, 'coords', 'untok_dem@224']
  selected = tuple(
    dataclasses.replace(
      m, vocab_size=CODES.get(m.name, 0), seen=m.name not in unseen
    )
    for m in modalities.select(names, image_size=32)
  )
  backbone = backbone_lib.Backbone(
    selected, 16, 1, 1, 2, image_size=32, grid=grid
  )
  return backbone, _params(backbone)


@functools.cache
def _params(backbone):
  rng = np.random.default_rng(4)

  def weights(path, x):  # Large, so that codes depend on inputs.
    noise = rng.normal(size=x.shape).astype(np.float32)
    name = jax.tree_util.keystr(path)
    if 'norm' in name:
      return 1 + 0.1 * noise
    return (0.4 if 'decoder_embeddings' in name else 0.5) * noise

  shapes = backbone_lib.param_shapes(backbone)
  return jax.tree_util.tree_map_with_path(weights, shapes)


def show(backbone, examples, num_slots=12):
  """Encoder slots [B, N] that show {name: tensor} of each example."""
  return _stack(
    masking.pack_inputs(
      {
        name: {'tensor': x, 'input_mask': np.zeros(_size(x), bool)}
        for name, x in example.items()
      },
      backbone.modalities,
      num_slots,
    )
    for example in examples
  )


def examples(count):
  """Different inputs: {name: tensor} of each example."""
  rng = np.random.default_rng(1)
  return [
    {
      DEM: rng.integers(5, size=(2, 2)),
      'coords': rng.integers(4, 12, size=3),
      'untok_dem@224': rng.normal(size=(32, 32, 1)),
    }
    for _ in range(count)
  ]


def logits_of(backbone, params, cases, target=LULC):
  """Logits of a target, through the slots of pretraining.

  Args:
    backbone: the model.
    params: its parameters.
    cases: pairs of {name: tensor} that is shown and of a grid of the target,
      with -1 where it is predicted, -2 where it is neither seen nor predicted.
    target: name of the target.

  Returns:
    For each case [K, V], in the order of the positions.
  """
  packed = []
  for shown, grid in cases:
    flat = np.ravel(grid)
    attention = np.where(np.arange(flat.size) == (flat == -1).argmax(), 1, 0)
    hidden = {
      name: {
        'tensor': x,
        'input_mask': np.zeros(_size(x), bool),
        'target_mask': np.ones(_size(x), bool),
        'decoder_attention_mask': np.zeros(_size(x), int),
      }
      for name, x in shown.items()
    }
    hidden[target] = {
      'tensor': np.maximum(flat, 0),
      'input_mask': flat < 0,
      'target_mask': flat != -1,
      'decoder_attention_mask': attention * (flat == -1).sum(),
    }
    packed.append(masking.pack(hidden, backbone.modalities, 20, flat.size))
  batch = _stack(packed)
  outputs = jax.jit(backbone.apply)({'params': params}, batch)
  table = params['decoder_embeddings'][target]
  return [
    np.asarray(rows)[np.asarray(slots) >= 0] @ table.T
    for rows, slots in zip(outputs, batch['decoder']['modality'])
  ]


def draw(model, slots, target=LULC, *, seed=0, numbers=None, **kwargs):
  """Codes of a target, compiled; `numbers` are those of the examples."""
  backbone, params = model
  if numbers is None:
    numbers = np.arange(len(slots['modality']))
  run = compiled(backbone, target, **kwargs)
  return np.asarray(run(params, slots, grids.example_keys(seed, numbers)))


@functools.cache
def compiled(backbone, target, **kwargs):
  """The function that draws codes from parameters, slots and keys."""
  return jax.jit(
    functools.partial(grids.generate, backbone, target=target, **kwargs)
  )


def _size(tensor):
  """Number of tokens of a grid or sequence of codes, or of an image."""
  if tensor.ndim == 3:
    return tensor.size // modalities.PATCH**2
  return tensor.size


def _stack(rows):
  return jax.tree.map(lambda *x: np.stack(x), *rows)
