"""What a builder reads: protocols, described in `data.builders`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
  import numpy as np
  import tensorflow_datasets as tfds

# A flat dict of NumPy arrays, one place and time: `fusion_jax.types.Example`.
# Importing that would import JAX, which building needs nowhere.
Example = Mapping[str, Any]


class Skipped(NamedTuple):
  """An example that could not be read.

  Attributes:
    key: name of the example.
    reason: why it could not be read.
  """

  key: str
  reason: str


class Dropped(NamedTuple):
  """An example that is left out on purpose, as the recipe says.

  Attributes:
    key: name of the example.
    reason: what it lacks.
  """

  key: str
  reason: str


class Schema(Protocol):
  """The fields of the examples of a data set."""

  @property
  def images(self) -> tuple[str, ...]:
    """Names of the images whose values are counted in statistics."""
    ...

  @property
  def series(self) -> tuple[str, ...]:
    """Names of the weather series whose values are counted in statistics."""
    ...

  def features(self) -> 'tfds.features.FeaturesDict':
    """Shape, type and encoding of every field."""
    ...


class Reader(Protocol):
  """Examples in parts, each of which becomes one shard."""

  @property
  def schema(self) -> Schema:
    """Fields of the examples."""
    ...

  def parts(self) -> Mapping[str, Sequence[Any]]:
    """The parts of every split; a part is any value that can be pickled."""
    ...

  def read(
    self, split: str, part: Any
  ) -> Iterator[Example | Skipped | Dropped]:
    """Yields the examples of a part, `Skipped` in place of a broken one."""
    ...


class PlacedReader(Reader, Protocol):
  """Examples in parts whose places are known without reading images."""

  def places(
    self, split: str, part: Any
  ) -> Mapping[str, tuple[float, float, int]]:
    """Returns {key: (lat, lon, time)}, degrees and seconds since 1970 UTC."""
    ...


class Weather(Protocol):
  """Weather around places and times."""

  def series(
    self, lat: 'np.ndarray', lon: 'np.ndarray', time: 'np.ndarray'
  ) -> 'Mapping[str, np.ndarray]':
    """Returns {series: [P, T] float32, K or mm} around places and times.

    Args:
      lat: float [P], degrees north.
      lon: float [P], degrees east.
      time: [P] int64, seconds since 1970 UTC.
    """
    ...


class JoinedReader(PlacedReader, Protocol):
  """Examples with weather that can be read for many parts at once."""

  @property
  def weather(self) -> Weather:
    """Weather at the places of the examples."""
    ...

  def join(
    self,
    split: str,
    part: Any,
    rows: Mapping[str, int],
    series: 'Mapping[str, np.ndarray]',
  ) -> Iterator[Example | Skipped | Dropped]:
    """Yields the examples of a part with given weather.

    Args:
      split: name of the split.
      part: one of its parts.
      rows: {key of an example: its row in `series`}.
      series: {name of a series: [rows, T] in K or mm}.
    """
    ...


class IndexedExamples(Protocol):
  """Examples of random access; `shards.Indexed` makes parts of them."""

  @property
  def splits(self) -> Mapping[str, int]:
    """Number of examples of every split."""
    ...

  def example(self, split: str, i: int, /) -> Example:
    """Example `i` of a split, a pure function of both."""
    ...
