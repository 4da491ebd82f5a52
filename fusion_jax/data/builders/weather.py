"""Joins a reader of images with weather at their places and times."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from fusion_jax.data import examples, readers


class Weather(Protocol):
  """Weather around places and times."""

  def series(
    self, lat: np.ndarray, lon: np.ndarray, time: np.ndarray
  ) -> Mapping[str, np.ndarray]:
    """Returns {series: [P, T] float32, K or mm} around places and times.

    Args:
      lat: float [P], degrees north.
      lon: float [P], degrees east.
      time: [P] int64, seconds since 1970 UTC.
    """
    ...


@dataclasses.dataclass(frozen=True)
class WithWeather:
  """A reader whose examples carry weather series.

  Attributes:
    source: reader of the images, which knows their places.
    weather: weather such as `sources.gridded.Weather`; it is read once per
      part, so that each field is read once for all places of the part.
  """

  source: readers.PlacedReader
  weather: Weather

  @property
  def schema(self) -> examples.Schema:
    """The fields of the images, and every weather series."""
    schema = cast(examples.Schema, self.source.schema)
    return dataclasses.replace(schema, series=examples.SERIES)

  def parts(self) -> Mapping[str, Sequence[Any]]:
    """The parts of the reader of the images."""
    return self.source.parts()

  def read(
    self, split: str, part: Any
  ) -> Iterator[readers.Example | readers.Skipped]:
    """Yields the examples of a part with their series."""
    places = self.source.places(split, part)
    lat, lon, time = np.reshape(list(places.values()), (-1, 3)).T
    series = self.weather.series(lat, lon, time.astype(np.int64))
    rows = {key: i for i, key in enumerate(places)}
    for example in self.source.read(split, part):
      if not isinstance(example, readers.Skipped):
        row = rows[example['key']]
        example = {
          **example,
          **{name: values[row] for name, values in series.items()},
        }
      yield example
