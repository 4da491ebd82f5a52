"""Cached decoding against re-running the prefix, and against the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.data import normalize
from fusion_jax.data.transforms import pretrain as pretrain_transforms
from fusion_jax.generation import sequences
from fusion_jax.models import backbone as backbone_lib

RAW = 'untok_sen2l2a@224'


@pytest.fixture(scope='module')
def model():
  backbone = backbone_lib.Backbone(
    modalities.select(
      [RAW, 'coords', 't2m_hourly', 'tp_sum_daily'], image_size=32
    ),
    width=32,
    encoder_depth=1,
    decoder_depth=2,
    num_heads=2,
    image_size=32,
  )
  slots = condition(backbone)
  batch = {'encoder': slots, 'decoder': decoder_slots(2, 1, 4)}
  params = jax.jit(backbone.init)(jax.random.key(0), batch)['params']
  # Away from the small initial tables, or every code is as likely.
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda x: x + 0.1 * rng.normal(size=x.shape).astype('f'), params
  )
  return backbone, params, slots


def condition(backbone, num_places=2):
  rng = np.random.default_rng(0)
  shown = pretrain_transforms.showing(
    backbone.modalities,
    [RAW],
    image_size=32,
    quantizers={},
    tokenizer=None,
    standards=normalize.standards(backbone.modalities),
  )
  slots = []
  for _ in range(num_places):
    example = {
      'lat': np.nan,
      'lon': np.nan,
      'S2L2A': 2_000 + 1_500 * rng.normal(size=(32, 32, 12)),
    }
    for transform in shown:
      example = transform.map(example)
    slots.append(example['encoder'])
  return jax.tree.map(lambda *rows: np.stack(rows), *slots)


def decoder_slots(batch, modality, length, code=0):
  ones = jnp.ones((batch, length), jnp.int32)
  return {
    'modality': ones * modality,
    'code': ones * code,
    'position': ones * jnp.arange(length)[None],
    'attention': ones,
  }


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def greedy_without_cache(backbone, params, slots, index, length):
  """Re-runs the decoder on the whole prefix for every token."""
  encoded = backbone.apply({'params': params}, slots, method='encode')
  name = backbone.modalities[index].name
  table = params['decoder_embeddings'][name]
  allowed = sequences.series_codes(backbone.modalities[index])
  inputs = decoder_slots(len(slots['code']), index, length + 1)

  def append(i, codes):
    tokens = backbone.apply(
      {'params': params}, *encoded, inputs | {'code': codes}, method='decode'
    )
    logits = jnp.where(allowed[None], tokens[:, i] @ table.T, -jnp.inf)
    return codes.at[:, i + 1].set(logits.argmax(-1))

  codes = inputs['code'].at[:, 0].set(sequences.FIRST)
  return jax.lax.fori_loop(0, length, append, codes)[:, 1:]


def series(model, key=0, **kwargs):
  backbone, params, slots = model
  run = jax.jit(
    functools.partial(
      sequences.series, backbone, **{'target': 'tp_sum_daily', **kwargs}
    )
  )
  return run(params, slots, jax.random.key(key))


def test_cached_decoding_equals_running_the_prefix_again(model):
  codes = series(model, sampling=sequences.GREEDY)
  expected = greedy_without_cache(*model, 2, 40)
  np.testing.assert_array_equal(codes[:, 0], expected)
  assert len(np.unique(codes)) > 3  # Else equality would say little.


def test_a_series_has_its_leads_and_only_values(model):
  temperature = series(model, target='t2m_hourly', num_samples=3)
  assert temperature.shape == (2, 3, 60)
  assert temperature.min() >= modalities.VALUE_OFFSET
  precipitation = series(model, num_samples=50)
  assert precipitation.shape == (2, 50, 40)
  specials = precipitation[precipitation < modalities.VALUE_OFFSET]
  assert set(np.unique(specials)) == {modalities.ZERO}


def test_samples_differ_and_belong_to_their_condition(model):
  codes = series(model, num_samples=4)
  assert len({tuple(row.tolist()) for row in codes.reshape(8, -1)}) == 8
  greedy = series(model, num_samples=3, sampling=sequences.GREEDY)
  once = series(model, sampling=sequences.GREEDY)
  np.testing.assert_array_equal(greedy, np.repeat(once, 3, axis=1))


def test_the_same_key_draws_the_same_series(model):
  np.testing.assert_array_equal(series(model, key=3), series(model, key=3))
  assert (series(model, key=3) != series(model, key=4)).any()


def test_padding_slots_do_not_change_what_is_generated(model):
  backbone, params, slots = model

  def pad(x):
    return np.concatenate([x, np.zeros_like(x)], axis=1)

  padded = jax.tree.map(pad, slots)
  padded['modality'][:, slots['modality'].shape[1] :] = -1
  np.testing.assert_array_equal(
    series(model, sampling=sequences.GREEDY),
    series((backbone, params, padded), sampling=sequences.GREEDY),
  )


def test_text_is_the_run_behind_the_last_first_sentinel():
  codes = jnp.array(
    [[9_000, 9_500, 6, 9_000], [14, 1_000, 1_000, 6], [9_000, 5, 9_500, 3]]
  )
  run, length = sequences.run_of_first_sentinel(codes)
  assert run.tolist() == [[9_000, 9_500, 0, 0], [0] * 4, [9_500, 3, 0, 0]]
  assert length.tolist() == [2, 0, 2]


def test_text_stops_when_every_sequence_has(model):
  backbone, params, slots = model
  table = jnp.zeros_like(params['decoder_embeddings']['coords'])
  always = {**params['decoder_embeddings'], 'coords': table}
  run = jax.jit(
    functools.partial(sequences.text, backbone, sampling=sequences.GREEDY)
  )
  codes = run(
    {**params, 'decoder_embeddings': always}, slots, jax.random.key(0)
  )
  assert codes.shape == (2, 1, 4) and not codes.any()


def test_an_unknown_target_raises(model):
  backbone, params, slots = model
  with pytest.raises(ValueError, match="can generate .*'t2m_hourly'"):
    sequences.series(backbone, params, slots, jax.random.key(0), 'tp_hourly')
