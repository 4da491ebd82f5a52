import numpy as np
import pytest

from fusion_jax.nn import positions


def test_first_half_of_a_grid_position_is_its_row():
  table = positions.grid_table(3, 5, 8).reshape(3, 5, 8)
  np.testing.assert_array_equal(table[1, :, :4], table[1, :1, :4].repeat(5, 0))
  np.testing.assert_array_equal(table[:, 2, 4:], table[:1, 2, 4:].repeat(3, 0))
  # Row 2, column 3; frequencies 1 and 1 / 100.
  np.testing.assert_allclose(
    table[2, 3],
    np.concatenate(
      [
        np.sin([2, 0.02]),
        np.cos([2, 0.02]),
        np.sin([3, 0.03]),
        np.cos([3, 0.03]),
      ]
    ),
    atol=1e-7,
  )


def test_sequence_positions_are_sines_then_cosines():
  table = positions.sequence_table(6)
  assert table.shape == (512, 6)
  angles = 7 * 10_000.0 ** (-np.arange(3) / 3)
  np.testing.assert_allclose(
    table[7], np.concatenate([np.sin(angles), np.cos(angles)]), atol=1e-7
  )


def test_table_of_the_built_size_is_not_resized():
  np.testing.assert_array_equal(
    positions.resized_grid_table(4, (4, 4), 8), positions.grid_table(4, 4, 8)
  )


@pytest.mark.parametrize('length_in, length_out', [(4, 6), (6, 4), (14, 16)])
def test_bicubic_matrix_follows_its_definition(length_in, length_out):
  matrix = positions._bicubic_matrix(length_in, length_out)
  np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
  a = -0.75
  for i in range(length_out):
    centre = (i + 0.5) * length_in / length_out - 0.5
    row = np.zeros(length_in)
    for j in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
      t = abs(centre - j)
      weight = (
        (a + 2) * t**3 - (a + 3) * t**2 + 1
        if t <= 1
        else a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
      )
      row[min(max(j, 0), length_in - 1)] += weight
    np.testing.assert_allclose(matrix[i], row, atol=1e-12)
