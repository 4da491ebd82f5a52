"""Batches of one size give each row what it would get alone."""

import numpy as np
import pytest

from fusion_jax.inference import batches


@pytest.mark.parametrize('num_rows', [1, 3, 4, 5, 8])
def test_every_row_gets_its_result_from_calls_of_one_size(num_rows):
  rows, sizes = np.arange(3 * num_rows).reshape(num_rows, 3), []

  def function(inputs, nothing):
    assert nothing is None
    sizes.append(len(inputs))
    return {'sum': inputs.sum(axis=1), 'first': [inputs[:, 0]]}

  results = batches.run(lambda part: (rows[part], None), function, num_rows, 4)
  np.testing.assert_array_equal(results['sum'], rows.sum(axis=1))
  np.testing.assert_array_equal(results['first'][0], rows[:, 0])
  assert set(sizes) == {4}


def test_arrays_are_filled_with_their_last_row():
  filled = batches.fill({'a': np.array([1, 2])}, 4)
  np.testing.assert_array_equal(filled['a'], [1, 2, 2, 2])
