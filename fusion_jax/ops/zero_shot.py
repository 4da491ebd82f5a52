"""Classes described by texts: their vectors, and scores against them.

Source: Radford et al. 2021, arXiv:2103.00020, Sec. 3.1.4 (ensembles in the
space of vectors); TimeSenCLIP, arXiv:2508.11919.
"""

import jax
import jax.numpy as jnp

_SMALLEST_NORM = 1e-12  # As torch's `normalize`: keeps a zero vector zero.


def unit(vectors):
  """Vectors [..., D] at length 1."""
  norms = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / jnp.maximum(norms, _SMALLEST_NORM)


def class_vectors(vectors, class_of, num_classes):
  """One vector a class from those of its prompts.

  Prompts are brought to length 1, averaged, and the mean again to length 1.

  Args:
    vectors: [N, D] float, of any length.
    class_of: int [N], the class of every prompt, in [0, C).
    num_classes: C. A class without prompts gets the zero vector; files are
      checked for that (data/prompts.py).

  Returns:
    [C, D] float32.
  """
  unit_ND = unit(jnp.asarray(vectors, jnp.float32))
  sums = jax.ops.segment_sum(unit_ND, jnp.asarray(class_of), num_classes)
  return unit(sums)  # The mean has the direction of the sum.


def scores(embeddings, classes):
  """Cosines [..., C] of embeddings [..., D] with class vectors [C, D]."""
  *leading, width = embeddings.shape
  flat = unit(embeddings.reshape(-1, width)) @ unit(classes).T
  return flat.reshape(*leading, classes.shape[0])
