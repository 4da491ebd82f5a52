import numpy as np
import pytest

from fusion_jax.ops import patches


def test_channel_is_fastest_then_column_then_row():
  rows, columns, channels = np.meshgrid(
    np.arange(4), np.arange(6), np.arange(3), indexing='ij'
  )
  image = 100 * rows + 10 * columns + channels
  cut = patches.patchify(image, patch=2)
  assert cut.shape == (6, 12)
  # Patch 4: second row of patches, second column; pixels (2..3, 2..3).
  np.testing.assert_array_equal(
    cut[4], [220, 221, 222, 230, 231, 232, 320, 321, 322, 330, 331, 332]
  )


def test_unpatchify_is_the_inverse():
  images = np.random.default_rng(0).normal(size=(2, 3, 32, 48, 5))
  cut = patches.patchify(images)
  assert cut.shape == (2, 3, 6, 16 * 16 * 5)
  np.testing.assert_array_equal(patches.unpatchify(cut, (2, 3)), images)


def test_image_that_does_not_divide_raises():
  with pytest.raises(ValueError, match='30 x 32 pixels'):
    patches.patchify(np.zeros((30, 32, 1)))
