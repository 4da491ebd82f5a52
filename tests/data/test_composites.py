"""Composites by hand."""

import numpy as np
import pytest

from fusion_jax.data import composites

CLEAR, SHADOW, MEDIUM, CLOUD, SNOW = 4, 3, 8, 9, 11


def series(values, classes, month_of):
  """A single pixel's (counts, SCL, months)."""
  counts = np.array(values, np.uint16)[:, None, None, None]
  months = np.eye(12, dtype=bool)[np.array(month_of)]
  return counts, np.array(classes)[:, None, None], months


def composite(*arguments, kind='published'):
  values, valid = composites.monthly(*series(*arguments), kind)
  return values[:, 0, 0, 0], valid


def test_lower_of_two_middle_values_plus_one():
  values, valid = composite([500, 300, 400, 900], [CLEAR] * 4, [0] * 4)
  assert values[0] == 401
  assert valid.all()


def test_shadow_and_medium_cloud_stay_cloud_and_snow_become_zero():
  values, _ = composite(
    [500, 700, 600, 650], [SHADOW, MEDIUM, CLOUD, SNOW], [0, 0, 1, 2]
  )
  np.testing.assert_array_equal(values[:3], [501, 1, 1])


def test_one_cloud_of_two_acquisitions_gives_zero_and_one():
  assert composite([500, 600], [CLEAR, CLOUD], [4, 4])[0][4] == 1


def test_month_without_acquisitions_takes_all_of_the_year():
  values, _ = composite([300, 500, 700], [CLEAR] * 3, [0, 1, 2])
  np.testing.assert_array_equal(values, [301, 501, 701] + [501] * 9)


def test_clear_composite_leaves_clouds_out_and_marks_unseen_months():
  values, valid = composite(
    [500, 9000, 300, 9000],
    [CLEAR, CLOUD, CLEAR, SNOW],
    [0, 0, 0, 1],
    kind='clear',
  )
  assert values[0] == 300
  assert valid.tolist() == [True] + [False] * 11
  assert not values[1:].any()


def test_clear_composite_counts_every_pixel_by_itself():
  counts = np.array([[1, 2], [3, 4], [5, 6]])[:, None, None]  # [3, 1, 1, 2]
  classes = np.array([[4, 9], [4, 4], [9, 4]])[:, None]
  months = np.eye(12, dtype=bool)[[0, 0, 0]]
  values, valid = composites.monthly(counts, classes, months, 'clear')
  np.testing.assert_array_equal(values[0, 0, 0], [1, 4])
  assert valid[0]


def test_month_whose_centre_was_not_seen_clear_is_not_valid():
  counts = np.full((2, 1, 3, 3), 7)
  classes = np.full((2, 3, 3), CLOUD)
  classes[:, 0, 0] = CLEAR
  classes[1, 1, 1] = CLEAR
  months = np.eye(12, dtype=bool)[[0, 1]]
  values, valid = composites.monthly(counts, classes, months, 'clear')
  assert valid.tolist() == [False, True] + [False] * 10
  assert values[0, 0, 0, 0] == 7


def test_annual_composite_adds_nothing():
  counts, classes, _ = series([500, 300, 400], [CLEAR] * 3, [0, 5, 9])
  assert composites.annual(counts, classes)[0, 0, 0] == 400


@pytest.mark.parametrize(('size', 'first'), [(1, 32), (5, 30), (9, 28)])
def test_crops_start_where_the_published_ones_do(size, first):
  image = np.broadcast_to(np.arange(64), (2, 64, 64))
  crop = composites.centre_crop(image, size)
  assert crop.shape == (2, size, size)
  assert crop[0, 0, 0] == first


def test_what_cannot_be_composed_raises():
  with pytest.raises(ValueError, match='crop of 9 x 9 pixels does not fit'):
    composites.centre_crop(np.zeros((12, 5, 5)), 9)
  with pytest.raises(ValueError, match='no acquisitions'):
    composite(np.zeros(0), np.zeros(0), np.zeros(0, int))
  with pytest.raises(ValueError, match="no composite 'mean'"):
    composite([1], [4], [0], kind='mean')
