"""Retrieval against all pairs at once, and chance against counting."""

import numpy as np
import pytest

from fusion_jax.evals import alignment_tables, retrieval


def units(rng, count, width=8):
  x = rng.normal(size=(count, width)).astype(np.float32)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize('exclude_own', [False, True])
@pytest.mark.parametrize('block', [1, 7, 64])
def test_blocks_find_what_all_pairs_at_once_find(block, exclude_own):
  rng = np.random.default_rng(0)
  queries, gallery = units(rng, 30), units(rng, 30)
  scores = queries @ gallery.T
  if exclude_own:
    np.fill_diagonal(scores, -np.inf)
  expected = np.argsort(-scores, axis=1, kind='stable')[:, :5]
  result = retrieval.nearest(
    queries, gallery, 5, exclude_own=exclude_own, block=block
  )
  np.testing.assert_array_equal(result, expected)


def test_of_equal_places_the_lowest_index_is_found():
  gallery = np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.float32)
  result = retrieval.nearest(gallery[[1, 3]], gallery, 3)
  np.testing.assert_array_equal(result, [[1, 2, 3], [1, 2, 3]])


def test_recall_is_of_the_class_and_own_places_can_be_left_out():
  pixels = np.eye(4, dtype=np.float32)
  truth = np.array([0, 0, 1, 1])
  with_own = retrieval.evaluate(pixels, pixels, truth, ks=(1, 2))
  assert with_own['s2g'].at[1] == with_own['g2s'].at[1] == 1
  # All others are equally near: the first that is left, which is place 0,
  # and for query 0 place 1.
  without = retrieval.evaluate(pixels, pixels, truth, ks=(1, 2), own=False)
  assert without['s2g'].at[1] == 0.5
  assert without['s2g'].count == 4


def test_directions_differ_and_unlabelled_places_do_not_count():
  pixels = np.array([[1, 0], [0.9, 0.1], [0, 1], [5, 5]], np.float32)
  photos = np.array([[0.9, 0.1], [0.1, 1], [0.8, 0.2], [5, 5]], np.float32)
  pixels, photos = (
    x / np.linalg.norm(x, axis=1, keepdims=True) for x in (pixels, photos)
  )
  truth = np.array([0, 1, 1, -1])
  result = retrieval.evaluate(pixels, photos, truth, ks=(1,))
  assert result['s2g'].count == 3
  assert result['s2g'].at[1] == pytest.approx(2 / 3)
  assert result['g2s'].at[1] == pytest.approx(2 / 3)
  swapped = retrieval.evaluate(photos, pixels, truth, ks=(1,))
  assert swapped['s2g'].at[1] == result['g2s'].at[1]


@pytest.mark.parametrize('own', [True, False])
def test_chance_is_that_of_random_places(own):
  rng = np.random.default_rng(0)
  truth = rng.choice(4, 40, p=[0.5, 0.3, 0.15, 0.05])
  hits = []
  for _ in range(1_500):
    for query in (0, 11, 23, 39):
      places = np.arange(40)
      places = places if own else places[places != query]
      hits.append(
        (
          query,
          (truth[rng.choice(places, 3, replace=False)] == truth[query]).any(),
        )
      )
  queries = np.array([q for q, _ in hits])
  share = {
    q: np.mean([hit for _, hit in np.array(hits)[queries == q]])
    for q in (0, 11, 23, 39)
  }
  for query, value in share.items():
    alike = truth == truth[query]
    one = retrieval.chance_level(truth, 3, own=own)
    size, same = 40 - (not own), alike.sum() - (not own)
    expected = 1 - np.prod([(size - same - i) / (size - i) for i in range(3)])
    assert value == pytest.approx(expected, abs=0.05)
  per_place = [
    1
    - np.prod(
      [
        (40 - (not own) - ((truth == t).sum() - (not own)) - i)
        / (40 - (not own) - i)
        for i in range(3)
      ]
    )
    for t in truth
  ]
  assert one == pytest.approx(np.mean(per_place))


def test_too_small_a_gallery_is_an_error():
  x = np.eye(3, dtype=np.float32)
  with pytest.raises(ValueError, match='k=3, but a query has 2 places'):
    retrieval.nearest(x, x, 3, exclude_own=True)


@pytest.mark.parametrize(
  'count, own, left',
  [
    (11, False, [1, 5, 10]),
    (10, False, [1, 5]),
    (5, True, [1, 5]),
    (2, False, [1]),
  ],
)
def test_more_neighbours_than_there_are_places_are_left_out(count, own, left):
  x = units(np.random.default_rng(0), count + 2)
  truth = np.array([0, -1, -1] + [0] * (count - 1))  # Two do not count.
  result = retrieval.evaluate(x, x, truth, own=own)
  assert list(result['g2s'].at) == list(result['s2g'].chance) == left


@pytest.mark.parametrize('count, own', [(0, True), (0, False), (1, False)])
def test_without_places_to_find_there_is_no_recall(count, own):
  x = np.eye(3, dtype=np.float32)
  truth = np.array([0] * count + [-1] * (3 - count))
  assert (
    retrieval.metrics('t/r', retrieval.evaluate(x, x, truth, own=own)) == {}
  )


def test_labels_that_occur_once_have_no_chance_to_be_compared_with():
  x = np.eye(3, dtype=np.float32)
  numbers = retrieval.metrics(
    'val/recall_own_excluded/crops',
    retrieval.evaluate(x, x, np.arange(3), own=False),
  )
  table = alignment_tables.recall_details(numbers, 'val', ['crops'])
  assert '| 0.000 [0.000, 0.000] | 0.000 | n/a |' in table
  numbers = retrieval.metrics(
    't/r', retrieval.evaluate(x, x, np.zeros(3, int), own=False)
  )
  assert retrieval.over_chance(numbers, 't/r', 's2g') == 1


def test_metrics_name_direction_and_number():
  truth = np.array([0, 0, 1, 1])
  x = np.eye(4, dtype=np.float32)
  numbers = retrieval.metrics('t/r', retrieval.evaluate(x, x, truth, ks=(1,)))
  assert set(numbers) == {
    't/r_s2g@1',
    't/r_s2g@1_low',
    't/r_s2g@1_high',
    't/r_chance@1',
    't/r_g2s@1',
    't/r_g2s@1_low',
    't/r_g2s@1_high',
  }
