"""Pixels' years with one label: a builder's source, for classifiers.

key                 name of the pixel
lat, lon            degrees
pixels              [12, 10, 1, 1] float32, reflectance x 10,000, NaN =
                    missing; January first
valid               bool [12], all True: what is missing is NaN
label/<label>       int32, index into the `classes` of statistics.json, -1
                    for none
"""

import dataclasses
import functools
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from pyarrow import parquet

from fusion_jax.data import composites
from fusion_jax.data.sources import labelled_pixels

LEGEND = 'class_mappings.json'
_FOLDS = 5  # One of so many spatial cells is held out.


@dataclasses.dataclass(frozen=True)
class Schema:
  """Which fields the examples have; in place of `examples.Schema`.

  Attributes:
    label: name.
    names: of its classes.
    images: none of the images that are counted.
    series: none, either.
  """

  label: str
  names: tuple[str, ...]
  images: tuple[str, ...] = ()
  series: tuple[str, ...] = ()

  @property
  def extra(self):
    """What `statistics.json` says beside the statistics."""
    return {'classes': {self.label: list(self.names)}}

  def features(self):
    """The TFDS features, {field: shape, type and encoding}."""
    tensors = {
      'lat': ((), np.float64),
      'lon': ((), np.float64),
      'pixels': ((12, len(composites.BANDS), 1, 1), np.float32),
      'valid': ((12,), np.bool_),
      f'label/{self.label}': ((), np.int32),
    }
    return tfds.features.FeaturesDict(
      {'key': tfds.features.Text()}
      | {
        name: tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')
        for name, (shape, dtype) in tensors.items()
      }
    )


@dataclasses.dataclass(frozen=True)
class WorldCereal:
  """The labelled pixels of one Parquet of WorldCereal.

  A file with one row a month is read with the legend LANDCOVER10, from
  `class_mappings.json` beside it, November 2020 to October 2021, the months of
  its Belgian cube; one with a row a pixel by `label_full`, classes of at least
  20 pixels. 'val' is one in five cells of 0.25 degrees, 'train' the others.

  Attributes:
    path: of the Parquet.
  """

  path: str

  @functools.cached_property
  def _pixels(self):
    path = pathlib.Path(self.path)
    found = (
      labelled_pixels.read_long(path, path.with_name(LEGEND))
      if self._is_long
      else labelled_pixels.read_wide(path)
    )
    return found.take(found.target >= 0)

  @functools.cached_property
  def _is_long(self):
    return 'timestamp' in parquet.read_schema(self.path).names

  @property
  def schema(self):
    return Schema(
      'landcover10' if self._is_long else 'label_full', self._pixels.classes
    )

  def parts(self):
    """One shard a split."""
    return {'train': ['train'], 'val': ['val']}

  def read(self, split, part):
    """The examples of a split."""
    del part
    cells, of_pixel = np.unique(self._pixels.cells(), return_inverse=True)
    held_out = np.random.default_rng(0).permutation(len(cells)) % _FOLDS == 0
    found = self._pixels.take(held_out[of_pixel] == (split == 'val'))
    field = f'label/{self.schema.label}'
    for i, key in enumerate(found.keys):
      yield {
        'key': key,
        'lat': found.lat[i],
        'lon': found.lon[i],
        'pixels': found.values[i][..., None, None],
        'valid': np.ones(12, bool),
        field: np.int32(found.target[i]),
      }
