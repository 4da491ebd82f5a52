"""Class vectors from prompts, and scores against them."""

import numpy as np

from fusion_jax.ops import zero_shot


def test_prompts_count_alike_whatever_their_length():
  """Normalise, average, normalise: by hand on two prompts and one."""
  vectors = np.array([[3, 0], [0, 4], [0, -2]], np.float32)
  result = zero_shot.class_vectors(vectors, [0, 0, 1], 2)
  half = np.sqrt(0.5)
  np.testing.assert_allclose(result, [[half, half], [0, -1]], atol=1e-7)
  scaled = vectors * np.array([[9], [0.1], [5]], np.float32)
  np.testing.assert_allclose(
    zero_shot.class_vectors(scaled, [0, 0, 1], 2), result, atol=1e-6
  )


def test_order_of_prompts_does_not_matter():
  rng = np.random.default_rng(0)
  vectors, class_of = rng.normal(size=(9, 4)), rng.permutation([0, 1, 2] * 3)
  order = rng.permutation(9)
  np.testing.assert_allclose(
    zero_shot.class_vectors(vectors[order], class_of[order], 3),
    zero_shot.class_vectors(vectors, class_of, 3),
    atol=1e-6,
  )


def test_scores_are_cosines():
  rng = np.random.default_rng(0)
  embeddings = rng.normal(size=(2, 3, 4)).astype('f')
  classes = rng.normal(size=(5, 4)).astype('f')
  expected = np.einsum('abd,cd->abc', embeddings, classes)
  expected /= np.linalg.norm(embeddings, axis=-1)[..., None]
  expected /= np.linalg.norm(classes, axis=-1)
  np.testing.assert_allclose(
    zero_shot.scores(embeddings, classes), expected, atol=1e-6
  )


def test_zero_vectors_stay_zero():
  np.testing.assert_array_equal(
    zero_shot.unit(np.zeros((2, 3), np.float32)), np.zeros((2, 3))
  )
