"""Joins a source of images with weather at their places and times."""

import dataclasses
from typing import Any

import numpy as np

from fusion_jax.data.builders import examples


@dataclasses.dataclass(frozen=True)
class WithWeather:
  """A builder's source whose examples carry weather series.

  Attributes:
    source: a builder's source that has `places`.
    weather: has `series(lat, lon, time)`, as `sources.gridded.Weather`; it is
      asked once a part, so that each field is read once for all its places.
  """

  source: Any
  weather: Any

  @property
  def schema(self):
    return dataclasses.replace(self.source.schema, series=examples.SERIES)

  def parts(self):
    return self.source.parts()

  def read(self, split, part):
    places = self.source.places(split, part)
    lat, lon, time = np.reshape(list(places.values()), (-1, 3)).T
    series = self.weather.series(lat, lon, time.astype(np.int64))
    rows = {key: i for i, key in enumerate(places)}
    for example in self.source.read(split, part):
      if not isinstance(example, examples.Skipped):
        row = rows[example['key']]
        example |= {name: values[row] for name, values in series.items()}
      yield example
