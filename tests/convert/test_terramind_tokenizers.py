"""Conversion of the image tokenizers: complete, checked, reversible."""

import jax
import numpy as np
import pytest

from fusion_jax.convert import terramind_tokenizers
from fusion_jax.models import image_tokenizer
from tests import golden_tokenizers as golden
from tests import state_dicts

PUBLISHED = {
  's2l2a': 12,
  's1rtc': 2,
  's1grd': 2,
  'dem': 1,
  'ndvi': 1,
  'lulc': 10,
}  # Channels.
BOTH = pytest.mark.parametrize('name', ['diffusion', 'lulc'])


def published_shapes(name):
  """Keys and shapes of a public file."""
  listed = state_dicts.shapes(f'tokenizer_{name}')
  return {
    key: jax.ShapeDtypeStruct(shape, 'float32') for key, shape in listed.items()
  }


@pytest.mark.parametrize('name', PUBLISHED)
def test_every_public_key_finds_its_place(name):
  state = published_shapes(name)
  model = terramind_tokenizers.model_of(state)
  assert model == image_tokenizer.make(name)
  assert model.channels == PUBLISHED[name]
  params = jax.eval_shape(
    lambda state: terramind_tokenizers.from_terramind(state, model), state
  )
  positions = sum(
    value.size for key, value in state.items() if key.endswith('pos_emb')
  )
  assert (
    sum(x.size for x in jax.tree.leaves(params))
    == sum(x.size for x in state.values()) - positions
  )


@BOTH
def test_there_and_back_gives_every_key(name):
  case = golden.load(name)
  back = terramind_tokenizers.to_terramind(case.params, case.model)
  assert set(back) == set(case.weights)
  for key, value in back.items():
    np.testing.assert_allclose(
      value,
      case.weights[key],
      rtol=0,
      err_msg=key,
      atol=1e-5 if key.endswith('pos_emb') else 0,
    )


@BOTH
def test_sizes_are_read_off_the_keys(name):
  model, config = golden.load(name).model, golden.config(name)
  encoder = config.get('encoder', config)
  assert (model.width, model.depth, model.image_size, model.channels) == (
    encoder['dim'],
    encoder['depth'],
    encoder['resolution'],
    config['n_channels'],
  )
  assert '-'.join(map(str, model.levels)) == config['codebook_size']
  if name == 'diffusion':
    theirs = config['unet']
    assert (
      model.unet_width,
      model.unet_blocks,
      model.unet_multipliers,
      model.unet_attention,
      model.unet.patch,
    ) == (
      theirs['model_channels'],
      theirs['num_res_blocks'],
      tuple(theirs['channel_mult']),
      tuple(theirs['attention_resolutions']),
      theirs['patch_size'],
    )


def test_leftovers_of_both_sides_are_listed():
  case = golden.load('diffusion')
  state = dict(case.weights)
  state['surplus.weight'] = state.pop('quant_proj.bias')
  del state['encoder.blocks.1.mlp.fc1.bias'], state['decoder.out.2.weight']
  state['decoder.time_embed.0.bias'] = np.zeros(7, 'f')
  state['decoder.out.0.weight'] = np.float32(1)
  state['decoder.middle_block.0.in_layers.2.weight'] = np.zeros((1, 1), 'f')
  with pytest.raises(ValueError) as error:
    terramind_tokenizers.from_terramind(state, case.model)
  message = str(error.value)
  assert (
    "Missing keys: ['decoder.out.2.weight', "
    "'encoder.blocks.1.mlp.fc1.bias', 'quant_proj.bias']"
  ) in message
  assert "Keys too many: ['surplus.weight']" in message
  assert (
    'decoder.time_embed.0.bias makes decoder/time/fc1/bias of (7,), '
    'should be (128,)'
  ) in message
  assert 'decoder.out.0.weight makes decoder/norm/scale of ()' in message
  assert 'decoder.middle_block.0.in_layers.2.weight is (1, 1)' in message


@pytest.mark.parametrize(
  'shape, message',
  [
    (
      (64, 4),
      r'encoder\.blocks\.1\.norm2\.weight makes .*\(64, 4\), should '
      r'be \(64,\)',
    ),
    (
      (63,),
      r'encoder\.blocks\.1\.norm2\.weight makes .*\(63,\), should be '
      r'\(64,\)',
    ),
  ],
)
def test_a_layer_of_another_shape_is_named(shape, message):
  case = golden.load('diffusion')
  state = case.weights | {'encoder.blocks.1.norm2.weight': np.zeros(shape, 'f')}
  with pytest.raises(ValueError, match=message) as error:
    terramind_tokenizers.from_terramind(state, case.model)
  assert 'blocks.0' not in str(error.value)


@pytest.mark.parametrize(
  'key, shape',
  [
    ('encoder.proj.weight', (3,)),
    ('encoder.proj.weight', (0, 3, 16, 16)),
    ('encoder.pos_emb', ()),
    ('decoder.input_blocks.0.0.weight', (5,)),
    ('decoder.input_blocks.1.0.in_layers.2.weight', (33, 32, 3, 3)),
    ('decoder.input_blocks.1.0.in_layers.2.weight', ()),
  ],
)
def test_a_key_that_tells_no_size_is_named(key, shape):
  state = golden.load('diffusion').weights | {key: np.zeros(shape, 'f')}
  with pytest.raises(ValueError, match=key.replace('.', r'\.')):
    terramind_tokenizers.model_of(state, 4)


def test_another_variant_raises():
  lulc, diffusion = golden.load('lulc'), golden.load('diffusion')
  with pytest.raises(ValueError, match='Keys too many.*post_quant_proj'):
    terramind_tokenizers.from_terramind(lulc.weights, diffusion.model)
  deeper = diffusion.model.clone(depth=3)
  with pytest.raises(ValueError, match=r'Missing.*encoder\.blocks\.2\.'):
    terramind_tokenizers.from_terramind(diffusion.weights, deeper)


@pytest.mark.parametrize(
  'values, message',
  [
    (lambda x: x + 0.01, 'encoder.pos_emb has other values'),
    (lambda x: x[..., :2], r'encoder.pos_emb is \(1, 64, 4, 2\)'),
  ],
)
def test_positions_are_checked(values, message):
  case = golden.load('diffusion')
  state = case.weights | {
    'encoder.pos_emb': values(case.weights['encoder.pos_emb'])
  }
  with pytest.raises(ValueError, match=message):
    terramind_tokenizers.from_terramind(state, case.model)


def test_what_is_no_tokenizer_raises():
  with pytest.raises(ValueError, match='keys belong to no image tokenizer'):
    terramind_tokenizers.model_of({'encoder.norm': np.zeros(1)})
  case = golden.load('diffusion')
  odd = case.weights | {'encoder.proj.weight': np.zeros((72, 3, 16, 16))}
  with pytest.raises(ValueError, match='width of 72'):
    terramind_tokenizers.model_of(odd)
