"""Published encoders: every prefix, strict keys, and the command."""

import numpy as np
import pytest
from safetensors import numpy as safetensors

import fusion_jax
from fusion_jax.commands import app
from fusion_jax.convert import timesenclip
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.inference import pixel_model
from tests import golden_timesenclip as golden

NAME = 'encoder_tiny_1x1'


def weights(name=NAME):
  return dict(golden.below(golden.load(name)[1], 'param/'))


def raw_pixels(name=NAME):
  """Reflectance x 10,000 that scales to the recorded inputs, up to rounding."""
  scaled = golden.load(name)[1]['in/x12']
  return (
    pixel_transforms.LOW[:, None, None]
    + scaled * pixel_transforms.HIGH[:, None, None]
  )


@pytest.mark.parametrize(
  'prefix',
  [
    *timesenclip.PREFIXES,
    'module._orig_mod.',
    'learner.ts_encoder._orig_mod.',
  ],
)
def test_every_published_prefix_is_found(prefix):
  state = {prefix + key: value for key, value in weights().items()}
  is_part = prefix.startswith(('learner', 'ts', 'TS'))
  others = {'logit_scale': np.ones(())} if is_part else {}
  encoder, params = timesenclip.from_torch(state | others, num_heads=4)
  assert encoder == golden.converted(NAME)[0]
  back = timesenclip.to_torch(params, encoder.depth)
  assert back.keys() == weights().keys()
  for key, value in weights().items():
    np.testing.assert_array_equal(back[key], value)


def test_old_name_of_the_class_token_is_understood():
  state = weights()
  state['class_token'] = state.pop('time_token')
  assert 'class_token' in timesenclip.from_torch(state, num_heads=4)[1]


def test_what_does_not_fit_is_listed():
  state = weights()
  with pytest.raises(ValueError, match=r"without a parameter: \['extra'\]"):
    timesenclip.from_torch(state | {'extra': np.ones(1)})
  del state['mlp_head.0.bias']
  with pytest.raises(ValueError, match=r"missing: \['mlp_head.0.bias'\]"):
    timesenclip.from_torch(state)
  state = weights() | {'time_pos_encoding': np.ones((1, 24, 64))}
  with pytest.raises(ValueError, match=r'contradict.*time_pos_encoding \(1, 2'):
    timesenclip.from_torch(state)
  with pytest.raises(ValueError, match=r'No encoder.*keys start with .*\bconv'):
    timesenclip.from_torch({'conv.weight': np.ones(1)})
  with pytest.raises(ValueError, match='5 heads do not divide the width 64'):
    timesenclip.from_torch(weights(), num_heads=5)


def test_command_makes_a_model_that_encodes(tmp_path):
  safetensors.save_file(weights(), tmp_path / 'encoder.safetensors')
  app.main(
    [
      'convert',
      'timesenclip',
      '--source',
      str(tmp_path / 'encoder.safetensors'),
      '--out',
      str(tmp_path / 'out'),
      '--num_heads',
      '4',
    ]
  )
  model = fusion_jax.load(tmp_path / 'out')
  assert isinstance(model, pixel_model.PixelModel)
  expected = golden.load(NAME)[1]['out/T12']
  result = model.encode(raw_pixels(), normalize=False, batch_size=2)
  np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5)
  np.testing.assert_allclose(
    model.encode(raw_pixels()[0]),
    golden.load(NAME)[1]['out/T12_l2norm'][0],
    rtol=0,
    atol=2e-5,
  )
  with pytest.raises(ValueError, match='no classifier'):
    model.predict(raw_pixels())
  with pytest.raises(ValueError, match='no photos'):
    model.pool_views(np.ones((1, 4, 64)))


def test_a_file_that_does_not_fit_is_named(tmp_path):
  safetensors.save_file({'a': np.ones(1)}, tmp_path / 'a.safetensors')
  with pytest.raises(SystemExit, match='a.safetensors: No encoder'):
    app.main(
      [
        'convert',
        'timesenclip',
        '--source',
        str(tmp_path / 'a.safetensors'),
        '--out',
        str(tmp_path / 'out'),
      ]
    )
