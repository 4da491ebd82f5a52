"""Runs that start from converted weights take all of them, and say so."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from fusion_jax import modalities, runs
from fusion_jax.assembly import backbone as backbone_assembly
from fusion_jax.assembly import warm_start
from fusion_jax.configs import pretrain as pretrain_config
from fusion_jax.convert import write_terramind
from fusion_jax.models import backbone, coordinate_tokenizer
from fusion_jax.nn import embeddings as nn_embeddings
from fusion_jax.tasks import pretrain
from fusion_jax.train import checkpoint, sharding
from fusion_jax.train import state as state_lib
from tests import state_dicts
from tests.tasks import runner

SIZES = dict(
  width=16,
  encoder_depth=1,
  decoder_depth=1,
  num_heads=2,
  mlp='swiglu',
  use_bias=False,
)
WEATHER = tuple(pretrain_config.WEATHER)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  """A converted backbone of all thirteen published modalities."""
  folder = tmp_path_factory.mktemp('weights')
  names = [m.name for m in modalities.MODALITIES.values() if m.kind != 'series']
  state = state_dicts.random_state(
    backbone.Backbone(modalities.select(names), **SIZES)
  )
  state = {
    key: 0.1 * x if 'pos_emb' not in key else x for key, x in state.items()
  }
  path = folder / 'theirs.safetensors'
  safetensors.save_file(
    {key: np.ascontiguousarray(x) for key, x in state.items()}, path
  )
  write_terramind.convert(str(path), folder / 'ours', num_heads=2)
  return folder / 'ours'


def config_of(weights, **changes):
  """Raw S2L2A, six tokenised images, coordinates and eight series."""
  config = pretrain_config.get_config('size=tiny,data=terramesh,smoke')
  with config.unlocked():
    config.model.update(SIZES)
    config.init_from = str(weights)
    config.update(changes)
  return config


def flat(tree):
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(x)
    for path, x in jax.tree_util.tree_leaves_with_path(tree)
  }


def start(config, workdir):
  return warm_start.initial_params(config, workdir, sharding.make_mesh())


def test_all_old_parameters_are_the_converted_ones(weights, tmp_path):
  config = config_of(weights)
  model = backbone_assembly.make_model(config)
  provided = start(config, tmp_path)
  own = jax.tree.map(
    lambda x: np.full(x.shape, np.nan, x.dtype), backbone.param_shapes(model)
  )
  merged, old = (
    flat(state_lib.merge(own, provided)),
    flat(checkpoint.restore_params(weights)[0]),
  )
  new = {
    f'{part}/{name}'
    for name in WEATHER
    for part in (
      'encoder_embeddings',
      'decoder_embeddings',
      'modality_embeddings',
    )
  }
  assert set(merged) - set(old) == new
  for path in set(merged) - new:
    np.testing.assert_array_equal(merged[path], old[path], err_msg=path)
  assert {path.split('/')[1] for path in set(old) - set(merged)} == set(
    pretrain_config.OTHER_RAW
  )


def test_new_embeddings_are_drawn_as_the_reference_draws_them():
  """Normal 0.02 where tokens are looked up; Xavier where they are scored."""
  names = WEATHER[:2]
  embeddings = [
    layer(modalities.select(names), 16)
    for layer in (
      nn_embeddings.EncoderEmbeddings,
      nn_embeddings.DecoderEmbeddings,
      nn_embeddings.ModalityEmbeddings,
    )
  ]
  slots = {'modality': jnp.zeros((1, 1), int), 'code': jnp.zeros((1, 1), int)}
  inputs = ((slots,), (slots, jnp.zeros(16)), (slots['modality'],))
  encoder, decoder, vectors = (
    layer.init(jax.random.key(0), *x)['params']
    for layer, x in zip(embeddings, inputs)
  )
  assert np.std([vectors[name] for name in names]) == (
    pytest.approx(0.02, rel=0.3)
  )
  bound = (6 / (706 + 16)) ** 0.5
  for name in names:
    table = np.asarray(encoder[name])
    assert table.shape == decoder[name].shape == (706, 16)
    assert table.std() == pytest.approx(0.02, rel=0.05)
    assert np.abs(table).max() > 0.06  # Normal, not uniform.
    assert (table[0] != 0).all()
    table = np.asarray(decoder[name])
    assert table.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert 0.99 * bound < np.abs(table).max() <= bound


@pytest.mark.parametrize(
  'changes, parts',
  [
    (
      dict(init_new=('t2m_hourly',)),
      ('it lacks: [', "'decoder_embeddings/tp_hourly'", 'config.init_new'),
    ),
    (
      dict(init_without=('untok_dem@224',)),
      (
        "model lacks: ['encoder_embeddings/untok_sen1grd@224'",
        'config.init_without',
      ),
    ),
    (
      dict(init_new=(*WEATHER, 'coords')),
      ("Named as new, but there: ['decoder_embeddings/coords'",),
    ),
    (
      dict(coords_vocab_size=2_366),
      (
        'encoder_embeddings/coords (30000, 16), should be (2366, 16)',
        'config.coords_vocab_size',
      ),
    ),
    (
      dict(model=dict(encoder_depth=2)),
      (
        'encoder/blocks/attention/out/kernel (1, 16, 16), should be '
        '(2, 16, 16)',
      ),
    ),
    (
      dict(model=dict(use_bias=True, mlp='swiglu')),
      ('config.model.use_bias=True, there False',),
    ),
    (dict(model=dict(num_heads=4)), ('config.model.num_heads=4, there 2',)),
    (dict(standardise='data'), ("config.standardise='data'",)),
    (dict(init_new=('t2m_hurly',)), ("'t2m_hurly'", 't2m_hourly')),
  ],
)
def test_what_does_not_fit_is_listed(changes, parts, weights, tmp_path):
  with pytest.raises(ValueError) as error:
    start(config_of(weights, **changes), tmp_path)
  for part in parts:
    assert part in str(error.value)


def test_weights_of_another_model_are_named(weights, tmp_path, monkeypatch):
  monkeypatch.setattr(
    checkpoint,
    'restore_params',
    lambda *_, **__: ({}, {'config': {'task': 'image_tokenizer', 'model': {}}}),
  )
  with pytest.raises(ValueError, match="task 'image_tokenizer'; .* backbone"):
    start(config_of(weights), tmp_path)


def test_weights_without_their_words_of_places_are_noticed(
  weights, tmp_path, caplog
):
  start(config_of(weights), tmp_path)
  assert 'no coords_tokenizer.json' in caplog.text
  caplog.clear()
  words = weights / 'coords_tokenizer.json'
  coordinate_tokenizer.build().save(words)
  try:
    start(config_of(weights), tmp_path)
  finally:
    words.unlink()
  assert 'coords_tokenizer.json' not in caplog.text


def test_weights_that_are_not_there_name_the_command(tmp_path):
  config = config_of(tmp_path / 'nowhere')
  (tmp_path / 'statistics.json').write_text('{}')
  with pytest.raises(ValueError, match='nowhere.*fusion_jax.convert'):
    pretrain.Pretrain(config, tmp_path)


def test_the_vocabulary_of_the_weights_is_taken(weights, tmp_path):
  (tmp_path / 'statistics.json').write_text(
    json.dumps({'images': {}, 'series': {}})
  )
  coordinate_tokenizer.build().save(tmp_path / 'coords_tokenizer.json')
  small = 'tests/testdata/masking/small.coords_tokenizer.json'
  coordinate_tokenizer.load(small).save(weights / 'coords_tokenizer.json')
  try:
    result = backbone_assembly.find_tokenizer(weights, tmp_path)
  finally:
    (weights / 'coords_tokenizer.json').unlink()
  assert result.num_words == coordinate_tokenizer.load(small).num_words
  assert backbone_assembly.find_tokenizer('', tmp_path).num_words == 2_366


@pytest.mark.slow
def test_a_run_starts_from_the_weights_and_resumes_from_its_own(
  weights, tmp_path
):
  """The first learning rate is 0: after one step the weights still stand.

  The run sees raw S2L2A, tokenised images, coordinates and two series.
  """
  data = runner.prepare_data(tmp_path / 'data')
  config = config_of(
    weights,
    image_size=32,
    batch_size=8,
    num_steps=1,
    ema_decay=0.5,
    slots=dict(encoder=12, decoder=32),
    data=dict(dir=str(data)),
    checkpoint=dict(every=1),
    log_every=1,
    evals=dict(every=0, generate=(), num_examples=2),
    init_new=WEATHER[:2],
  )
  with config.unlocked():
    for name in WEATHER[2:]:
      del config.modalities[name]
  state = runs.run(config, tmp_path / 'run')
  old = flat(checkpoint.restore_params(weights)[0])
  for tree in (state.params, state.ema):
    result = flat(tree)
    assert len(set(result) & set(old)) == len(result) - 3 * 2
    for path in set(result) & set(old):
      np.testing.assert_array_equal(result[path], old[path], err_msg=path)
  config.num_steps = 2
  config.init_without = ()  # Would not fit: but nothing is read again.
  state = runs.run(config, tmp_path / 'run')
  assert state.step == 2
  assert np.any(flat(state.params)['mask_token'] != old['mask_token'])
  history = [
    json.loads(line)
    for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
  ]
  assert [record['step'] for record in history if 'train/loss' in record] == [
    1,
    2,
  ]
