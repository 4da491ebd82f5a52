"""Zero-shot scores of made-up vectors, by hand."""

import numpy as np
import pytest

from fusion_jax.data import prompt_files, prompts
from fusion_jax.evals import zero_shot

AXES = np.eye(3, 4, dtype=np.float32)
CLASSES = zero_shot.Classes(('a', 'b', 'c'), np.array([0, 2, 5]), AXES)


def test_accuracy_counts_places_and_means_count_classes():
  vectors = AXES[[0, 0, 0, 1, 1]]
  truth = np.array([0, 0, 0, 2, 0])
  score = zero_shot.evaluate(vectors, truth, CLASSES)
  assert score.accuracy == pytest.approx(4 / 5)
  assert score.by_class == pytest.approx((3 / 4 + 1) / 2)
  assert score.by_candidate == pytest.approx((3 / 4 + 1) / 3)
  assert score.count == 5
  assert score.classes == {'a': (0.75, 4), 'b': (1.0, 1)}
  assert score.interval[0] < score.accuracy <= score.interval[1]


def test_places_without_label_or_class_with_prompts_do_not_count():
  vectors, truth = AXES[[0, 1, 2]], np.array([0, -1, 3])
  score = zero_shot.evaluate(vectors, truth, CLASSES)
  assert (score.accuracy, score.count) == (1.0, 1)
  nothing = zero_shot.evaluate(vectors, np.full(3, -1), CLASSES)
  assert np.isnan(nothing.accuracy) and nothing.count == 0


def test_normalised_accuracy_takes_away_that_a_class_is_near_everything():
  rng = np.random.default_rng(0)
  truth = np.repeat([0, 2], 50)
  vectors = 0.2 * AXES[np.repeat([0, 1], 50)] + [1, 0, 0, 0]
  vectors += rng.normal(0, 0.001, vectors.shape)
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  score = zero_shot.evaluate(vectors, truth, CLASSES)
  assert score.accuracy == 0.5
  assert score.normalised == 1.0


def test_first_class_wins_a_tie():
  score = zero_shot.evaluate(
    AXES[[0]], np.array([0]), CLASSES._replace(vectors=AXES[[0, 0, 0]])
  )
  assert score.accuracy == 1


def test_classes_are_read_in_either_spelling_and_prompts_averaged(tmp_path):
  vectors = np.array([[2, 0], [0, 1], [0, 3]], np.float32)
  prompt_files.write(
    tmp_path / 'p.npz',
    prompts.Prompts(
      ('BlackSea', 'Alpine'), ('x', 'y', 'z'), (0, 0, 1), vectors
    ),
  )
  result = zero_shot.read_classes(
    tmp_path / 'p.npz', 'bioregion', 2, ('Alpine', 'Black Sea')
  )
  np.testing.assert_array_equal(result.values, [1, 0])
  half = np.sqrt(0.5)
  np.testing.assert_allclose(result.vectors, [[half, half], [0, 1]], atol=1e-6)


def test_class_that_the_label_lacks_is_an_error(tmp_path):
  prompt_files.write(
    tmp_path / 'p.npz',
    prompts.Prompts(('Sea',), ('x',), (0,), np.ones((1, 2), np.float32)),
  )
  with pytest.raises(ValueError, match=r"p\.npz.*\['Sea'\].*Alpine"):
    zero_shot.read_classes(tmp_path / 'p.npz', 'bioregion', 2, ('Alpine',))
