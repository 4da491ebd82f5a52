"""`convert clip`: from files of every kind to a model that embeds."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from safetensors import numpy as safetensors

import fusion_jax
from fusion_jax.commands import app
from fusion_jax.convert import write_clip
from fusion_jax.inference import clip_model
from fusion_jax.train import checkpoint
from tests import golden_clip as golden

FOLDER = pathlib.Path(__file__).parents[1] / 'testdata' / 'clip' / 'tiny'
OUTPUTS = np.load(FOLDER / 'outputs.npz')
CONFIG = {
  'vision_config': {'hidden_act': 'gelu', 'num_attention_heads': 4},
  'text_config': {'hidden_act': 'gelu', 'num_attention_heads': 4},
}


@pytest.mark.parametrize(
  'name, options',
  [
    ('openai.pt', {}),
    ('openclip.pt', {'activation': 'quick_gelu'}),
    ('pytorch_model.bin', {'activation': 'quick_gelu'}),
  ],
)
def test_files_of_all_layouts_give_the_vectors_of_torch(
  name, options, tmp_path
):
  write_clip.convert(str(FOLDER / name), tmp_path / 'out', **options)
  model = fusion_jax.load(tmp_path / 'out')
  assert isinstance(model, clip_model.ClipModel)
  metadata = checkpoint.read_metadata(tmp_path / 'out', 0)
  assert metadata['source']['file'] == name
  assert len(metadata['source']['sha256']) == 64
  for method, inputs, vectors in (
    ('embed_images', 'images', 'image_vectors'),
    ('embed_texts', 'ids', 'text_vectors'),
  ):
    result = model.model.apply(
      {'params': model.params}, OUTPUTS[inputs], method=method
    )
    np.testing.assert_allclose(result, OUTPUTS[vectors], rtol=0, atol=2e-5)


def test_the_configuration_beside_a_file_tells_activation_and_heads(tmp_path):
  safetensors.save_file(golden.weights('gelu'), tmp_path / 'model.safetensors')
  (tmp_path / 'config.json').write_text(json.dumps(CONFIG))
  write_clip.convert(str(tmp_path / 'model.safetensors'), tmp_path / 'out')
  model = fusion_jax.load(tmp_path / 'out')
  assert model.model == golden.converted('gelu')[0]


@pytest.mark.parametrize(
  'settings, activation', [({'quick_gelu': True}, 'quick_gelu'), ({}, 'gelu')]
)
def test_the_configuration_of_openclip_is_read(tmp_path, settings, activation):
  shutil.copy(FOLDER / 'openclip.pt', tmp_path)
  (tmp_path / 'open_clip_config.json').write_text(
    json.dumps(
      {
        'model_cfg': {
          'vision_cfg': {'width': 8, 'head_width': 4},
          'text_cfg': {'heads': 3},
        }
        | settings
      }
    )
  )
  write_clip.convert(str(tmp_path / 'openclip.pt'), tmp_path / 'out')
  model = fusion_jax.load(tmp_path / 'out')
  assert (
    model.model.activation,
    model.model.vision_heads,
    model.model.text_heads,
  ) == (activation, 2, 3)


def test_a_configuration_of_another_layout_is_not_guessed_from(tmp_path):
  shutil.copy(FOLDER / 'openclip.pt', tmp_path)
  (tmp_path / 'open_clip_config.json').write_text('{"model": {}}')
  with pytest.raises(ValueError, match='the activation .* is unknown. Give'):
    write_clip.convert(str(tmp_path / 'openclip.pt'), tmp_path / 'out')


@pytest.mark.parametrize(
  'name, activation',
  [
    ('ViT-B-32.pt', 'quick_gelu'),
    ('RemoteCLIP-ViT-B-32.pt', 'gelu'),
    ('RS5M_ViT-B-32.pt', 'quick_gelu'),
    ('SkyCLIP_ViT_B32_top50pct/epoch_20.pt', 'gelu'),
  ],
)
def test_published_files_are_known_by_name(tmp_path, name, activation):
  path = tmp_path / name
  path.parent.mkdir(exist_ok=True)
  shutil.copy(FOLDER / 'openclip.pt', path)
  write_clip.convert(str(path), tmp_path / 'out')
  assert fusion_jax.load(tmp_path / 'out').model.activation == activation


def test_the_command_converts_and_says_what_is_wrong(tmp_path):
  arguments = [
    'clip',
    '--source',
    str(FOLDER / 'openclip.pt'),
    '--out',
    str(tmp_path / 'out'),
  ]
  with pytest.raises(
    SystemExit, match='fusion-jax convert: .*--activation=gelu'
  ):
    app.main(['convert', *arguments])
  app.main(['convert', *arguments, '--activation=gelu'])
  assert fusion_jax.load(tmp_path / 'out').width == 6
  with pytest.raises(SystemExit, match='holds checkpoints already'):
    app.main(['convert', *arguments, '--activation=gelu'])


def test_an_unknown_activation_has_to_be_given(tmp_path):
  with pytest.raises(ValueError, match='openclip.pt: .*--activation=quick'):
    write_clip.convert(str(FOLDER / 'openclip.pt'), tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_weights_that_do_not_fit_are_named_with_their_file(tmp_path):
  state = golden.weights('gelu')
  state['surplus'] = state.pop('logit_scale')
  safetensors.save_file(state, tmp_path / 'odd.safetensors')
  with pytest.raises(ValueError, match=r"odd.safetensors: .*\['surplus'\]"):
    write_clip.convert(
      str(tmp_path / 'odd.safetensors'), tmp_path / 'out', activation='gelu'
    )
