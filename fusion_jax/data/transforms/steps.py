"""Base classes of the transforms of examples, and steps that several tasks use.

The base classes are Grain's, with types.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from fusion_jax.types import Example, Source


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


class Remembered:
  """Examples after steps without random draws, each computed once and kept.

  Reading and scaling a place takes as long as training a small model on it. A
  place of 1 x 1 pixels takes 13 kB of memory.
  """

  def __init__(self, source: Source, steps: Sequence[Map]) -> None:
    """Wraps a source of examples.

    Args:
      source: source of examples.
      steps: steps that every example goes through, such as those of `aligning`.
    """
    self._source = source
    self._steps = steps
    self._computed: dict[int, Example] = {}

  def __len__(self) -> int:
    """Returns the number of examples."""
    return len(self._source)

  def __repr__(self) -> str:
    return repr(self._source)

  def __getitem__(self, index: int) -> Example:
    """Returns example number `index` after all steps."""
    index = int(index)
    if index not in self._computed:
      example = self._source[index]
      for step in self._steps:
        example = step.map(example)
      self._computed[index] = example
    return self._computed[index]
