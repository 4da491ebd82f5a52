"""A reader of years of pixels with one label each, for classifiers.

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
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from pyarrow import parquet

from fusion_jax.data import composites, readers
from fusion_jax.data.sources import labelled_pixels

LEGEND = 'class_mappings.json'
_FOLDS = 5  # One of so many spatial cells is held out.


@dataclasses.dataclass(frozen=True)
class Schema:
  """The fields of the examples; it replaces `examples.Schema`.

  Attributes:
    label: name of the label.
    names: names of its classes.
    images: names of the images whose values are counted; always empty.
    series: names of the series whose values are counted; always empty.
  """

  label: str
  names: tuple[str, ...]
  images: tuple[str, ...] = ()
  series: tuple[str, ...] = ()

  @property
  def extra(self) -> dict[str, dict[str, list[str]]]:
    """Names of the classes, which `statistics.json` also contains."""
    return {'classes': {self.label: list(self.names)}}

  def features(self) -> tfds.features.FeaturesDict:
    """Shape, type and encoding of every field, for TFDS."""
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

  A file with one row per month is read with the legend LANDCOVER10 from
  `class_mappings.json` beside it, twelve months as `labelled_pixels.read_long`
  chooses them. A file with one row per pixel is read with the
  column `label_full` and the classes of at least 20 pixels. 'val' is one in
  five cells of 0.25 degrees, 'train' the others.

  Attributes:
    path: file name of the Parquet.
  """

  path: str

  @functools.cached_property
  def _pixels(self) -> labelled_pixels.LabelledPixels:
    """Reads the pixels, also those without a class."""
    path = pathlib.Path(self.path)
    return (
      labelled_pixels.read_long(path, path.with_name(LEGEND))
      if self._is_long
      else labelled_pixels.read_wide(path)
    )

  @functools.cached_property
  def _is_long(self) -> bool:
    """Whether the file has a row per month, not a row per pixel."""
    try:
      return 'timestamp' in parquet.read_schema(self.path).names
    except ValueError as error:  # pyarrow's own errors are of this kind.
      raise ValueError(
        f'{self.path} is cut short or no Parquet file; fetch it again.'
      ) from error

  @property
  def schema(self) -> Schema:
    """The fields, with the label and the classes of the file."""
    return Schema(
      'landcover10' if self._is_long else 'label_full', self._pixels.classes
    )

  def parts(self) -> dict[str, list[str]]:
    """Returns one part for each split."""
    return {'train': ['train'], 'val': ['val']}

  def read(
    self, split: str, part: str
  ) -> Iterator[readers.Example | readers.Dropped]:
    """Yields the examples of a split, and what has no class with 'train'."""
    del part
    has_class = self._pixels.target >= 0
    if split == 'train':
      for key in self._pixels.take(~has_class).keys:
        yield readers.Dropped(key, 'no class')
    pixels = self._pixels.take(has_class)
    cells, of_pixel = np.unique(pixels.cells(), return_inverse=True)
    held_out = np.random.default_rng(0).permutation(len(cells)) % _FOLDS == 0
    chosen = pixels.take(held_out[of_pixel] == (split == 'val'))
    field = f'label/{self.schema.label}'
    for i, key in enumerate(chosen.keys):
      yield {
        'key': key,
        'lat': chosen.lat[i],
        'lon': chosen.lon[i],
        'pixels': chosen.values[i][..., None, None],
        'valid': np.ones(12, bool),
        field: np.int32(chosen.target[i]),
      }
