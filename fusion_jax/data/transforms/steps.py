"""Base classes of the transforms of examples, which are Grain's with types."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from fusion_jax.types import Example


class Map(grain.transforms.Map):
  """A transform of one example without random draws."""

  @abc.abstractmethod
  # Grain's own method has no types, and calls the example an element.
  def map(  # pyright: ignore[reportIncompatibleMethodOverride]
    self, example: Example
  ) -> Example:
    """Returns the transformed example and leaves its argument alone."""


class RandomMap(grain.transforms.RandomMap):
  """A transform of one example with random draws."""

  @abc.abstractmethod
  # Grain's own method has no types, and calls the example an element.
  def random_map(  # pyright: ignore[reportIncompatibleMethodOverride]
    self, example: Example, rng: np.random.Generator
  ) -> Example:
    """Returns the transformed example and leaves its argument alone.

    Args:
      example: example to transform.
      rng: generator of the random draws, which belongs to example and epoch.
    """


Step = Map | RandomMap


@dataclasses.dataclass(frozen=True)
class Keep(Map):
  """Drops every field but some, all of which an example must have.

  Attributes:
    fields: names of the fields to keep.
  """

  fields: Sequence[str]

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with these fields only."""
    return {field: example[field] for field in self.fields}
