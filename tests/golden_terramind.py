"""Reads the golden cases of `testdata/terramind` as models, batches, arrays."""

import functools
import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors

from fusion_jax import modalities as modality_table
from fusion_jax.convert import terramind
from fusion_jax.data import masking
from fusion_jax.models import backbone, encoder
from fusion_jax.ops import grouped_losses, losses

_FOLDER = pathlib.Path(__file__).parent / 'testdata' / 'terramind'
FAMILIES = ('gelu', 'swiglu')


class Case(NamedTuple):
  """One golden case."""

  config: dict[str, Any]
  weights: dict[str, np.ndarray]
  io: dict[str, np.ndarray]

  def __getitem__(self, name):
    return self.io[f'outputs/{name}']

  def inputs(self, prefix=''):
    """Input arrays below `prefix`, by the rest of their name."""
    start = f'inputs/{prefix}'
    return {
      key.removeprefix(start): value
      for key, value in self.io.items()
      if key.startswith(start)
    }

  @property
  def family(self):
    gated = self.config['gated_mlp']
    return {
      'mlp': 'swiglu' if gated else 'gelu',
      'use_bias': self.config['qkv_bias'],
    }

  @property
  def modalities(self):
    names = self.config.get('modality_order') or self.config['modalities']
    return tuple(self._modality(name) for name in names)

  def _modality(self, name):
    fields = modality_table.MODALITIES.get(name) or modality_table.Modality(
      name, 'series', '1', (name,), 12, 60, name
    )
    vocab_size = next(
      (
        value.shape[0]
        for key, value in self.weights.items()
        if key == f'encoder_embeddings.{name}.token_emb.weight'
      ),
      0,
    )
    return modality_table.dataclasses.replace(
      fields.at(64), vocab_size=vocab_size
    )


@functools.cache
def load(name):
  """The case called `name`, such as 'encdec_gelu'."""
  read = safetensors.load_file
  return Case(
    json.loads((_FOLDER / f'{name}.json').read_text()),
    read(_FOLDER / f'{name}.weights.safetensors'),
    read(_FOLDER / f'{name}.io.safetensors'),
  )


@functools.cache
def load_gradients(name):
  """{their key: gradient of `loss_mod`}."""
  return safetensors.load_file(_FOLDER / f'{name}.grads.safetensors')


def make_backbone(case, **kwargs):
  """The `Backbone` of an 'encdec' case."""
  config = case.config
  return backbone.Backbone(
    case.modalities,
    config['dim'],
    config['encoder_depth'],
    config['decoder_depth'],
    config['num_heads'],
    image_size=64,
    **case.family,
    **kwargs,
  )


def make_encoder(case, **kwargs):
  """The `Encoder` of a 'vit' case."""
  config = case.config
  return encoder.Encoder(
    case.modalities,
    config['dim'],
    config['encoder_depth'],
    config['num_heads'],
    image_size=64,
    **case.family,
    **kwargs,
  )


def table(case):
  """The conversion table of a case."""
  if case.config['kind'] == 'TerraMindViT':
    return terramind.encoder_table(
      case.modalities, missing_token=True, **case.family
    )
  return terramind.backbone_table(case.modalities, **case.family)


def params(case, model, *example):
  """Converted weights for `model`."""
  shapes = jax.eval_shape(model.init, jax.random.key(0), *example)['params']
  return terramind.from_terramind(case.weights, table(case), shapes)


def make_batch(case, num_inputs=0, num_targets=0, hide_targets=()):
  """The packed batch of an 'encdec' case.

  Args:
    case: the case.
    num_inputs: number of encoder slots, 0 for the case's own number.
    num_targets: number of decoder slots, 0 for the case's own number.
    hide_targets: modalities whose targets are hidden.
  """
  grids = {}
  for key, value in case.inputs().items():
    name, field = key.rsplit('/', 1)
    if field == 'tensor' and value.dtype == np.float32:
      value = np.moveaxis(value, 1, -1)
    grids.setdefault(name, {})[field] = value
  for name in hide_targets:
    hidden = np.ones_like(grids[name]['target_mask'])
    grids[name] = grids[name] | {'target_mask': hidden}
  packed = [
    masking.pack(
      jax.tree.map(lambda x, i=i: x[i], grids),
      case.modalities,
      num_inputs or case.config['num_encoder_tokens'],
      num_targets or case.config['num_decoder_tokens'],
    )
    for i in range(case.config['batch'])
  ]
  return jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *packed)


def reference_ids(case, modality):
  """Indices of modalities as the reference's ids; -1 stays."""
  ids = np.array([m.id for m in case.modalities] + [-1])
  return ids[np.asarray(modality)]


@functools.cache
def converted(family):
  """Case, model, packed batch and converted parameters.

  Padding slots get noise for pixels: nothing may depend on it.
  """
  case = load(f'encdec_{family}')
  model, batch = make_backbone(case), make_batch(case)
  encoder = batch['encoder']
  ((name, patches),) = encoder['patches'].items()
  noise = np.random.default_rng(0).normal(size=patches.shape)
  hidden = np.asarray(encoder['modality'] < 0)[..., None]
  patches = np.where(hidden, noise.astype('f'), patches)
  batch['encoder']['patches'] = {name: patches}
  return case, model, batch, params(case, model, batch)


def total_loss(model, params, batch):
  """`mod` loss of a batch without the ordinal term, and its sums."""
  outputs = model.apply({'params': params}, batch)
  slots = batch['decoder']
  weight = losses.modality_weights(
    slots['modality'], slots['trainable'], model.heads
  )
  flat = [
    x.reshape(-1)
    for x in (
      slots['modality'],
      slots['target'],
      weight,
      jnp.zeros_like(weight),
    )
  ]
  return grouped_losses.grouped_cross_entropy(
    outputs.reshape(-1, model.width),
    *flat,
    model.output_tables(params),
    model.heads,
  )


@functools.partial(jax.jit, static_argnums=0)
def gradients(model, params, batch):
  """Loss; its gradients by parameters and by patches."""

  def loss(params, patches):
    encoder = batch['encoder'] | {'patches': patches}
    return total_loss(model, params, batch | {'encoder': encoder})[0]

  return jax.value_and_grad(loss, (0, 1))(params, batch['encoder']['patches'])
