"""Joins a reader of images with weather at their places and times."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from fusion_jax.data import examples, readers


@dataclasses.dataclass(frozen=True)
class WithWeather:
  """A reader whose examples carry weather series.

  Attributes:
    source: reader of the images, which knows their places.
    weather: weather such as `sources.gridded.Weather`. `read` reads it once a
      part; a build reads it once for many parts (`ahead`).
  """

  source: readers.PlacedReader
  weather: readers.Weather

  @property
  def schema(self) -> examples.Schema:
    """The fields of the images, and every weather series."""
    schema = cast(examples.Schema, self.source.schema)
    return dataclasses.replace(schema, series=examples.SERIES)

  def parts(self) -> Mapping[str, Sequence[Any]]:
    """The parts of the reader of the images."""
    return self.source.parts()

  def places(
    self, split: str, part: Any
  ) -> Mapping[str, tuple[float, float, int]]:
    """The places and times of the images of a part, by their keys."""
    return self.source.places(split, part)

  def read(
    self, split: str, part: Any
  ) -> Iterator[readers.Example | readers.Skipped | readers.Dropped]:
    """Yields the examples of a part with their series."""
    places = self.places(split, part)
    lat, lon, time = np.reshape(list(places.values()), (-1, 3)).T
    series = self.weather.series(lat, lon, time.astype(np.int64))
    rows = {key: i for i, key in enumerate(places)}
    return self.join(split, part, rows, series)

  def join(
    self,
    split: str,
    part: Any,
    rows: Mapping[str, int],
    series: Mapping[str, np.ndarray],
  ) -> Iterator[readers.Example | readers.Skipped | readers.Dropped]:
    """Yields the examples of a part with rows of given series."""
    for example in self.source.read(split, part):
      if not isinstance(example, readers.Skipped | readers.Dropped):
        row = rows[example['key']]
        example = {
          **example,
          **{name: values[row] for name, values in series.items()},
        }
      yield example
