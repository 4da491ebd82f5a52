"""Conversion of TerraMind's weights: complete, checked, reversible."""

import jax
import numpy as np
import pytest

from fusion_jax.convert import terramind
from tests import golden_terramind as golden

CASES = ('encdec_gelu', 'encdec_swiglu', 'vit_gelu', 'vit_swiglu')


def shapes_of(case):
  """Shapes of our parameters."""
  if case.config['kind'] == 'TerraMindViT':
    model = golden.make_encoder(case, merge='concat')
    example = {
      name: np.zeros(
        np.moveaxis(x, 1, -1).shape if x.ndim == 4 else x.shape, x.dtype
      )
      for name, x in case.inputs('native/').items()
    }
  else:
    model, example = golden.make_backbone(case), golden.make_batch(case)
  return jax.eval_shape(model.init, jax.random.key(0), example)['params']


@pytest.mark.parametrize('name', CASES)
def test_there_and_back_gives_every_key(name):
  case = golden.load(name)
  params = terramind.from_terramind(
    case.weights, golden.table(case), shapes_of(case)
  )
  back = terramind.to_terramind(params, golden.table(case))
  for key, value in back.items():
    np.testing.assert_array_equal(value, case.weights[key], err_msg=key)
  for key in set(case.weights) - set(back):  # Copies, zeros and positions.
    assert key.endswith(
      ('to_logits.weight', 'norm.bias', 'norm1.bias', 'norm2.bias', 'pos_emb')
    ) or (key.startswith('decoder_embeddings') and key.endswith('mod_emb')), key


def test_leftovers_of_both_sides_are_listed():
  case = golden.load('encdec_gelu')
  state = dict(case.weights)
  state['surplus.weight'] = state.pop('mask_token')
  del state['encoder.1.mlp.fc1.bias']
  state['encoder.3.mlp.fc1.bias'] = state['encoder.2.mlp.fc1.bias']
  state['encoder_norm.weight'] = state['encoder_norm.weight'][:-1]
  with pytest.raises(ValueError) as error:
    terramind.from_terramind(state, golden.table(case), shapes_of(case))
  message = str(error.value)
  assert "Missing keys: ['encoder.1.mlp.fc1.bias', 'mask_token']" in message
  assert (
    "Keys too many: ['encoder.3.mlp.fc1.bias', 'surplus.weight']" in message
  )
  assert 'encoder_norm/scale of (47,), should be (48,)' in message


def test_weights_of_another_family_are_refused():
  case, other = golden.load('encdec_gelu'), golden.load('encdec_swiglu')
  with pytest.raises(ValueError) as error:
    terramind.from_terramind(other.weights, golden.table(case), shapes_of(case))
  message = str(error.value)
  assert "'encoder.0.attn.proj.bias'" in message.split('Keys too many')[0]
  assert "'encoder.0.mlp.fc3.weight'" in message.split('Keys too many')[1]
  assert 'of (64, 192), should be (48, 144)' in message


@pytest.mark.parametrize(
  'key',
  [
    'decoder_embeddings.coords.to_logits.weight',
    'decoder_embeddings.coords.mod_emb',
    'encoder.0.norm1.bias',
    'encoder_norm.bias',
    'decoder.0.query_norm.bias',
    'encoder_embeddings.coords.pos_emb',
    'decoder_embeddings.tok_lulc@224.pos_emb',
  ],
)
def test_copies_zeros_and_positions_are_checked(key):
  case = golden.load('encdec_gelu')
  state = case.weights | {key: case.weights[key] + 0.01}
  with pytest.raises(ValueError, match=key.replace('.', r'\.')):
    terramind.from_terramind(state, golden.table(case), shapes_of(case))
