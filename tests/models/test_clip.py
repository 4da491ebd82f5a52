"""Both towers of CLIP against recorded outputs, and their behaviour."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.models import clip, clip_costs
from tests import golden_clip as golden

BOTH = pytest.mark.parametrize('name', golden.NAMES)
TINY = clip.Clip('gelu', 6, 8, 4, 16, 2, 2, 11, 5, 12, 3, 2)
PIXELS = np.zeros((1, 8, 8, 3), np.float32)
IDS = np.array([[9, 3, 10, 0, 0]], np.int32)


@functools.cache
def tiny_params():
  return jax.jit(TINY.init)(jax.random.key(0), PIXELS, IDS)


def _vision(model, pixels):
  tower = model.vision
  tokens = tower.embed(pixels)
  visible = jnp.ones((1, 1, 1, tokens.shape[1]), bool)
  return {
    'vision_hidden0': tokens,
    'vision_last_hidden': tower.encoder(tokens, visible),
  }


def _text(model, ids):
  return {
    'text_hidden0': model.text.embed(ids),
    'text_last_hidden': model.text.encode(ids),
  }


def close(result, expected):
  np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5)


@BOTH
def test_image_tower_gives_the_recorded_arrays(name):
  model, params = golden.converted(name)
  _, arrays = golden.load(name)
  inside = model.apply({'params': params}, golden.pixels(name), method=_vision)
  for key, value in inside.items():
    close(value, arrays[f'mid/{key}'])
  raw = model.apply(
    {'params': params}, golden.pixels(name), method='embed_images'
  )
  close(raw, arrays['out/image_embeds_raw'])
  close(
    raw / np.linalg.norm(raw, axis=-1, keepdims=True),
    arrays['out/image_embeds'],
  )


@BOTH
def test_text_tower_gives_the_recorded_arrays(name):
  model, params = golden.converted(name)
  _, arrays = golden.load(name)
  ids = arrays['in/input_ids']
  inside = model.apply({'params': params}, ids, method=_text)
  for key, value in inside.items():
    close(value, arrays[f'mid/{key}'])
  raw = model.apply({'params': params}, ids, method='embed_texts')
  close(raw, arrays['out/text_embeds_raw'])
  close(
    raw / np.linalg.norm(raw, axis=-1, keepdims=True), arrays['out/text_embeds']
  )


@BOTH
def test_logits_are_scaled_cosines(name):
  model, params = golden.converted(name)
  _, arrays = golden.load(name)
  logits = model.apply(
    {'params': params}, golden.pixels(name), arrays['in/input_ids']
  )
  close(logits, arrays['out/logits_per_image'])


def test_activations_are_told_apart():
  """The golden case with the other activation is far off."""
  model, params = golden.converted('gelu')
  other = dataclasses.replace(model, activation='quick_gelu')
  raw = other.apply(
    {'params': params}, golden.pixels('gelu'), method='embed_images'
  )
  expected = golden.load('gelu')[1]['out/image_embeds_raw']
  assert np.abs(raw - expected).max() > 1e-3


def test_what_follows_the_end_of_a_text_is_not_seen():
  ids = np.array([IDS[0], [9, 3, 10, 7, 10]], np.int32)
  embed = jax.jit(functools.partial(TINY.apply, method='embed_texts'))
  padded, other = embed(tiny_params(), ids)
  np.testing.assert_allclose(other, padded, atol=1e-6)
  (short,) = embed(tiny_params(), IDS[:, :3])
  np.testing.assert_allclose(short, padded, atol=1e-6)


def test_towers_run_in_bfloat16_and_give_float32():
  params = tiny_params()
  pixels = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype('f')
  half = dataclasses.replace(TINY, dtype=jnp.bfloat16)
  for method, inputs in (('embed_images', pixels), ('embed_texts', IDS)):
    result, exact = (
      jax.jit(functools.partial(model.apply, method=method))(params, inputs)
      for model in (half, TINY)
    )
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, exact, atol=0.05 * np.abs(exact).max())


def test_initial_weights_are_as_openai_draws_them():
  model = dataclasses.replace(
    TINY, width=64, vision_width=64, text_width=64, vocab_size=500
  )
  params = jax.jit(model.init)(jax.random.key(0), PIXELS, IDS)['params']
  assert float(params['log_scale']) == pytest.approx(np.log(1 / 0.07))
  for path, deviation in (
    (('vision', 'projection'), 1 / 8),
    (('text', 'projection'), 1 / 8),
    (('vision', 'positions'), 1 / 8),
    (('vision', 'class_token'), 1 / 8),
    (('text', 'table'), 0.02),
    (('text', 'positions'), 0.01),
  ):
    assert np.std(params[path[0]][path[1]]) == pytest.approx(
      deviation, rel=0.25
    ), path
  blocks = params['text']['encoder']['blocks']
  np.testing.assert_array_equal(blocks['norm1']['scale'], 1)
  np.testing.assert_array_equal(blocks['fc1']['bias'], 0)
  first, second = blocks['attention']['qkv']['kernel'][:2]
  assert np.abs(first - second).max() > 0.01  # Every layer has its own draws.
  assert np.abs(first).max() <= np.sqrt(6 / 128) + 1e-6  # Xavier, by part.


def test_parameters_and_products_of_vit_b_32():
  model = clip.Clip('quick_gelu')
  assert clip_costs.num_parameters(model) == 151_277_313
  assert clip_costs.image_macs(model) == 4_408_811_520
  assert clip_costs.text_macs(model) == 2_979_770_368


@pytest.mark.parametrize(
  'sizes, message',
  [
    ({'activation': 'relu'}, "activation='relu' is none of"),
    ({'vision_heads': 5}, 'vision_heads=5 does not divide 16'),
    ({'text_heads': 5}, 'text_heads=5 does not divide 12'),
    ({'patch': 3}, 'patch=3 does not divide 8'),
  ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(TINY, **sizes)


def test_images_and_texts_of_another_size_are_refused():
  params = tiny_params()
  with pytest.raises(ValueError, match=r'\(4, 8, 3\).*\(8, 8, 3\)'):
    TINY.apply(params, PIXELS[:, :4], method='embed_images')
  with pytest.raises(ValueError, match='6 tokens.* most 5'):
    TINY.apply(params, np.zeros((1, 6), np.int32), method='embed_texts')
