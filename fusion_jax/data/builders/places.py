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
import json
import pathlib

import numpy as np
import tensorflow_datasets as tfds

from fusion_jax.data import composites, labels, prompt_files
from fusion_jax.data.builders import shards

DIRECTIONS = ('W', 'E', 'N', 'S')  # In the order of TimeSenCLIP's code.


@dataclasses.dataclass(frozen=True)
class Schema:
  """Which fields the examples have; in place of `examples.Schema`.

  Attributes:
    size: k, pixels a side.
    view_width: D.
    dtype: of the pixels, 'int16' or 'float32'.
    images: none of the images that are counted.
    series: none, either.
  """

  size: int
  view_width: int = 512
  dtype: str = 'int16'
  images: tuple[str, ...] = ()
  series: tuple[str, ...] = ()

  def features(self):
    """The TFDS features, {field: shape, type and encoding}."""
    months, bands = composites.NUM_MONTHS, len(composites.BANDS)
    tensors = {
      'lat': ((), np.float64),
      'lon': ((), np.float64),
      'pixels': ((months, bands, self.size, self.size), np.dtype(self.dtype)),
      'valid': ((months,), np.bool_),
      'views': ((len(DIRECTIONS), self.view_width), np.float32),
    }
    tensors |= {field: ((), np.int32) for field in labels.FIELDS.values()}
    return tfds.features.FeaturesDict(
      {'key': tfds.features.Text()}
      | {
        name: tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')
        for name, (shape, dtype) in tensors.items()
      }
    )


@dataclasses.dataclass(frozen=True)
class IndexedPlaces(shards.Indexed):
  """As `shards.Indexed`, of examples of this kind; its source has a `size`."""

  @property
  def schema(self):
    return Schema(self.source.size)


def no_views(width=512):
  """Vectors of a point without photos."""
  return np.full((len(DIRECTIONS), width), np.nan, np.float32)


def write_beside(earth, out):
  """Writes what a simulated Earth knows of its places beside the examples.

  `prompts/{task}.npz` (six templates, those that select models) and
  `prompts/{task}.{kind}.npz` are prompt vectors (`data.prompt_files`),
  `scores.json` is what can be known (`simulated.pixel_scores`), and
  `scenicness/` how people would rate the places of the test split.

  Args:
    earth: `simulation.pixels.SimulatedPixels`.
    out: folder of the data set.
  """
  from fusion_jax.simulation import (
    photos,
    pixel_scores,
    scenicness,
  )

  folder = pathlib.Path(out) / 'prompts'
  folder.mkdir(parents=True, exist_ok=True)
  for task in labels.TASKS:
    for kind in photos.KINDS:
      name = task if kind == 'validation' else f'{task}.{kind}'
      prompt_files.write(
        folder / f'{name}.npz', earth.concepts.prompts(task, kind)
      )
  if 'test' in earth.splits:
    scenicness.write(earth, pathlib.Path(out) / 'scenicness')
  if {'train', 'test'} <= set(earth.splits):
    shards.write_whole(
      pathlib.Path(out) / 'scores.json',
      json.dumps(pixel_scores.scores(earth), indent=1),
    )
