"""A CLIP in use: photos and texts to vectors."""

import functools

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image

from fusion_jax.data import clip_images, prompts
from fusion_jax.inference import clip_model
from fusion_jax.models import clip, clip_text

SIZES = {
  'activation': 'quick_gelu',
  'width': 6,
  'image_size': 8,
  'patch': 4,
  'vision_width': 8,
  'vision_depth': 1,
  'vision_heads': 2,
  'vocab_size': 49_408,
  'context': 77,
  'text_width': 4,
  'text_depth': 1,
  'text_heads': 1,
}


@functools.cache
def load():
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(
    clip.Clip(**SIZES).init,
    jax.random.key(0),
    np.zeros((1, 8, 8, 3), np.float32),
    np.zeros((1, 77), np.int32),
  )
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype('f'), shapes['params']
  )
  return clip_model.ClipModel(
    ml_collections.ConfigDict({'model': SIZES}), params
  )


def photos(number):
  rng = np.random.default_rng(0)
  return [rng.integers(0, 256, (9 + i, 12, 3), np.uint8) for i in range(number)]


def test_photos_of_any_size_become_vectors_whatever_the_batches():
  model = load()
  whole = model.embed_images(photos(5), normalize=False)
  assert whole.shape == (5, 6) and whole.dtype == np.float32
  expected = model.model.apply(
    {'params': model.params},
    clip_images.preprocess(photos(5), 8),
    method='embed_images',
  )
  np.testing.assert_allclose(whole, expected, atol=2e-6)
  parts = model.embed_images(photos(5), normalize=False, batch_size=2)
  np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_vectors_have_length_one_unless_told_otherwise():
  model = load()
  raw = model.embed_texts(['a lake', 'a hill'], normalize=False)
  result = model.embed_texts(['a lake', 'a hill'])
  np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, atol=1e-6)
  np.testing.assert_allclose(
    result, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6
  )
  expected = model.model.apply(
    {'params': model.params},
    clip_text.encode(['a lake', 'a hill']),
    method='embed_texts',
  )
  np.testing.assert_allclose(raw, expected, atol=2e-6)


def test_nothing_gives_no_vectors():
  assert load().embed_images([]).shape == (0, 6)
  assert load().embed_texts([]).shape == (0, 6)


def test_class_vectors_are_means_of_their_prompts():
  model = load()
  result = model.class_vectors(
    prompts.from_texts(
      {'Water': ['a lake', 'a river'], 'Woodland': ['tall trees']}
    )
  )
  lake, river, trees = model.embed_texts(['a lake', 'a river', 'tall trees'])
  np.testing.assert_allclose(
    result[0], (lake + river) / np.linalg.norm(lake + river), atol=1e-6
  )
  np.testing.assert_allclose(result[1], trees, atol=1e-6)


def test_long_texts_are_cut_only_when_told():
  with pytest.raises(ValueError, match='102 tokens'):
    load().embed_texts(['far ' * 100])
  assert load().embed_texts(['far ' * 100], truncate=True).shape == (1, 6)


def test_torn_photos_and_foreign_vocabularies_are_refused(tmp_path):
  path = tmp_path / 'torn.png'
  Image.fromarray(photos(1)[0]).save(path)
  path.write_bytes(path.read_bytes()[:60])
  with pytest.raises(ValueError, match='torn.png does not decode'):
    load().embed_images([photos(1)[0], path])
  config = ml_collections.ConfigDict({'model': SIZES | {'vocab_size': 50}})
  with pytest.raises(ValueError, match='has 50 words'):
    clip_model.ClipModel(config, {}).embed_texts(['a lake'])
