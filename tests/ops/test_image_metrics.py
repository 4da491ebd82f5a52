"""Scores of images, by hand and against scikit-image."""

import numpy as np
import pytest
from skimage import metrics

from fusion_jax.ops import image_metrics


def make_pair(seed=0, shape=(32, 48, 3)):
  rng = np.random.default_rng(seed)
  truth = rng.normal(size=shape)
  return truth, truth + 0.3 * rng.normal(size=shape)


def test_sums_are_those_of_the_counted_pixels():
  truth, result = make_pair()
  counted = np.zeros((32, 48), bool)
  counted[:10, 5:] = True
  sums = image_metrics.sums(truth, result, counted)
  part, other = truth[:10, 5:], result[:10, 5:]
  np.testing.assert_array_equal(sums['count'], [430] * 3)
  np.testing.assert_allclose(sums['se'], ((other - part) ** 2).sum((0, 1)))
  np.testing.assert_allclose(sums['ae'], abs(other - part).sum((0, 1)))
  np.testing.assert_allclose(
    sums['clipped_se'], ((other.clip(-1, 1) - part) ** 2).sum((0, 1))
  )
  np.testing.assert_allclose(sums['truth_sq'], (part**2).sum((0, 1)))


def test_the_patch_mean_is_the_best_constant_of_every_patch():
  truth, _ = make_pair()
  means = image_metrics.patch_means(truth)
  for top in (0, 16):
    for left in (0, 16, 32):
      patch = truth[top : top + 16, left : left + 16]
      result = means[top : top + 16, left : left + 16]
      np.testing.assert_allclose(
        result, np.broadcast_to(patch.mean((0, 1)), result.shape)
      )


def test_psnr_has_a_peak_of_two():
  truth, result = make_pair()
  expected = metrics.peak_signal_noise_ratio(truth, result, data_range=2)
  assert image_metrics.psnr_db(np.mean((truth - result) ** 2)) == pytest.approx(
    expected
  )
  assert image_metrics.psnr_db(0) == np.inf


def test_similarity_averages_to_the_published_score():
  truth, result = make_pair()
  assert image_metrics.similarity(truth, truth).mean() == pytest.approx(1)
  by_pixel = image_metrics.similarity(truth, result)
  assert by_pixel.shape == (32, 48)
  expected = metrics.structural_similarity(
    truth,
    result,
    data_range=2,
    channel_axis=-1,
    gaussian_weights=True,
    sigma=1.5,
    use_sample_covariance=False,
  )
  assert by_pixel[5:-5, 5:-5].mean() == pytest.approx(expected)


def test_majorities_fill_their_patch():
  classes = np.zeros((16, 32), int)
  classes[:9] = 4  # 9 of 16 rows.
  classes[:, 16:20] = 7
  result = image_metrics.patch_majorities(classes, 10)
  assert (result[:, :16] == 4).all()
  assert (result[:, 16:] == 4).all()  # 12 x 9 of 256, more than 7's 64.


def test_confusion_gives_accuracy_and_iou():
  truth = np.array([[0, 0, 1, 1, 2]])
  result = np.array([[0, 1, 1, 1, 3]])
  counted = np.array([[1, 1, 1, 1, 1]], bool)
  matrix = image_metrics.confusion(truth, result, counted, 10)
  assert image_metrics.accuracy(matrix) == pytest.approx(3 / 5)
  np.testing.assert_allclose(
    image_metrics.iou(matrix)[:5], [1 / 2, 2 / 3, 0, 0, np.nan]
  )
  # 3 is only predicted; 2 occurs and is always missed.
  assert image_metrics.mean_iou(matrix) == pytest.approx((1 / 2 + 2 / 3) / 3)
  half = image_metrics.confusion(truth, result, counted & (truth < 1), 10)
  assert half.sum() == 2
