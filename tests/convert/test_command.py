"""`convert terramind`: from files to folders that `fusion_jax.load` reads."""

import json
import pathlib
import shutil
import sys
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors import numpy as safetensors

import fusion_jax
from fusion_jax import modalities
from fusion_jax.commands import app
from fusion_jax.commands import convert as convert_command
from fusion_jax.convert import (
  files,
  published,
  terramind,
  terramind_copies,
  terramind_files,
  terramind_models,
  terramind_tokenizers,
  write_terramind,
)
from fusion_jax.inference import encoder_model
from fusion_jax.models import backbone, encoder, image_tokenizer
from fusion_jax.train import checkpoint
from tests import state_dicts

DATA = pathlib.Path(__file__).parents[1] / 'testdata'
DEM, LULC = 'untok_dem@224', 'tok_lulc@224'
SMALL = dict(
  width=4,
  encoder_depth=1,
  decoder_depth=1,
  num_heads=1,
  mlp='gelu',
  use_bias=True,
)


def small_backbone(names=(DEM, LULC), **changes):
  return backbone.Backbone(modalities.select(names), **SMALL | changes)


def run(*arguments):
  app.main(['convert', 'terramind', '--num_heads', '1', *map(str, arguments)])


def save(path, state):
  safetensors.save_file(
    {key: np.ascontiguousarray(x) for key, x in state.items()}, path
  )
  return path


@pytest.fixture(scope='module')
def state():
  return state_dicts.random_state(small_backbone())


@pytest.mark.parametrize('name', ['tiny', 'base'])
def test_published_keys_and_shapes_are_the_models(name):
  listed = {
    key: jax.ShapeDtypeStruct(shape, jnp.float32)
    for key, shape in state_dicts.shapes(name).items()
  }
  (part,) = terramind_files.parts(listed)
  config = terramind_models.describe(part)
  assert config['name'] == f'terramind_{name}'
  assert config['image_size'] == 224 and config['coords_vocab_size'] == 30_000
  assert len(config['modalities']) == 13
  rows, shapes = terramind_models.rows_and_shapes(
    write_terramind.make_model(config)
  )
  result = terramind.match(part.state, rows, shapes)
  made = {row.ours for row, _ in result}
  assert len(made) == len(jax.tree.leaves(shapes))
  used = {key for _, keys in result for key in keys}
  copies = set(listed) - used
  assert all(terramind_copies.is_copy(key, listed) for key in copies)
  millions = sum(x.size for x in jax.tree.leaves(shapes)) / 1e6
  assert millions == pytest.approx(
    {'tiny': 52.06, 'base': 376.09}[name], abs=0.005
  )


@pytest.mark.parametrize(
  'name, millions',
  [('tiny', 5.92), ('small', 22.46), ('base', 87.31), ('large', 305.14)],
)
def test_an_encoder_of_one_image_has_the_references_size(name, millions):
  sizes = dict(published.VARIANTS[name])
  del sizes['decoder_depth']
  model = encoder.Encoder(
    modalities.select(['S2L2A']), depth=sizes.pop('encoder_depth'), **sizes
  )
  count = sum(x.size for x in jax.tree.leaves(encoder.param_shapes(model)))
  assert count / 1e6 == pytest.approx(millions, abs=0.005)


def test_a_torch_file_becomes_a_model(tmp_path):
  path = DATA / 'torch' / 'backbone.pt'
  run('--source', path, '--out', tmp_path / 'out')
  model = fusion_jax.load(tmp_path / 'out')
  theirs = files.read_state(path)
  np.testing.assert_array_equal(
    model.params['encoder']['blocks']['attention']['qkv']['kernel'][0],
    theirs['encoder.0.attn.qkv.weight'].T,
  )
  np.testing.assert_array_equal(
    model.params['decoder_embeddings'][LULC],
    theirs[f'decoder_embeddings.{LULC}.token_emb.weight'],
  )
  image = np.full((224, 224, 1), 500.0)
  assert model.encode({'DEM': image}).shape == (196, 4)
  metadata = checkpoint.read_metadata(tmp_path / 'out', 0)
  assert metadata['source']['sha256'] == files.digest(path)
  assert metadata['config']['standardise'] == 'terramind'


@pytest.mark.parametrize(
  'codes, message',
  [
    (np.full((14, 14), 4_375), 'codes 4375..4375, .*0..4374'),
    (np.full((14, 14), -1), 'codes -1..-1'),
    (np.full((14, 14), 1.5), 'integer codes'),
    (np.full((1, 14, 14, 1), 1), 'integer codes'),
  ],
)
def test_codes_of_no_vocabulary_raise(codes, message, tmp_path):
  run('--source', DATA / 'torch' / 'backbone.pt', '--out', tmp_path)
  model = fusion_jax.load(tmp_path)
  assert model.encode({'LULC': np.full((14, 14), 4_374)}).shape == (196, 4)
  with pytest.raises(ValueError, match=message):
    model.encode({'LULC': codes})


@pytest.mark.slow
def test_a_whole_tiny_backbone_becomes_a_model(tmp_path):
  names = [m.name for m in modalities.MODALITIES.values() if m.kind != 'series']
  state = state_dicts.random_state(
    backbone.Backbone(modalities.select(names), **published.VARIANTS['tiny'])
  )
  assert {key: x.shape for key, x in state.items()} == (
    state_dicts.shapes('tiny')
  )
  path = save(tmp_path / 'a.safetensors', state)
  app.main(
    [
      'convert',
      'terramind',
      '--source',
      str(path),
      '--variant',
      'tiny',
      '--out',
      str(tmp_path / 'out'),
    ]
  )
  model = fusion_jax.load(tmp_path / 'out')
  assert model.config.name == 'terramind_tiny'
  tokens = model.encode(
    {'S2L2A': np.full((224, 224, 12), 900), 'lat': 47.25, 'lon': 8.5}
  )
  assert tokens.shape == (3 + 196, 192) and np.isfinite(tokens).all()
  np.testing.assert_array_equal(
    model.params['decoder']['blocks']['cross_attention']['kv']['kernel'][3],
    state['decoder.3.cross_attn.kv.weight'].T,
  )


def test_safetensors_and_torch_give_the_same(tmp_path):
  path = DATA / 'torch' / 'backbone.pt'
  other = save(tmp_path / 'a.safetensors', files.read_state(path))
  for source in (path, other):
    run('--source', source, '--out', tmp_path / source.suffix)
  jax.tree.map(
    np.testing.assert_array_equal,
    *(
      checkpoint.restore_params(tmp_path / suffix)[0]
      for suffix in ('.pt', '.safetensors')
    ),
  )


def test_half_precision_becomes_float32(tmp_path, state):
  import ml_dtypes

  halves = {key: x.astype(ml_dtypes.bfloat16) for key, x in state.items()}
  run(
    '--source',
    save(tmp_path / 'a.safetensors', halves),
    '--out',
    tmp_path / 'out',
  )
  params, _ = checkpoint.restore_params(tmp_path / 'out')
  assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype('float32')}
  np.testing.assert_array_equal(
    params['mask_token'], halves['mask_token'].ravel().astype(np.float32)
  )


def test_an_encoder_alone_keeps_its_missing_token(tmp_path):
  sizes = {key: x for key, x in SMALL.items() if not key.endswith('depth')}
  model = encoder.Encoder(
    modalities.select([DEM, LULC, 'coords']), depth=2, merge='concat', **sizes
  )
  state = state_dicts.random_state(model)
  run(
    '--source',
    save(tmp_path / 'a.safetensors', state),
    '--out',
    tmp_path / 'out',
  )
  loaded = fusion_jax.load(tmp_path / 'out')
  assert isinstance(loaded, encoder_model.EncoderModel)
  image = np.random.default_rng(0).normal(500, 300, (2, 64, 32, 1))
  expected = model.apply(
    {'params': loaded.params},
    {DEM: ((image - 670.665) / 951.272).astype(np.float32)},
  )
  result = loaded.encode({'DEM': image}, every_layer=True)
  assert len(result) == 2 and result[-1].shape == (2, 8, 8)
  for ours, theirs in zip(result, expected):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(
    loaded.params['missing_token'], state['missing_mod_token']
  )


def test_a_generation_model_comes_with_what_it_sees_and_predicts(tmp_path):
  """Its encoder knows the inputs only, its decoder the outputs only."""
  selected = [
    modalities.dataclasses.replace(
      m, predicted=m.name != 'coords', seen=m.name != LULC
    )
    for m in modalities.select([DEM, LULC, 'coords'])
  ]
  model = backbone.Backbone(tuple(selected), **SMALL)
  state = state_dicts.random_state(model)
  assert f'encoder_embeddings.{LULC}.token_emb.weight' not in state
  path = save(
    tmp_path / 'a.safetensors',
    {f'sampler.model.{key}': x for key, x in state.items()},
  )
  run('--source', path, '--out', tmp_path / 'out')
  loaded = fusion_jax.load(tmp_path / 'out')
  assert {m.name: (m.seen, m.is_target) for m in loaded.modalities} == {
    DEM: (True, False),
    LULC: (False, True),
    'coords': (True, False),
  }
  assert loaded.encode({'DEM': np.zeros((224, 224, 1))}).shape == (196, 4)
  with pytest.raises(ValueError, match='cannot see'):
    loaded.encode({'LULC': np.zeros((14, 14), int)})
  with pytest.raises(ValueError, match='cannot generate'):
    loaded.generate({'lat': 1.0, 'lon': 2.0}, 'coords')


def test_a_tim_model_gives_its_encoder_and_its_sampler(tmp_path, state):
  sizes = {key: x for key, x in SMALL.items() if not key.endswith('depth')}
  own = state_dicts.random_state(
    encoder.Encoder(modalities.select([DEM, LULC]), depth=2, **sizes), seed=1
  )
  both = own | {f'sampler.model.{key}': x for key, x in state.items()}
  run(
    '--source',
    save(tmp_path / 'a.safetensors', both),
    '--out',
    tmp_path / 'out',
  )
  assert isinstance(
    fusion_jax.load(tmp_path / 'out'), encoder_model.EncoderModel
  )
  sampler, _ = checkpoint.restore_params(tmp_path / 'out' / 'sampler')
  np.testing.assert_array_equal(
    sampler['mask_token'], state['mask_token'].ravel()
  )


def small_tokenizer(name):
  sizes = dict(width=16, depth=1, num_heads=1, image_size=32)
  if name == 'LULC':
    return image_tokenizer.make(name).clone(decoder_depth=1, **sizes)
  return image_tokenizer.make(name).clone(
    unet_width=32,
    unet_multipliers=(1, 1),
    unet_blocks=1,
    unet_attention=(),
    **sizes,
  )


def tokenizer_state(name):
  """A flat state of a small tokenizer."""
  rng = np.random.default_rng(0)
  model = small_tokenizer(name)
  params = {
    path: 0.2 * rng.normal(size=x.shape).astype(np.float32)
    for path, x in terramind_tokenizers.param_shapes(model).items()
  }
  return terramind_tokenizers.to_terramind(
    traverse_util.unflatten_dict(params, sep='/'), model
  )


@pytest.mark.parametrize('name', ['DEM', 'LULC'])
def test_a_tokenizer_encodes_and_decodes_in_physical_units(name, tmp_path):
  state = tokenizer_state(name)
  path = save(tmp_path / f'TerraMind_Tokenizer_{name}.safetensors', state)
  run('--source', path, '--out', tmp_path / 'out')
  codec = fusion_jax.load(tmp_path / 'out')
  assert codec.modality.field == name
  rng = np.random.default_rng(0)
  image = (
    rng.integers(0, 10, (2, 32, 32, 1))
    if name == 'LULC'
    else rng.normal(670, 900, (2, 32, 32, 1)).astype(np.float32)
  )
  model = small_tokenizer(name)
  params = terramind_tokenizers.from_terramind(state, model)
  inputs = image[..., 0] if name == 'LULC' else (image - 670.665) / 951.272
  codes = codec.encode(image)
  np.testing.assert_array_equal(
    codes, model.apply({'params': params}, inputs, method='encode')
  )
  assert codes.shape == (2, 2, 2) and len(np.unique(codes)) > 1
  decoded = codec.decode(codes)
  assert decoded.shape == (2, 32, 32, 1)
  if name == 'LULC':
    logits = model.apply({'params': params}, codes.astype(int), method='decode')
    np.testing.assert_array_equal(decoded[..., 0], logits.argmax(-1))
  else:
    assert decoded.dtype == np.float32 and decoded.std() > 50  # Metres.


@pytest.mark.parametrize(
  'codes, num_steps, message',
  [
    (np.ones((2, 2), int), 1, r'int64 \(2, 2\); expected integers'),
    (np.full((1, 2, 2), 0.5), 1, r'float64 \(1, 2, 2\)'),
    (np.ones((0, 2, 2), int), 1, r'\(0, 2, 2\)'),
    (np.ones((1, 2, 2), int), 0, 'num_steps=0 is not in 1'),
    (np.full((1, 2, 2), 15_360), 1, '15360'),
  ],
)
def test_what_is_no_code_is_not_decoded(codes, num_steps, message, tmp_path):
  path = save(tmp_path / 'Tokenizer_DEM.safetensors', tokenizer_state('DEM'))
  run('--source', path, '--out', tmp_path / 'out')
  codec = fusion_jax.load(tmp_path / 'out')
  with pytest.raises(ValueError, match=message):
    codec.decode(codes, num_steps)
  with pytest.raises(ValueError, match=r'\(0, 32, 32, 1\)'):
    codec.encode(np.zeros((0, 32, 32, 1)))


def test_the_name_tells_which_of_equal_tokenizers_it_is(tmp_path):
  state = tokenizer_state('DEM')
  path = save(tmp_path / 'a.safetensors', state)
  with pytest.raises(SystemExit, match='1 channels; tell which.*--modality'):
    run('--source', path, '--out', tmp_path / 'out')
  run('--source', path, '--out', tmp_path / 'out', '--modality', 'NDVI')
  assert fusion_jax.load(tmp_path / 'out').modality.name == 'tok_ndvi@224'
  with pytest.raises(SystemExit, match='that of S1GRD 2'):
    run('--source', path, '--out', tmp_path / 'two', '--modality', 'S1GRD')
  assert terramind_files.named('x/TerraMind-1.0-Tokenizer-S1GRD') == 'S1GRD'
  assert terramind_files.named('TerraMind_Tokenizer_NDVI.pt') == 'NDVI'


def test_a_generation_model_comes_with_its_tokenizers(tmp_path, state):
  both = {f'sampler.model.{key}': x for key, x in state.items()}
  both |= {
    f'tokenizer.{LULC}.{key}': x for key, x in tokenizer_state('LULC').items()
  }
  run(
    '--source',
    save(tmp_path / 'a.safetensors', both),
    '--out',
    tmp_path / 'out',
  )
  assert fusion_jax.load(tmp_path / 'out').config.task == 'pretrain'
  codec = fusion_jax.load(tmp_path / 'out' / 'tokenizers' / LULC)
  assert codec.modality.name == LULC


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda s: s.pop('quant_proj.bias'), r"Missing keys: \['quant_proj.bias'"),
    (
      lambda s: s.pop('quant_proj.weight'),
      r"Missing keys: .*'quant_proj.weight'.*Keys too many: \[",
    ),
    (
      lambda s: s.pop('decoder.input_blocks.0.0.weight'),
      'decoder.input_blocks.0.0.weight',
    ),
    (lambda s: s.update(extra=np.zeros(2)), "Keys too many: \\['extra'"),
    (
      lambda s: s.update({'quant_proj.bias': np.zeros(4, 'f')}),
      r'\(4,\), should be \(5,\)',
    ),
  ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(change, message, tmp_path):
  changed = tokenizer_state('DEM')
  change(changed)
  path = save(tmp_path / 'Tokenizer_DEM.safetensors', changed)
  with pytest.raises(SystemExit, match=message):
    run('--source', path, '--out', tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  'change, parts',
  [
    (
      lambda s: s.pop('encoder.0.attn.qkv.weight'),
      ("Missing keys: ['encoder.0.attn.qkv.weight']", 'Keys too many: []'),
    ),
    (
      lambda s: s.update(extra=np.zeros(3)),
      ('Missing keys: []', "Keys too many: ['extra']"),
    ),
    (
      lambda s: s.update({'mask_token': np.zeros((1, 1, 5), 'f')}),
      ('mask_token makes mask_token of (5,), should be (4,)',),
    ),
    (
      lambda s: s.update(
        {f'decoder_embeddings.{LULC}.to_logits.weight': np.zeros((3, 4), 'f')}
      ),
      ('to_logits.weight is (3, 4), should be (4375, 4)',),
    ),
    (
      lambda s: s.pop('encoder_norm.weight'),
      ("Missing keys: ['encoder_norm.weight']", 'Keys too many: []'),
    ),
  ],
)
def test_what_does_not_fit_is_listed(change, parts, tmp_path, state):
  changed = dict(state)
  change(changed)
  path = save(tmp_path / 'a.safetensors', changed)
  with pytest.raises(
    SystemExit, match='fusion-jax convert: .*a.safetensors'
  ) as e:
    run('--source', path, '--out', tmp_path / 'out')
  for part in parts:
    assert part in str(e.value)
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  'key, shape',
  [
    ('encoder_norm.weight', (4, 4)),
    ('encoder_norm.weight', (0,)),
    (f'encoder_embeddings.{LULC}.pos_emb', ()),
    ('encoder_embeddings.coords.token_emb.weight', (0, 4)),
    ('encoder_embeddings.coords.token_emb.weight', (4,)),
    ('encoder_embeddings.coords.pos_emb', ()),
  ],
)
def test_a_key_that_tells_no_size_is_named(key, shape, tmp_path):
  changed = state_dicts.random_state(small_backbone([LULC, 'coords']))
  path = save(tmp_path / 'a.safetensors', changed | {key: np.zeros(shape, 'f')})
  with pytest.raises(SystemExit, match=f'{key} is .*should'):
    run('--source', path, '--out', tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_another_variant_is_refused_with_both_lists(tmp_path, state):
  path = save(tmp_path / 'a.safetensors', state)
  with pytest.raises(SystemExit) as error:
    run('--source', path, '--out', tmp_path / 'out', '--variant', 'base')
  missing, surplus = str(error.value).split('Keys too many')
  assert "'encoder.11.mlp.fc3.weight'" in missing
  assert "'encoder.0.attn.qkv.bias'" in surplus
  assert 'should be (768,)' in surplus


def test_a_width_of_no_published_model_needs_its_heads(tmp_path):
  with pytest.raises(SystemExit, match='width 4 .*--num-heads'):
    app.main(
      [
        'convert',
        'terramind',
        '--source',
        str(DATA / 'torch/backbone.pt'),
        '--out',
        str(tmp_path),
      ]
    )


def test_modalities_that_are_not_terraminds_are_named(tmp_path, state):
  state = {key.replace(LULC, 'caption'): x for key, x in state.items()}
  path = save(tmp_path / 'a.safetensors', state)
  with pytest.raises(SystemExit, match="modalities .'caption'."):
    run('--source', path, '--out', tmp_path / 'out')


def test_keys_of_another_model_are_shown(tmp_path):
  path = save(tmp_path / 'a.safetensors', {'layer1.weight': np.zeros(2)})
  with pytest.raises(SystemExit, match='layer1.weight'):
    run('--source', path, '--out', tmp_path / 'out')


@pytest.mark.parametrize(
  'name, content, message',
  [
    ('a.safetensors', b'12345678abc', 'truncated'),
    ('a.txt', b'1', '.pt'),
    ('a.pt', b'12345', 'truncated'),
  ],
)
def test_a_file_that_holds_no_weights_is_named(
  name, content, message, tmp_path
):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(SystemExit, match=message) as error:
    run('--source', tmp_path / name, '--out', tmp_path / 'out')
  assert name in str(error.value)


def test_code_in_a_pickle_is_refused(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit, match='posix.system.*nothing was executed'):
    run('--source', DATA / 'torch/code.pt', '--out', 'out')
  assert not list(tmp_path.iterdir())


def test_a_folder_with_checkpoints_is_not_overwritten(tmp_path):
  source = DATA / 'torch' / 'backbone.pt'
  run('--source', source, '--out', tmp_path)
  with pytest.raises(SystemExit, match='holds checkpoints already'):
    run('--source', source, '--out', tmp_path)


def test_the_file_of_the_coordinates_replaces_our_vocabulary(tmp_path):
  words = DATA / 'masking' / 'small.coords_tokenizer.json'
  path = shutil.copy(words, tmp_path / 'config.json')
  state = state_dicts.random_state(small_backbone([DEM, 'coords']))
  run(
    '--source',
    save(tmp_path / 'a.safetensors', state),
    '--out',
    tmp_path / 'out',
  )
  assert fusion_jax.load(tmp_path / 'out').tokenizer.num_words == 2_366
  run('--source', path, '--out', tmp_path / 'out')
  tokenizer = fusion_jax.load(tmp_path / 'out').tokenizer
  assert tokenizer.num_words < 100
  assert (tokenizer.encode(1.0, 2.0)[:2] >= 24).all()


def test_a_json_that_is_no_vocabulary_is_refused(tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps({'model': 'x'}))
  with pytest.raises(SystemExit, match='config.json'):
    run('--source', tmp_path / 'config.json', '--out', tmp_path / 'out')


@pytest.fixture
def hub(monkeypatch):
  """A hub that serves one small file, and the calls it got."""
  calls = []

  def download(repo_id, filename, revision=None):
    calls.append((repo_id, filename, revision))
    if repo_id.startswith('nobody'):
      raise OSError('404: no such repository')
    return str(DATA / 'torch' / 'backbone.pt')

  monkeypatch.setitem(
    sys.modules,
    'huggingface_hub',
    types.SimpleNamespace(hf_hub_download=download),
  )
  return calls


def test_a_hub_id_is_fetched_at_a_revision(tmp_path, hub):
  source = 'ibm-esa-geospatial/TerraMind-1.0-tiny'
  run('--source', source, '--out', tmp_path / 'a', '--revision', 'abc')
  run('--source', 'someone/else', '--file', 'b.pt', '--out', tmp_path / 'b')
  assert hub == [
    (source, 'TerraMind_v1_tiny.pt', 'abc'),
    ('someone/else', 'b.pt', None),
  ]
  metadata = checkpoint.read_metadata(tmp_path / 'a', 0)
  assert metadata['source']['source'] == source
  assert metadata['source']['revision'] == 'abc'


@pytest.mark.parametrize(
  'source, message',
  [
    ('nobody/none', 'name the file'),
    ('missing.pt', 'is neither a file nor a hub id'),
    ('a/b/c', 'nor a hub id'),
    ('weights/missing.pt', 'neither a file'),
  ],
)
def test_a_source_that_is_not_there_says_what_it_may_be(
  source, message, tmp_path, hub
):
  with pytest.raises(SystemExit, match=message):
    run('--source', source, '--out', tmp_path / 'out')
  assert not hub


def test_a_folder_is_no_source(tmp_path, hub, monkeypatch):
  (tmp_path / 'owner' / 'name').mkdir(parents=True)
  monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit, match='owner/name is a folder; give the path'):
    run('--source', 'owner/name', '--out', 'out')
  assert not hub


def test_a_failed_download_names_the_file(tmp_path, hub):
  with pytest.raises(SystemExit, match='x.pt of nobody/none .*404'):
    run('--source', 'nobody/none', '--file', 'x.pt', '--out', tmp_path / 'out')


def test_without_the_hubs_client_the_extra_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(SystemExit, match=r"pip install 'fusion_jax\[hub\]'"):
    run(
      '--source',
      'ibm-esa-geospatial/TerraMind-1.0-tiny',
      '--out',
      tmp_path / 'out',
    )


def test_the_choices_of_the_command_are_the_published_models():
  hints = typing.get_type_hints(convert_command.TerraMind)
  for name, choices in (
    ('variant', published.VARIANTS),
    ('modality', published.TOKENISED),
  ):
    literal, _ = typing.get_args(hints[name])
    assert typing.get_args(literal) == tuple(choices)
