"""Layouts of weights: what a linear map or a convolution computes is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.convert import layouts

RANDOM = np.random.default_rng(0)


def random(*shape):
  return RANDOM.normal(size=shape).astype('f')


def row(*args):
  return layouts.Row('theirs', 'ours', *args)


ROWS = [
  (row(), (5,)),
  (row('linear'), (3, 4)),
  (row('linear', 2), (3, 4, 1, 1)),
  (row('convolution'), (3, 4, 2, 5)),
  (row('patches'), (3, 2, 16, 16)),
  (row('linear', 0, (0, 3, 2)), (12, 4)),
  (row('same', 0, (0, 3, 2)), (12,)),
  (row('convolution', 0, (1, 3, 2)), (5, 14, 3, 3)),
]


@pytest.mark.parametrize('row, shape', ROWS)
def test_there_and_back_is_the_same(row, shape):
  value = random(*shape)
  np.testing.assert_array_equal(
    layouts.to_theirs(layouts.to_ours(value, row), row), value
  )
  ours = jax.eval_shape(
    lambda x: layouts.to_ours(x, row), jax.ShapeDtypeStruct(shape, 'float32')
  )
  assert ours.shape == layouts.to_ours(value, row).shape


def test_a_linear_map_of_pixels_gives_them_with_the_channel_fastest():
  weight, inputs = random(3 * 4, 5), random(5)
  kernel = layouts.to_ours(weight, row('linear', 0, (0, 3, 2)))
  theirs = (weight @ inputs).reshape(3, 2, 2)  # Channel, row, column.
  np.testing.assert_allclose(
    (inputs @ kernel).reshape(2, 2, 3), theirs.transpose(1, 2, 0), rtol=1e-6
  )


def test_a_patch_weight_looks_at_the_same_pixels():
  weight, image = random(7, 2, 16, 16), random(16, 16, 2)
  kernel = layouts.to_ours(weight, row('patches'))
  theirs = np.einsum('dcyx,yxc->d', weight, image)
  np.testing.assert_allclose(
    image.ravel() @ kernel, theirs, rtol=1e-4, atol=1e-5
  )


def test_values_past_the_pixels_stay_where_they_are():
  ours = layouts.to_ours(np.arange(14.0), row('same', 0, (0, 3, 2)))
  assert ours.tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 12, 13]
  assert ours.dtype == np.float32


def test_layers_are_stacked_in_the_library_they_came_in():
  assert isinstance(layouts.stack([np.zeros(2)] * 3), np.ndarray)
  assert layouts.stack([jnp.zeros(2)] * 3).shape == (3, 2)
