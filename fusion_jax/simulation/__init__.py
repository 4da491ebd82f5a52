"""The simulated Earth: images and weather that belong together, no download.

A pure function of (seed, split, index): the same seed is the same Earth, byte
for byte. A figure from it must be called simulated wherever it is shown.
"""

import dataclasses
import zlib

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
_GRD_SHARE = 0.15  # Of the examples; the others have RTC, none has both.
_SMALLEST = 16


@dataclasses.dataclass(frozen=True)
class Latents:
  """The state that an example is generated from.

  Attributes:
    place: `planet.Place`.
    time: UTC seconds since 1970 of the acquisition.
    weather: `climate.Weather` around it.
    has_grd: whether Sentinel-1 comes as GRD, not RTC.
  """

  place: planet.Place
  time: int
  weather: climate.Weather
  has_grd: bool


class SimulatedEarth:
  """Examples of one simulated Earth.

  Args:
    seed: int >= 0; the same seed is the same Earth.
    image_size: pixels of 10 m a side; the weather does not depend on it.
    splits: {'train' | 'val' | 'test': number of examples}. The splits own
      disjoint blocks of land. An example does not depend on the numbers.
    fields: image fields to make; fewer is faster, and changes no byte of the
      others.

  Raises:
    ValueError: for an unknown split or field, or a size below 16.
  """

  def __init__(self, seed=0, image_size=264, splits=None, fields=FIELDS):
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

  def _rng(self, split, i, stream):
    """The generator of one stream of one example, the same in any process."""
    if split not in self.splits:
      raise ValueError(
        f'There is no split {split!r}; there are {[*self.splits]}.'
      )
    if not 0 <= i < self.splits[split]:
      raise IndexError(f'{split} has {self.splits[split]} examples, not {i}.')
    words = [self.seed, *(zlib.crc32(s.encode()) for s in (split, stream)), i]
    return np.random.default_rng(words)

  def latents(self, split, i):
    """The `Latents` of example `i`, the same for any image size."""
    place, time = self._planet.draw(self._rng(split, i, 'place'), split)
    rng = self._rng(split, i, 'weather')
    weather = climate.simulate(place, time, rng)
    return Latents(place, time, weather, bool(rng.random() < _GRD_SHARE))

  def oracle(self, split, i, extremes=False):
    """The best possible prediction of the weather series of example `i`.

    See `oracle.conditional_mean`.
    """
    known = self.latents(split, i)
    return oracle.conditional_mean(known.place, known.weather, extremes)

  def example(self, split, i):
    """Example `i` of `split`: a flat dict of NumPy arrays.

    Returns:
      'key', 'lat', 'lon', 'time', the chosen images [Y, X, C] (of S1GRD and
      S1RTC one is absent: [0, 0, 2]) and every weather series.
    """
    known = self.latents(split, i)
    example = {
      'key': f'simulated_{split}_{i:06d}',
      'lat': np.float64(known.place.lat),
      'lon': np.float64(known.place.lon),
      'time': np.int64(known.time),
    }
    example |= self._images(known, split, i)
    return example | climate.series(known.time, known.weather)

  def _images(self, known, split, i):
    """The chosen image fields of example `i`."""
    if not self.fields:
      return {}
    scene = surface.scene(
      known.place,
      known.time,
      known.weather,
      self.image_size,
      self._rng(split, i, 'scene'),
    )
    counts = None
    if {'S2L2A', 'S2RGB', 'NDVI'} & set(self.fields):
      counts = imagery.s2l2a(scene, self._rng(split, i, 'S2L2A'))

    def radar(corrected):
      if corrected == known.has_grd:
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
