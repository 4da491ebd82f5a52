"""Examples of LUCAS points: a year of pixels, photos' vectors, labels.

key                 'Lucas_Point_40683280'
lat, lon            degrees
pixels              [12, 10, k, k] int16, reflectance x 10,000, bands of
                    `composites.BANDS`, north up; float32 where NaN marks
                    bands or values that are missing
valid               bool [12], months that may be shown (`composites`)
views               float32 [4, D], CLIP's vectors of the photos W, E, N, S,
                    not of unit length; NaN where there is none
label/<task>        int32, index into `labels.classes(task)`, -1 for none
"""

import dataclasses
from typing import Protocol

import numpy as np
import tensorflow_datasets as tfds

from fusion_jax.data import composites, labels, readers
from fusion_jax.data.builders import shards
from fusion_jax.data.sources import photo_vectors


@dataclasses.dataclass(frozen=True)
class Schema:
  """The fields of the examples; it replaces `examples.Schema`.

  Attributes:
    size: pixels per side, k.
    view_width: width of the vectors of photos, D.
    dtype: type of the pixels, 'int16' or 'float32'.
    images: names of the images whose values are counted; always empty.
    series: names of the series whose values are counted; always empty.
  """

  size: int
  view_width: int = 512
  dtype: str = 'int16'
  images: tuple[str, ...] = ()
  series: tuple[str, ...] = ()

  def features(self) -> tfds.features.FeaturesDict:
    """Shape, type and encoding of every field, for TFDS."""
    months, bands = composites.NUM_MONTHS, len(composites.BANDS)
    tensors = {
      'lat': ((), np.float64),
      'lon': ((), np.float64),
      'pixels': ((months, bands, self.size, self.size), np.dtype(self.dtype)),
      'valid': ((months,), np.bool_),
      'views': ((len(photo_vectors.DIRECTIONS), self.view_width), np.float32),
    }
    tensors |= {field: ((), np.int32) for field in labels.FIELDS.values()}
    return tfds.features.FeaturesDict(
      {'key': tfds.features.Text()}
      | {
        name: tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')
        for name, (shape, dtype) in tensors.items()
      }
    )


class PlacedExamples(readers.IndexedExamples, Protocol):
  """Places of random access, with a crop of pixels around each."""

  @property
  def size(self) -> int:
    """Pixels per side of the crop."""
    ...


@dataclasses.dataclass(frozen=True)
class IndexedPlaces(shards.Indexed):
  """Places of random access as a reader: ranges of their numbers.

  Attributes:
    source: the places; `size` is their pixels per side.
    examples_per_shard: largest number of places in one file.
  """

  source: PlacedExamples

  @property
  def schema(self) -> Schema:
    """The fields of places with pixels of this size."""
    return Schema(self.source.size)
