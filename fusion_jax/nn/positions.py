"""Fixed sine-cosine position tables, and their resizing. NumPy only.

Source: TerraMind / 4M (reference: terrastackai/terratorch, commit 85467a9,
`tm_utils.py`). Tables are constants, never parameters.
"""

import numpy as np

SEQUENCE_ROWS = 512  # Rows of every sequence table, whatever its longest one.
_CUBIC_A = -0.75  # PyTorch's bicubic coefficient; JAX's "cubic" has -0.5.


def sequence_table(width, rows=SEQUENCE_ROWS):
  """Positions of a sequence, [rows, D]: sines, then cosines. D is even."""
  return _waves(np.arange(rows), width // 2).astype(np.float32)


def grid_table(rows, columns, width):
  """Positions of a grid, numbered row by row, [rows * columns, D].

  The first half of the features encodes the row, the second half the column.
  D must be divisible by 4.
  """
  row, column = np.divmod(np.arange(rows * columns), columns)
  halves = [_waves(row, width // 4), _waves(column, width // 4)]
  return np.concatenate(halves, axis=1).astype(np.float32)


def resized_grid_table(built, grid, width):
  """The table of a `built` x `built` grid, resized to `grid`.

  Weights were trained with the positions of one grid; images of another size
  see that grid stretched over them, as the reference does it.

  Args:
    built: patches a side of the square grid the weights belong to.
    grid: (rows, columns) of the images at hand.
    width: D.

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


def _waves(positions, count):
  frequencies = 10_000.0 ** (-np.arange(count) / count)
  angles = positions[:, None] * frequencies
  return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _bicubic_matrix(length_in, length_out):
  """PyTorch's bicubic resize of one axis as a matrix [out, in].

  Half-pixel centres, four taps, indices clamped at the border, no
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


def _cubic_kernel(distance):
  a, t = _CUBIC_A, distance
  near = (a + 2) * t**3 - (a + 3) * t**2 + 1
  far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
  return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
