"""Fixed sine-cosine position tables, and their resizing; NumPy only.

Tables are constants, never parameters. Source: TerraMind / 4M (reference:
terrastackai/terratorch, commit 85467a9, `tm_utils.py`).
"""

from collections.abc import Sequence

import numpy as np

SEQUENCE_ROWS = 512  # Every sequence table has these rows, however few it uses.
_CUBIC_A = -0.75  # PyTorch's bicubic coefficient; JAX's 'cubic' has -0.5.


def sequence_table(width: int, rows: int = SEQUENCE_ROWS) -> np.ndarray:
  """Returns the position vectors of a sequence: sines, then cosines.

  Args:
    width: D, width of the vectors; must be even.
    rows: number of positions.

  Returns:
    [rows, D] float32.
  """
  return _waves(np.arange(rows), width // 2).astype(np.float32)


def grid_table(rows: int, columns: int, width: int) -> np.ndarray:
  """Returns the position vectors of a grid, numbered row by row.

  The first half of the features encodes the row, the second half the column.

  Args:
    rows: number of rows of the grid.
    columns: number of columns of the grid.
    width: D, width of the vectors; must be a multiple of 4.

  Returns:
    [rows * columns, D] float32.
  """
  row, column = np.divmod(np.arange(rows * columns), columns)
  halves = [_waves(row, width // 4), _waves(column, width // 4)]
  return np.concatenate(halves, axis=1).astype(np.float32)


def resized_grid_table(
  built: int, grid: Sequence[int], width: int
) -> np.ndarray:
  """Returns the position vectors of a square grid, resized to another grid.

  Weights were trained with the positions of one grid. Images of another size
  see this grid stretched over them, as in the reference.

  Args:
    built: patches per side of the square grid that the weights belong to.
    grid: number of patches (rows, columns) of the images at hand.
    width: D, width of the vectors.

  Returns:
    [rows * columns, D] float32.
  """
  table = grid_table(built, built, width)
  if tuple(grid) == (built, built):
    return table
  down = _bicubic_matrix(built, grid[0])
  across = _bicubic_matrix(built, grid[1])
  table_YXD = np.einsum(
    'yr,xc,rcd->yxd', down, across, table.reshape(built, built, width)
  )
  return table_YXD.reshape(-1, width).astype(np.float32)


def _waves(positions: np.ndarray, count: int) -> np.ndarray:
  """Returns sines and cosines of positions at `count` frequencies."""
  frequencies = 10_000.0 ** (-np.arange(count) / count)
  angles = positions[:, None] * frequencies
  return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _bicubic_matrix(length_in: int, length_out: int) -> np.ndarray:
  """Returns PyTorch's bicubic resize of one axis as a matrix [out, in].

  It has half-pixel centres, four taps, indices clamped at the border and no
  anti-aliasing.
  """
  centres = (np.arange(length_out) + 0.5) * length_in / length_out - 0.5
  first = np.floor(centres).astype(int)
  matrix = np.zeros((length_out, length_in))
  for tap in range(-1, 3):
    weights = _cubic_kernel(np.abs(centres - (first + tap)))
    columns = np.clip(first + tap, 0, length_in - 1)
    np.add.at(matrix, (np.arange(length_out), columns), weights)
  return matrix


def _cubic_kernel(distance: np.ndarray) -> np.ndarray:
  """Returns the weights of taps at distances in pixels."""
  a, t = _CUBIC_A, distance
  near = (a + 2) * t**3 - (a + 3) * t**2 + 1
  far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
  return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
