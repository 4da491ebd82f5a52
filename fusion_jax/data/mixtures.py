"""Several data sets with weights as one training set in one global order.

Each part is shuffled and repeated by itself, so that every example of a part is
seen once in each of its epochs. The parts are interleaved by their weights,
exactly: of any n examples in a row, a part has its share of n up to a few. The
position in the order decides everything, so it is the same for any number of
processes and can be resumed anywhere.

The parts follow each other in a fixed pattern. Each process takes consecutive
rows of every global batch, so what it sees may be off by a few examples; the
global batch is not.
"""

import fractions
import json
import math
import os
import pathlib
import zlib
from collections.abc import Callable, Mapping

import grain

from fusion_jax.data import records
from fusion_jax.types import Example, Source

FILE = 'mixture.json'  # See `mixture_folders`; {name: [folder, weight]}.


class Mixture:
  """The examples of one split of several data sets.

  As a source it has the examples of all parts, one part after the other;
  `ordered` gives the order of training.

  Attributes:
    parts: {name of a part: its examples}, sorted by name.
    weights: {name of a part: its weight}, more than 0.
    fields: names of the fields that every example has.
  """

  parts: dict[str, Source]
  weights: dict[str, float]
  fields: tuple[str, ...]

  def __init__(
    self,
    parts: Mapping[str, Source],
    weights: Mapping[str, float],
    fields: tuple[str, ...] = (),
  ) -> None:
    """Joins parts.

    Args:
      parts: {name of a part: its examples}.
      weights: {name of a part: its weight}.
      fields: names of the fields that every example has.

    Raises:
      ValueError: if a weight is of an absent part, or no weight for training.
    """
    check_weights(weights)
    for name in weights:
      if name not in parts:
        raise ValueError(
          f'There is a weight for {name!r}, but the parts are {sorted(parts)}; '
          'remove the weight, or name the folder of the data set.'
        )
    self.parts = {n: parts[n] for n in sorted(parts) if weights[n]}
    self.weights = {n: weights[n] for n in self.parts}
    self.fields = fields

  def __len__(self) -> int:
    """Returns the number of examples of all parts."""
    return sum(map(len, self.parts.values()))

  def __getitem__(self, index: int) -> Example:
    """Returns example number `index`, counted over all parts.

    Raises:
      IndexError: if there is no such example.
    """
    rest = index
    for part in self.parts.values():
      if 0 <= rest < len(part):
        return part[rest]
      rest -= len(part)
    raise IndexError(f'There is no example {index} among {len(self)}.')

  def map(self, change: Callable[[Source], Source]) -> 'Mixture':
    """Returns the mixture of changed parts, with the same weights.

    Args:
      change: function from a part to the examples that replace it.
    """
    parts = {name: change(part) for name, part in self.parts.items()}
    return Mixture(parts, self.weights, self.fields)

  def __repr__(self) -> str:
    return f'Mixture({self.parts!r}, {self.weights!r})'

  def ordered(self, seed: int) -> grain.MapDataset:
    """Returns the endless order of training.

    Args:
      seed: seed of the order. The order within a part depends on its name, and
        not on the other parts.

    Raises:
      ValueError: if a part has no examples.
    """
    for name, part in self.parts.items():
      if not len(part):
        raise ValueError(
          f'The data set {name!r} has no examples; leave it out.'
        )
    endless = [
      grain.MapDataset.source(part)
      .seed((seed + zlib.crc32(name.encode())) % 2**32)
      .shuffle()
      .repeat()
      for name, part in self.parts.items()
    ]
    shares = _Shares([self.weights[name] for name in self.parts])
    mixed = grain.MapDataset.select_from_datasets(endless, shares)
    return mixed.seed(seed)


class _Shares(grain.transforms.DatasetSelectionMap):
  """From a position in the order to a part, and a position in that part."""

  def __init__(self, weights: list[float]) -> None:
    # As the decimals that were written: 0.8 is 4/5.
    exact = [fractions.Fraction(repr(float(weight))) for weight in weights]
    scale = math.lcm(*(weight.denominator for weight in exact))
    self._weights = [int(weight * scale) for weight in exact]

  def __len__(self) -> int:
    return 2**62

  def __getitem__(self, index: int) -> tuple[int, int]:
    position, total = index, sum(self._weights)
    for part, weight in enumerate(self._weights):
      # How many of the first `position` places of these parts are this part's.
      taken = position * weight // total
      if (position + 1) * weight // total > taken:
        return part, taken
      position, total = position - taken, total - weight
    raise AssertionError('The last part takes what the others leave.')


def check_weights(weights: Mapping[str, float]) -> None:
  """Raises an error for weights that give no shares.

  Args:
    weights: {name of a part: its weight}.

  Raises:
    ValueError: if a weight is negative, not finite or no number, or if their
      sum is not positive.
  """
  for name, weight in weights.items():
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not is_number or not math.isfinite(weight) or weight < 0:
      raise ValueError(
        f'config.data.parts.{name}.weight={weight!r} is no share; set it to a '
        'number of 0 or more.'
      )
  if not sum(weights.values()) > 0:
    raise ValueError(
      f'The weights of config.data.parts, {dict(weights)}, do not sum to a '
      'positive number; set one to more than 0.'
    )


def open_split(path: str | os.PathLike[str], split: str) -> Mixture:
  """Opens one split of all parts.

  Args:
    path: folder that `mixture_folders.write` wrote.
    split: name of the split; parts that do not have it are left out.

  Raises:
    FileNotFoundError: if a part is no finished data set.
    ValueError: if no part has the split, or a shard is damaged.
  """
  content = json.loads((pathlib.Path(path) / FILE).read_text())
  having = {
    name: (folder, weight)
    for name, (folder, weight) in content.items()
    if records.describe(folder)[0].get(split)
  }
  if not having:
    raise ValueError(
      f'None of {", ".join(content)} has examples of the split {split!r}; '
      'prepare one of them with it.'
    )
  sources = {
    name: records.Examples(folder, split)
    for name, (folder, _) in having.items()
  }
  fields = next(iter(sources.values())).fields
  return Mixture(sources, {n: w for n, (_, w) in having.items()}, fields)
