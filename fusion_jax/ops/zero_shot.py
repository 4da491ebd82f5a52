"""Zero-shot classes: their vectors from texts, and scores against them.

Source: Radford et al. 2021, arXiv:2103.00020, Sec. 3.1.4 (prompts are averaged
as vectors); TimeSenCLIP, arXiv:2508.11919.
"""

import jax
import jax.numpy as jnp

from fusion_jax.types import Array

# The lower bound of a norm in PyTorch's `normalize`; a zero vector stays zero.
_SMALLEST_NORM = 1e-12


def unit(vectors: Array) -> jax.Array:
  """Scales vectors [..., D] to length 1; a zero vector stays zero."""
  norms = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
  return jnp.divide(vectors, jnp.maximum(norms, _SMALLEST_NORM))


def class_vectors(
  vectors: Array, class_of: Array, num_classes: int
) -> jax.Array:
  """Returns one unit vector for each class, from the vectors of its prompts.

  Prompts are scaled to length 1 and averaged; the mean is scaled to length 1.

  Args:
    vectors: [N, D] float, one vector for each prompt, of any length.
    class_of: [N] int in [0, C), the class of each prompt.
    num_classes: C. A class without prompts gets the zero vector; files of
      prompts are checked for such classes (data/prompts.py).

  Returns:
    [C, D] float32.
  """
  unit_ND = unit(jnp.asarray(vectors, jnp.float32))
  sums = jax.ops.segment_sum(unit_ND, jnp.asarray(class_of), num_classes)
  return unit(sums)  # The mean has the direction of the sum.


def scores(embeddings: Array, classes: Array) -> jax.Array:
  """Returns the cosines of embeddings with the vectors of classes.

  Args:
    embeddings: [..., D] float, of any length.
    classes: [C, D] float, of any length.

  Returns:
    [..., C] float in [-1, 1].
  """
  *leading, width = embeddings.shape
  flat = unit(embeddings.reshape(-1, width)) @ unit(classes).T
  return flat.reshape(*leading, classes.shape[0])
