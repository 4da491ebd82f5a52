"""Array aliases, and the letters that end the names of local arrays.

B batch, N encoder tokens, M decoder tokens, D width, H heads, K head width,
V codes, C channels, T time, Y X pixels, L layers.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray
Batch = Mapping[str, Any]  # Nested dict of arrays, leading axis B.
Example = Mapping[str, Any]  # Flat dict of NumPy arrays: one place and time.
Params = Mapping[str, Any]
Metrics = Mapping[str, tuple[Array, Array]]  # Path -> (sum, count).
