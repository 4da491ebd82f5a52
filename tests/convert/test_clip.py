"""Conversion of CLIP's weights: complete, checked, the same in every layout."""

import jax
import numpy as np
import pytest

from fusion_jax.convert import clip as convert
from tests import golden_clip as golden


def openai_state():
  """The golden weights in OpenAI's layout."""
  return convert.to_openai(golden.converted('gelu')[1])


def from_torch(state):
  return convert.from_torch(state, 'gelu', vision_heads=4, text_heads=4)


def same(result, expected):
  jax.tree.map(np.testing.assert_array_equal, result, expected)


def test_openai_layout_has_their_keys_and_shapes():
  state = openai_state()
  theirs = golden.weights('gelu')
  assert len(state) == 2 * (2 * 12) + 14
  layer = 'vision_model.encoder.layers.1.self_attn'
  np.testing.assert_array_equal(
    state['visual.transformer.resblocks.1.attn.in_proj_weight'],
    np.concatenate([theirs[f'{layer}.{x}_proj.weight'] for x in 'qkv']),
  )
  for key, other in (
    ('visual.conv1.weight', 'vision_model.embeddings.patch_embedding.weight'),
    ('token_embedding.weight', 'text_model.embeddings.token_embedding.weight'),
    (
      'transformer.resblocks.0.mlp.c_fc.weight',
      'text_model.encoder.layers.0.mlp.fc1.weight',
    ),
    ('ln_final.bias', 'text_model.final_layer_norm.bias'),
    ('logit_scale', 'logit_scale'),
  ):
    np.testing.assert_array_equal(state[key], theirs[other], err_msg=key)
  for key, other in (
    ('visual.proj', 'visual_projection.weight'),
    ('text_projection', 'text_projection.weight'),
  ):
    np.testing.assert_array_equal(state[key], theirs[other].T, err_msg=key)


def test_openai_layout_there_and_back():
  model, params = golden.converted('gelu')
  again, back = from_torch(openai_state())
  assert again == model
  same(back, params)


def test_openclip_layout_of_a_training_run_and_buffers_are_understood():
  state = {
    f'module.{key}': value.astype(np.float16)
    for key, value in openai_state().items()
  }
  state |= {
    'module.attn_mask': np.zeros((16, 16)),
    'input_resolution': np.array(32),
    'vocab_size': np.array(1000),
    'context_length': np.array(16),
  }
  model, params = from_torch(state)
  assert model == golden.converted('gelu')[0]
  for result, exact in zip(
    jax.tree.leaves(params), jax.tree.leaves(golden.converted('gelu')[1])
  ):
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, exact, rtol=1e-3, atol=1e-4)


def test_hugging_face_layout_with_position_ids_is_understood():
  state = golden.weights('gelu') | {
    'text_model.embeddings.position_ids': np.arange(16)[None],
    'vision_model.embeddings.position_ids': np.arange(17)[None],
  }
  same(from_torch(state)[1], golden.converted('gelu')[1])


def test_sizes_come_from_the_weights():
  model, _ = golden.converted('quickgelu')
  config, _ = golden.load('quickgelu')
  assert (model.activation, model.width, model.image_size, model.patch) == (
    'quick_gelu',
    config['projection_dim'],
    config['image_size'],
    config['patch_size'],
  )
  assert (model.vision_width, model.text_width, model.context) == (
    config['vision_width'],
    config['text_width'],
    config['context_length'],
  )


@pytest.mark.parametrize('layout', ['openai', 'hugging face'])
def test_leftovers_of_both_sides_are_listed(layout):
  if layout == 'openai':
    state, bias = openai_state(), 'transformer.resblocks.0.mlp.c_fc.bias'
  else:
    state = golden.weights('gelu')
    bias = 'text_model.encoder.layers.0.self_attn.k_proj.bias'
  state = dict(state)
  del state[bias]
  state['surplus.weight'] = state.pop('logit_scale')
  with pytest.raises(ValueError) as error:
    from_torch(state)
  message = str(error.value)
  assert "without a parameter: ['surplus.weight']" in message
  assert f'missing: {sorted(["logit_scale", bias])}' in message


def test_a_missing_key_alone_is_named():
  state = openai_state()
  del state['ln_final.bias']
  with pytest.raises(ValueError, match=r"missing: \['ln_final.bias'\]"):
    from_torch(state)


@pytest.mark.parametrize(
  'key, message',
  [
    ('ln_final.weight', r'text/norm_out/scale is \(47,\), should be \(48,\)'),
    ('transformer.resblocks.1.ln_1.bias', r'resblocks.1.ln_1.bias \(47,\)'),
    ('visual.positional_embedding', r'vision/positions is \(16, 64\)'),
  ],
)
def test_wrong_shapes_are_named(key, message):
  state = openai_state()
  state[key] = state[key][:-1]
  with pytest.raises(ValueError, match=message):
    from_torch(state)


def test_other_weights_are_refused():
  with pytest.raises(ValueError, match='CLIP with a ViT.*layer1'):
    from_torch({'visual.layer1.0.conv1.weight': np.zeros(3)})
