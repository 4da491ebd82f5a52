"""Runs a compiled function over many rows, in batches of one size.

The last batch is filled up, so that one compiled program serves all of them.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fusion_jax.types import Array


def run(
  prepare: Callable[[slice], Any],
  function: Callable[..., Any],
  num_rows: int,
  batch_size: int,
) -> Any:
  """Applies a function to all rows, batch by batch.

  Args:
    prepare: function that makes the inputs of some rows: it takes the slice of
      the rows and returns a tuple of arrays (or of nested dicts of arrays),
      whose leading axis are these rows. None stands for no array.
    function: compiled function of these inputs, whose result for a row does
      not depend on the other rows.
    num_rows: number of rows in all, at least 1.
    batch_size: rows of every call of the function.

  Returns:
    The results as NumPy arrays with `num_rows` rows, nested as the function
    returns them.
  """
  results = []
  for start in range(0, num_rows, batch_size):
    rows = slice(start, min(start + batch_size, num_rows))
    outputs = function(*fill(prepare(rows), batch_size))
    results.append(_first(outputs, rows.stop - rows.start))
  return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def fill(arrays: Any, batch_size: int) -> Any:
  """Fills arrays up to a batch by repeating their last row.

  Args:
    arrays: nested tuples or dicts of arrays with the same number of rows, at
      most `batch_size`.
    batch_size: rows of the filled arrays.
  """

  def fill_one(array: Array) -> Array:
    num_missing = batch_size - len(array)
    if not num_missing:
      return array
    return np.concatenate([array, np.repeat(array[-1:], num_missing, axis=0)])

  return jax.tree.map(fill_one, arrays)


def _first(arrays: Any, num_rows: int) -> Any:
  """Returns the first rows of nested arrays, as NumPy arrays."""
  return jax.tree.map(lambda x: np.asarray(x)[:num_rows], arrays)
