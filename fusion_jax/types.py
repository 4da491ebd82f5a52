"""Array aliases, and the letters that stand for the axes of arrays.

Docstrings give shapes such as `[B, N, D]`, and names of local arrays may end
in the letters of their axes (`tokens_BND`):

  B batch, N encoder tokens, M decoder tokens, D width, H heads, K head width,
  V codes, C channels or bands, T time steps, Y X pixels, L layers, P places,
  Q entries of the queue, S samples.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

Array = jax.Array | np.ndarray
# A JAX array gives a JAX array, a NumPy array a NumPy array.
ArrayT = TypeVar('ArrayT', jax.Array, np.ndarray, Array)
Key = jax.Array  # Key of JAX's random numbers, as `jax.random.key` makes it.
Batch = Mapping[str, Any]  # Nested dict of arrays, leading axis B.
Example = Mapping[str, Any]  # Flat dict of NumPy arrays: one place and time.
Params = Mapping[str, Any]  # Nested dict of the parameters of a model.
Metrics = Mapping[str, tuple[Array, Array]]  # Path -> (sum, count).
Statistics = Mapping[str, Any]  # Content of a data set's `statistics.json`.
# An `ml_collections.ConfigDict`: its fields are attributes of any type.
Config = Any
# Mean and standard deviation of every raw image's bands, both [C] float32.
Standards = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Source(Protocol):
  """Examples of a data set that are read by their number."""

  def __len__(self) -> int:
    """Returns the number of examples."""
    ...

  def __getitem__(self, index: int) -> Example:
    """Returns example number `index`, counted from 0."""
    ...
