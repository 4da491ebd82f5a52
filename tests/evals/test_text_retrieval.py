"""Search by text: what is found, and the picture."""

import numpy as np
import pytest
from PIL import Image

from fusion_jax.data import prompts
from fusion_jax.evals import text_retrieval

AXES = np.eye(3, dtype=np.float32)
TEXTS = prompts.Prompts(
  ('BlackSea', 'Alpine'), ('waves', 'peaks', 'more peaks'), (0, 1, 1), 2 * AXES
)


def test_nearest_places_of_each_class_are_found_in_order():
  vectors = np.array(
    [[0, 1, 0], [0.6, 0.8, 0], [1, 0, 0], [1, 0, 0]], np.float32
  )
  truth = np.array([0, 1, 1, 0])
  waves, peaks = text_retrieval.search(
    vectors, TEXTS, truth, ('Alpine', 'Black Sea'), k=2
  )
  np.testing.assert_array_equal(waves.places, [2, 3])
  np.testing.assert_allclose(waves.cosines, [1, 1])
  assert (waves.expected, waves.right) == ('BlackSea', 0.5)
  np.testing.assert_array_equal(peaks.places, [0, 1])
  assert peaks.text == 'peaks'
  assert text_retrieval.precision([waves, peaks]) == 0.5
  every = text_retrieval.search(vectors, TEXTS, per_class=5)
  assert len(every) == 3 and np.isnan(every[0].right)


@pytest.mark.parametrize('side', [1, 5])
def test_picture_has_a_row_a_text(tmp_path, side):
  rng = np.random.default_rng(0)
  examples = {
    i: {
      'pixels': rng.integers(1, 4_000, (12, 10, side, side)).astype(np.int16),
      'lat': 50.0,
      'lon': 4.0,
      'label/bioregion': np.int32(i - 1),
    }
    for i in range(3)
  }
  result = [
    text_retrieval.Answer('waves', 'BlackSea', np.arange(3), np.ones(3), 0.5)
  ] * 2
  path = tmp_path / 'found.png'
  text_retrieval.picture(
    path, result, examples, ('Alpine', 'Black Sea'), 'label/bioregion'
  )
  with Image.open(path) as image:
    assert image.width > 500 and np.asarray(image).std() > 20
