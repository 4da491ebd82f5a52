"""Converts the layout of one parameter, between torch and this package.

PyTorch has outputs before inputs and channels before pixels; this package has
the reverse. The functions work on NumPy arrays and, inside `jax.eval_shape`, on
shapes alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_PATCH = 16  # Pixels a side of what a 'patches' weight looks at.


class Row(NamedTuple):
  """The names and layout of one parameter, in torch and in this package.

  Attributes:
    theirs: key of the file; '{}' in it stands for all blocks.
    ours: path in our parameters, joined by '/'.
    layout: layout in the file: 'same'; 'linear', [out, in] and then `ones` axes
      of length 1; 'convolution', [out, in, Y, X]; or 'patches', [D, C, Y, X],
      which is [Y * X * C, D] in our parameters.
    ones: number of further axes of length 1 of a linear weight in the file.
    pixels: (axis in the file, channels, pixels per side) of an axis that begins
      with the pixels of a patch, or ().
  """

  theirs: str
  ours: str
  layout: str = 'same'
  ones: int = 0
  pixels: tuple[int, ...] = ()


def to_ours(value: Any, row: Row) -> Any:
  """Returns an array of a file as float32 in our layout.

  Args:
    value: array [...] of the file.
    row: layouts of the array in the file and in our parameters.

  Raises:
    ValueError, TypeError, IndexError: if the array has another number of axes.
  """
  if value.dtype != np.float32:
    value = value.astype(np.float32)
  if row.pixels:
    axis, *_ = row.pixels
    value = value.take(_order(row.pixels, value.shape[axis]), axis)
  if row.layout == 'linear':
    return value.reshape(value.shape[:2]).T
  if row.layout == 'same':
    return value
  value = value.transpose(2, 3, 1, 0)
  return (
    value if row.layout == 'convolution' else value.reshape(-1, value.shape[-1])
  )


def to_theirs(value: Any, row: Row) -> Any:
  """Returns one of our arrays in the layout of the file.

  Args:
    value: array [...] of our parameters.
    row: layouts of the array in the file and in our parameters.
  """
  if row.layout == 'linear':
    value = value.T.reshape(*value.shape[::-1], *(1,) * row.ones)
  elif row.layout == 'patches':
    value = value.reshape(_PATCH, _PATCH, -1, value.shape[-1])
    value = value.transpose(3, 2, 0, 1)
  elif row.layout == 'convolution':
    value = value.transpose(3, 2, 0, 1)
  if row.pixels:
    axis, *_ = row.pixels
    value = value.take(np.argsort(_order(row.pixels, value.shape[axis])), axis)
  return value


def shape_of(
  state: Mapping[str, Any], key: str, num_axes: int
) -> tuple[int, ...]:
  """Returns the shape of an array from which sizes of the model are read.

  Raises:
    ValueError: if the array has another number of axes, or an empty one.
    KeyError: if the key is missing.
  """
  shape = tuple(state[key].shape)
  if len(shape) != num_axes or not min(shape):
    raise ValueError(
      f'{key} is {shape}; it should have {num_axes} axes with '
      'entries. The sizes of the model cannot be derived from it.'
    )
  return shape


def stack(values: Sequence[Any]) -> Any:
  """Returns L arrays [...] of layers on top of each other, [L, ...]."""
  return (jnp if isinstance(values[0], jax.Array) else np).stack(values)


def _order(pixels: tuple[int, ...], length: int) -> np.ndarray:
  """Returns the indices [length] of our entries of an axis in the file."""
  _, channels, side = pixels
  order = np.arange(length)
  count = channels * side**2
  order[:count] = (
    order[:count].reshape(channels, side, side).transpose(1, 2, 0).ravel()
  )
  return order
