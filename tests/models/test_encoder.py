"""The encoder alone against recorded outputs of the reference."""

import functools

import jax
import numpy as np
import pytest

from fusion_jax import modalities as modality_table
from fusion_jax.models import encoder
from fusion_jax.ops import patches
from tests import golden_terramind as golden

BOTH = pytest.mark.parametrize('family', golden.FAMILIES)
SWIGLU_FIRST = pytest.mark.parametrize(  # Same code, two more compilations.
  'family', ['swiglu', pytest.param('gelu', marks=pytest.mark.slow)]
)
near = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4)


def inputs_of(case, which):
  """Inputs, images channels last."""
  return {
    name: np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    for name, x in case.inputs(f'{which}/').items()
  }


@functools.cache
def converted(family):
  case = golden.load(f'vit_{family}')
  inputs = inputs_of(case, 'native')
  model = golden.make_encoder(case, merge='concat')
  return case, inputs, golden.params(case, model, inputs)


@functools.cache
def run(family, merge, which='native', drop=(), keep=()):
  """Features of every layer, of some inputs of a case."""
  case, _, params = converted(family)
  inputs = {
    name: x
    for name, x in inputs_of(case, which).items()
    if name not in drop and (not keep or name in keep)
  }
  model = golden.make_encoder(case, merge=merge)
  params = (
    params
    if merge == 'concat'
    else {name: x for name, x in params.items() if name != 'missing_token'}
  )
  return jax.jit(model.apply)({'params': params}, inputs)


@BOTH
def test_every_layer_is_the_references(family):
  case = golden.load(f'vit_{family}')
  for i, layer in enumerate(run(family, 'none')):
    near(layer, case[f'native_none_layers/{i:02d}'])


@SWIGLU_FIRST
@pytest.mark.parametrize('merge', ['mean', 'max', 'concat'])
def test_merged_features_are_the_references(family, merge):
  case = golden.load(f'vit_{family}')
  near(run(family, merge)[-1], case[f'native_{merge}_last'])
  if merge == 'mean':
    near(run(family, merge)[0], case['native_mean_first'])


@SWIGLU_FIRST
def test_features_by_modality_are_the_references(family):
  case = golden.load(f'vit_{family}')
  last = run(family, 'dict')[-1]
  assert set(last) == set(case.config['modalities'])
  for name, features in last.items():
    near(features, case[f'native_dict_last/{name}'])


@SWIGLU_FIRST
def test_absent_modalities_are_the_references(family):
  case = golden.load(f'vit_{family}')
  missing = case.config['concat_missing']
  near(
    run(family, 'concat', drop=(missing,))[-1],
    case['native_concat_last_missing_second'],
  )
  first = case.config['modalities'][0]
  near(
    run(family, 'mean', keep=(first,))[-1],
    case['native_mean_last_first_modality_only'],
  )


@SWIGLU_FIRST
def test_other_image_sizes_are_the_references(family):
  case = golden.load(f'vit_{family}')
  for which in ('resized', 'nonsquare'):
    near(run(family, 'none', which)[-1], case[f'{which}_none_last'])


@SWIGLU_FIRST
@pytest.mark.parametrize('which', ['native', 'resized', 'nonsquare'])
def test_embeddings_are_the_references(family, which):
  case, _, params = converted(family)
  model = golden.make_encoder(case, merge='concat')
  embedded = jax.jit(functools.partial(model.apply, method='embed'))(
    {'params': params}, inputs_of(case, which)
  )
  for name, (content, emb) in embedded.items():
    if which == 'nonsquare':
      near(emb, case['nonsquare_emb'])
    elif which == 'resized':
      near(emb, case[f'resized_emb/{name}'])
    else:
      near(content, case[f'embedding_x/{name}'])
      near(emb, case[f'embedding_emb/{name}'])


def test_backbone_encodes_a_wide_image_as_its_encoder_alone_does():
  case = golden.load('encdec_swiglu')
  whole, batch = golden.make_backbone(case), golden.make_batch(case)
  params = golden.params(case, whole, batch)
  whole = whole.clone(grid=(4, 6))
  alone = encoder.Encoder(
    case.modalities, 64, 2, 4, image_size=64, merge='none'
  )
  images = np.random.default_rng(0).normal(size=(2, 64, 96, 12)).astype('f')
  name, ids = 'untok_sen2l2a@224', np.full((2, 24), len(case.modalities) - 1)
  slots = {
    'modality': ids,
    'code': np.zeros_like(ids),
    'position': np.arange(24)[None].repeat(2, 0),
    'patches': {name: patches.patchify(images)},
  }
  expected, *_ = jax.jit(functools.partial(whole.apply, method='encode'))(
    {'params': params}, slots
  )
  part = encoder.encoder_params(params)
  near(jax.jit(alone.apply)({'params': part}, {name: images})[-1], expected)


@pytest.mark.parametrize(
  'inputs, message',
  [
    ({'untok_dem': np.zeros((1, 32, 32, 1))}, 'give one or more of'),
    ({}, 'give one or more of'),
    ({'tok_lulc@224': np.zeros((1, 5), int)}, 'no square grid'),
    ({'untok_dem@224': np.zeros((1, 30, 32, 1))}, '30 x 32 pixels'),
    ({'untok_dem@224': np.zeros((1, 32, 32, 2))}, '512 values'),
  ],
)
def test_inputs_that_do_not_fit_raise(inputs, message):
  selected = modality_table.select(['untok_dem@224', 'tok_lulc@224'], 32)
  model = encoder.Encoder(selected, 16, 1, 2, image_size=32)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.init, jax.random.key(0), inputs)


def test_unknown_merge_raises():
  with pytest.raises(ValueError, match="merge='sum'"):
    encoder.Encoder((), 16, 1, 2, merge='sum')
