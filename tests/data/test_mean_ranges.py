"""Ranges of the means of examples, against NumPy on all of them at once."""

import numpy as np
import pytest

from fusion_jax.data.builders import mean_ranges


def ranges_of(images):
  counted = mean_ranges.MeanRanges()
  for image in images:
    counted.add('S1RTC', image)
  return counted


def test_percentiles_of_means_are_those_of_numpy_with_either_sign():
  rng = np.random.default_rng(0)
  shift = rng.normal(0, [5, 400], (3_000, 1, 2))
  images = shift + rng.normal(0, 1, (3_000, 6, 2))
  images[:, 0, 1] = np.nan
  found = ranges_of(images).summary()['S1RTC']
  means = np.nanmean(images, axis=1)
  for end, share in ('low', 0.001), ('high', 0.999):
    # Neighbours of the percentile, and a bin of 0.1 %.
    near = np.sort(means, axis=0)
    rank = round(share * len(means))
    for band in range(2):
      around = near[max(rank - 2, 0) : rank + 2, band]
      assert around.min() - 0.001 * abs(around.min()) <= found[end][band]
      assert found[end][band] <= around.max() + 0.001 * abs(around.max())


def test_a_mean_in_the_bin_of_the_percentile_is_inside():
  dry = [np.zeros((4, 1))] * 60 + [np.full((4, 1), 3.0)] * 2_940
  found = ranges_of(dry).summary()['S1RTC']
  assert found['low'] == [0.0] and 3.0 <= found['high'][0] < 3.01


def test_few_examples_give_their_whole_range_with_a_margin():
  images = np.linspace(-5, 15, 60)[:, None, None] * np.ones((60, 4, 1))
  found = ranges_of(images).summary()['S1RTC']
  assert found['low'] == pytest.approx([-7.0], rel=1e-3)
  assert found['high'] == pytest.approx([17.0], rel=1e-3)


def test_parts_merge_to_the_same_bytes_in_any_order():
  images = np.random.default_rng(1).normal(size=(700, 4, 1))
  whole = ranges_of(images)
  parts = [ranges_of(images[i::3]) for i in range(3)]
  for order in (0, 1, 2), (2, 0, 1):
    merged = mean_ranges.MeanRanges()
    for i in order:
      again = mean_ranges.MeanRanges.from_state(parts[i].state())
      merged = merged.merge(again)
    assert merged.state() == whole.state()


def test_pixels_count_in_the_steps_that_exist_and_classes_never():
  counted = mean_ranges.MeanRanges()
  pixels = np.full((3, 2, 1, 1), 100.0)
  pixels[0] = 1e6
  pixels[1, 1] = np.nan
  counted.add_pixels(pixels, np.array([False, True, True]))
  counted.add_pixels(pixels, np.zeros(3, bool))
  counted.add('LULC', np.ones((4, 1)))
  found = counted.summary()
  assert list(found) == ['pixels']
  assert found['pixels']['high'] == pytest.approx([100, 100], rel=1e-3)


def test_a_field_without_any_value_has_no_range():
  found = ranges_of([np.full((4, 2), np.nan)]).summary()
  assert found == {'S1RTC': {'low': [None, None], 'high': [None, None]}}
