"""What a builder reads: protocols, described in `data.builders`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
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

  def read(self, split: str, part: Any) -> Iterator[Example | Skipped]:
    """Yields the examples of a part, `Skipped` in place of a broken one."""
    ...


class PlacedReader(Reader, Protocol):
  """Examples in parts whose places are known without reading images."""

  def places(
    self, split: str, part: Any
  ) -> Mapping[str, tuple[float, float, int]]:
    """Returns {key: (lat, lon, time)}, degrees and seconds since 1970 UTC."""
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
