"""Simulated pixels, photos and labels for TimeSenCLIP, without files between.

A pure function of (seed, split, index), as the images are: the same seed is
the same Earth, byte for byte. A figure from it must be called simulated.
"""

import functools
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax.data import composites, labels
from fusion_jax.simulation import (
  acquisitions,
  europe,
  habitats,
  photos,
)

SPLITS = {'train': 6_000, 'val': 512, 'test': 2_000}


class SimulatedPixels:
  """LUCAS points of one simulated Earth with a year of pixels and photos.

  Args:
    seed: seed of the Earth, at least 0; the same seed is the same Earth.
    size: pixels per side, k: odd, 9 at most. The centre is the same for all.
    splits: {'train' | 'val' | 'test': number of examples}; they own disjoint
      blocks of land. An example does not depend on the numbers.
    composite: how months are composed, see `composites.monthly`.

  Raises:
    ValueError: for an unknown split, size or composite.
  """

  def __init__(
    self,
    seed: int = 0,
    size: int = 1,
    splits: Mapping[str, int] | None = None,
    composite: composites.Kind = 'published',
  ):
    self.seed = seed
    self.size = size
    self.splits = dict(SPLITS if splits is None else splits)
    self.composite: composites.Kind = composite
    if unknown := sorted(set(self.splits) - set(SPLITS)):
      raise ValueError(f'There is no split {unknown}; there are {[*SPLITS]}.')
    if size not in range(1, acquisitions.CORE + 1, 2):
      raise ValueError(f'size={size} is none of 1, 3, 5, 7, 9 pixels.')
    if composite not in composites.KINDS:
      raise ValueError(
        f'There is no composite {composite!r}; there are {composites.KINDS}.'
      )

  @functools.cached_property
  def _europe(self) -> europe.Europe:
    return europe.Europe(self.seed)

  @functools.cached_property
  def _points(self) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    return {
      split: self._europe.points(split, count)
      for split, count in self.splits.items()
    }

  @functools.cached_property
  def concepts(self) -> photos.Concepts:
    """Space of photos and texts."""
    return photos.Concepts(self.seed)

  def rng(self, split: str, i: int, stream: str) -> np.random.Generator:
    """Returns the generator of one stream of an example, in any process."""
    if split not in self.splits:
      raise ValueError(
        f'There is no split {split!r}; there are {[*self.splits]}.'
      )
    if not 0 <= i < self.splits[split]:
      raise IndexError(f'{split} has {self.splits[split]} examples, not {i}.')
    words = [self.seed, *(zlib.crc32(s.encode()) for s in (split, stream)), i]
    return np.random.default_rng(words)

  def ground(self, split: str, i: int) -> tuple[europe.Site, habitats.Habitat]:
    """Returns the point of example `i` and what covers it."""
    rng = self.rng(split, i, 'habitat')
    points, countries = self._points[split]
    site = self._europe.site(points[i], countries[i])
    return site, habitats.draw(site, rng)

  def acquisitions(self, split: str, i: int) -> acquisitions.Acquisitions:
    """Returns the images [A, 10, 9, 9] of the year of example `i`."""
    return acquisitions.draw(
      *self.ground(split, i), self.rng(split, i, 'acquisitions')
    )

  def views(self, split: str, i: int) -> np.ndarray:
    """Returns CLIP vectors float32 [4, 512] of the photos, NaN = no photo."""
    site, habitat = self.ground(split, i)
    return self.concepts.views(site, habitat, self.rng(split, i, 'photos'))

  def example(self, split: str, i: int) -> dict[str, Any]:
    """Returns example `i` of `split`, with the fields of Sen4Map.

    Returns:
      Flat dict: 'key', 'lat' and 'lon' in degrees, 'pixels' uint16
      [12, 10, k, k] reflectance x 10,000, 'valid' bool [12], 'views' float32
      [4, 512] and the labels, int32.
    """
    site, habitat = self.ground(split, i)
    year = acquisitions.draw(site, habitat, self.rng(split, i, 'acquisitions'))
    pixels, valid = composites.monthly(
      composites.centre_crop(year.counts, self.size),
      composites.centre_crop(year.scene_class, self.size),
      year.months,
      self.composite,
    )
    return {
      'key': f'Lucas_Point_{site.point_id}',
      'lat': site.place.lat,
      'lon': site.place.lon,
      'pixels': pixels,
      'valid': valid,
      'views': self.concepts.views(site, habitat, self.rng(split, i, 'photos')),
    } | {
      labels.FIELDS[task]: np.int32(label)
      for task, label in habitat.labels.items()
    }
