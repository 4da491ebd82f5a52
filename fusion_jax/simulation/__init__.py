"""The simulated Earth: images with the weather around them, without download.

Examples are a pure function of (seed, split, index): the same seed gives the
same Earth, byte for byte. Figures of it must be called simulated wherever they
are shown.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax.simulation import (
  climate,
  imagery,
  oracle,
  planet,
  surface,
)

SPLITS = {'train': 6_000, 'val': 256, 'test': 512}
FIELDS = ('S2L2A', 'S2L1C', 'S2RGB', 'S1GRD', 'S1RTC', 'DEM', 'NDVI', 'LULC')
_GRD_SHARE = 0.15  # Share of examples with GRD; the others have RTC.
_SMALLEST = 16


@dataclasses.dataclass(frozen=True)
class Latents:
  """The state that an example is generated from.

  Attributes:
    place: climate and soil of the place.
    time: acquisition in UTC seconds since 1970.
    weather: hourly weather around the acquisition.
    has_grd: whether the Sentinel-1 image is GRD; otherwise it is RTC.
  """

  place: planet.Place
  time: int
  weather: climate.Weather
  has_grd: bool


class SimulatedEarth:
  """Examples of one simulated Earth.

  Args:
    seed: seed of the Earth, at least 0; the same seed is the same Earth.
    image_size: pixels of 10 m per side; the weather does not depend on it.
    splits: {'train' | 'val' | 'test': number of examples}. The splits own
      disjoint blocks of land. An example does not depend on the numbers.
    fields: image fields to make; fewer is faster, and changes no byte of the
      others.

  Raises:
    ValueError: if a split or field is unknown, or the size is below 16.
  """

  def __init__(
    self,
    seed: int = 0,
    image_size: int = 264,
    splits: Mapping[str, int] | None = None,
    fields: Sequence[str] = FIELDS,
  ):
    self.seed = seed
    self.image_size = image_size
    self.splits = dict(SPLITS if splits is None else splits)
    self.fields = tuple(fields)
    if unknown := sorted(set(self.splits) - set(SPLITS)):
      raise ValueError(f'There is no split {unknown}; there are {[*SPLITS]}.')
    if unknown := sorted(set(self.fields) - set(FIELDS)):
      raise ValueError(f'There is no field {unknown}; there are {[*FIELDS]}.')
    if image_size < _SMALLEST:
      raise ValueError(
        f'image_size={image_size} is too small; try {_SMALLEST} or more.'
      )
    self._planet = planet.Planet(seed)

  def _rng(self, split: str, i: int, stream: str) -> np.random.Generator:
    """Returns the generator of a stream of an example, equal in any process."""
    if split not in self.splits:
      raise ValueError(
        f'There is no split {split!r}; there are {[*self.splits]}.'
      )
    if not 0 <= i < self.splits[split]:
      raise IndexError(f'{split} has {self.splits[split]} examples, not {i}.')
    words = [self.seed, *(zlib.crc32(s.encode()) for s in (split, stream)), i]
    return np.random.default_rng(words)

  def latents(self, split: str, i: int) -> Latents:
    """Returns the state of example `i`, the same for any image size."""
    place, time = self._planet.draw(self._rng(split, i, 'place'), split)
    rng = self._rng(split, i, 'weather')
    weather = climate.simulate(place, time, rng)
    return Latents(place, time, weather, bool(rng.random() < _GRD_SHARE))

  def oracle(
    self, split: str, i: int, extremes: bool = False
  ) -> dict[str, np.ndarray]:
    """Returns the best possible prediction of an example's weather.

    Args:
      split: name of the split.
      i: number of the example in its split.
      extremes: whether daily minima and maxima are added; they take longer.

    Returns:
      {series: float64 [60] hourly or [40] daily values in K or mm}, see
      `oracle.conditional_mean`.
    """
    latents = self.latents(split, i)
    return oracle.conditional_mean(latents.place, latents.weather, extremes)

  def example(self, split: str, i: int) -> dict[str, Any]:
    """Returns example `i` of `split` as a flat dict of NumPy arrays.

    Returns:
      'key', 'lat' and 'lon' in degrees, 'time' in UTC seconds since 1970, the
      chosen images [Y, X, C] (one of S1GRD and S1RTC is absent: [0, 0, 2])
      and every weather series, [60] or [40] in K or mm.
    """
    latents = self.latents(split, i)
    example = {
      'key': f'simulated_{split}_{i:06d}',
      'lat': np.float64(latents.place.lat),
      'lon': np.float64(latents.place.lon),
      'time': np.int64(latents.time),
    }
    example |= self._images(latents, split, i)
    return example | climate.series(latents.time, latents.weather)

  def _images(
    self, latents: Latents, split: str, i: int
  ) -> dict[str, np.ndarray]:
    """Returns the chosen image fields of example `i`."""
    if not self.fields:
      return {}
    scene = surface.scene(
      latents.place,
      latents.time,
      latents.weather,
      self.image_size,
      self._rng(split, i, 'scene'),
    )
    counts = np.zeros((0, 0, 12), np.int16)
    if {'S2L2A', 'S2RGB', 'NDVI'} & set(self.fields):
      counts = imagery.s2l2a(scene, self._rng(split, i, 'S2L2A'))

    def radar(corrected: bool) -> np.ndarray:
      if corrected == latents.has_grd:
        return np.zeros((0, 0, 2), np.float16)
      return imagery.sentinel1(scene, self._rng(split, i, 'S1'), corrected)

    make = {
      'S2L2A': lambda: counts,
      'S2L1C': lambda: imagery.s2l1c(scene, self._rng(split, i, 'S2L1C')),
      'S2RGB': lambda: imagery.s2rgb(counts),
      'S1GRD': lambda: radar(False),
      'S1RTC': lambda: radar(True),
      'DEM': lambda: imagery.dem(scene),
      'NDVI': lambda: imagery.ndvi(counts),
      'LULC': lambda: imagery.lulc(scene),
    }
    return {field: make[field]() for field in self.fields}
