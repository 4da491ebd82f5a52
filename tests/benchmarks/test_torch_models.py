"""Tests that the models of the benchmarks' other side compute what ours do.

They need torch, which is no dependency: without it they are skipped.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import train_step
from fusion_jax import modalities as modality_table
from fusion_jax.convert import terramind, terramind_tokenizers
from fusion_jax.generation import sequences
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.models import encoder as encoder_lib
from fusion_jax.models import image_tokenizer
from fusion_jax.ops import grouped_losses, losses

torch = pytest.importorskip('torch')

from benchmarks import torch_models  # It needs torch.

SIZES = {
  'gelu': dict(width=64, encoder_depth=2, decoder_depth=2, num_heads=2),
  'swiglu': dict(width=64, encoder_depth=2, decoder_depth=2, num_heads=2),
}
NAMES = ('untok_sen2l2a@224', 'tok_lulc@224', 'coords', 't2m_hourly')


def make(mlp):
  """A small backbone, its parameters, a batch, and the other side's model."""
  modalities = tuple(
    dataclasses.replace(m, vocab_size=m.vocab_size and 300)
    for m in modality_table.select(NAMES)
  )
  settings = dict(SIZES[mlp], mlp=mlp, use_bias=mlp == 'gelu')
  backbone = backbone_lib.Backbone(modalities, **settings)
  batch = train_step.make_batch(modalities, 3)
  params = jax.jit(backbone.init)(jax.random.key(0), batch)['params']
  rows = terramind.backbone_table(
    modalities, use_bias=settings['use_bias'], mlp=mlp
  )
  theirs = torch_models.load(
    torch_models.Backbone(modalities, **settings),
    terramind.to_terramind(params, rows),
  )
  return backbone, params, batch, theirs


def our_loss(backbone, batch, emd_weight, params):
  """The loss of pretraining."""
  slots = batch['decoder']
  arguments = slots['modality'], slots['trainable']
  ce_weight = losses.modality_weights(*arguments, backbone.heads)
  ordinal = losses.ordinal_weights(*arguments, slots['target'], backbone.heads)
  outputs = backbone.apply({'params': params}, batch)
  total, _ = grouped_losses.grouped_cross_entropy(
    outputs.reshape(-1, backbone.width),
    *(
      jnp.ravel(x)
      for x in (
        slots['modality'],
        slots['target'],
        ce_weight,
        emd_weight * ordinal,
      )
    ),
    backbone.output_tables(params),
    backbone.heads,
  )
  return total


@pytest.mark.parametrize('mlp', SIZES)
def test_loss_and_gradients_are_equal(mlp):
  backbone, params, batch, theirs = make(mlp)
  value, gradients = jax.jit(
    jax.value_and_grad(functools.partial(our_loss, backbone, batch, 2.0))
  )(params)
  other = torch_models.loss(
    theirs, torch_models.batch_of(batch, theirs, emd_weight=2.0)
  )
  other.backward()
  np.testing.assert_allclose(other.item(), value, rtol=1e-5)
  assert torch_models.num_parameters(theirs) == sum(
    x.size for x in jax.tree.leaves(params)
  )
  rows = terramind.backbone_table(
    backbone.modalities, use_bias=backbone.use_bias, mlp=mlp
  )
  named = dict(theirs.named_parameters())
  for key, expected in terramind.to_terramind(gradients, rows).items():
    np.testing.assert_allclose(
      named[key].grad, expected, rtol=1e-3, atol=2e-6, err_msg=key
    )


def test_decoded_codes_are_equal():
  backbone, params, batch, theirs = make('swiglu')
  slots = batch['encoder']
  index = NAMES.index('t2m_hourly')
  index = [m.name for m in backbone.modalities].index(NAMES[index])
  allowed = sequences.series_codes(backbone.modalities[index])
  ours = sequences.decode(
    backbone,
    params,
    slots,
    jax.random.key(0),
    sequences.Target(index, 6, allowed=allowed),
    sampling=sequences.GREEDY,
  )
  arguments = (
    torch_models.batch_of(batch, theirs)['encoder'],
    index,
    sequences.FIRST,
    6,
    torch.from_numpy(np.array(allowed)),
  )
  for decode in torch_models.decode_cached, torch_models.decode_plain:
    np.testing.assert_array_equal(decode(theirs, *arguments).numpy(), ours)


def test_features_of_the_encoder_are_equal():
  modalities = modality_table.select(['untok_sen2l2a@224'])
  settings = dict(width=64, depth=2, num_heads=2, mlp='swiglu', use_bias=False)
  model = encoder_lib.Encoder(modalities, **settings)
  images = np.random.default_rng(0).normal(size=(2, 224, 224, 12))
  images = images.astype(np.float32)
  inputs = {modalities[0].name: images}
  params = jax.jit(model.init)(jax.random.key(0), inputs)['params']
  rows = terramind.encoder_table(modalities, use_bias=False, mlp='swiglu')
  theirs = torch_models.load(
    torch_models.Encoder(modalities[0], **settings),
    terramind.to_terramind(params, rows),
  )
  expected = jax.jit(model.apply)({'params': params}, inputs)[-1]
  with torch.inference_mode():
    np.testing.assert_allclose(
      theirs(torch.from_numpy(images)), expected, atol=2e-5
    )


@pytest.mark.slow
def test_the_tokenizer_is_equal():
  model = image_tokenizer.make('S2L2A')
  rng = np.random.default_rng(0)
  images, noisy = rng.normal(size=(2, 1, 64, 64, 12)).astype(np.float32)
  t = np.array([500])
  params = jax.jit(model.init)(jax.random.key(0), images, noisy, t)['params']
  params = jax.tree.map(  # Zeros of fresh weights would hide their layers.
    lambda x: x + rng.normal(scale=0.01, size=x.shape).astype(np.float32),
    params,
  )
  theirs = torch_models.load(
    torch_models.Tokenizer(), terramind_tokenizers.to_terramind(params, model)
  )
  assert torch_models.num_parameters(theirs) == sum(
    x.size for x in jax.tree.leaves(params)
  )
  variables = {'params': params}
  codes = rng.random((1, 4, 4, 5)).astype(np.float32)
  ids = jax.jit(functools.partial(model.apply, method='encode'))(
    variables, images
  )
  clean = jax.jit(functools.partial(model.apply, method='denoise'))(
    variables, noisy, t, codes
  )

  def channels_first(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())

  with torch.inference_mode():
    np.testing.assert_array_equal(theirs.encode(channels_first(images)), ids)
    other = theirs(
      channels_first(noisy), torch.from_numpy(t), channels_first(codes)
    )
  np.testing.assert_allclose(
    np.moveaxis(other.numpy(), 1, -1), clean, rtol=1e-3, atol=2e-4
  )
