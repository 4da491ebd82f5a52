"""Reads the images of samples: one modality of one place each."""

import os

import numpy as np
from absl import logging

from fusion_jax import modalities
from fusion_jax.data import bands as bands_lib
from fusion_jax.data import examples, readers, reflectance
from fusion_jax.data.sources.imagery import encoding, scenes
from fusion_jax.data.sources.imagery import layers as layers_lib
from fusion_jax.untrusted import rasters
from fusion_jax.untrusted.reading import reading

_CIRRUS_LIMIT = 900  # As in `terramesh`.
ENDINGS = ('.tif', '.tiff', '.TIF', '.TIFF', '.jp2', '.nc', '.zarr')
# The table of samples has their places, so a file need not have one.
_DECLARED = encoding.Declared(crs='EPSG:3857', empty=0.0)
# Smallest and largest value of a unit on Earth, and what it may be instead.
_POSSIBLE = {
  'dB': (-60, 40, 'store dB, 10 * log10(power), or declare the scale'),
  'm': (-500, 9000, 'store metres, or declare the scale'),
  '1': (-10, 10, 'store the index, -1 .. 1, or declare the scale'),
}


def width(path: str | os.PathLike[str], name: str) -> int:
  """Returns the number of columns of an image.

  Args:
    path: file or folder of an image.
    name: modality of the image, such as 'S2L2A'.
  """
  if name in scenes.NAMES:
    return scenes.open_scene(path, name, _DECLARED).source.shape[1]
  with layers_lib.open_raster(path) as raster:
    return raster.width


def read(path: str | os.PathLike[str], name: str) -> np.ndarray:
  """Reads the image of one modality of a sample.

  Args:
    path: file or folder of the image.
    name: modality of the image, such as 'S2L2A'.

  Returns:
    [Y, X, C] in the unit and type of the modality, north up; NaN where a type
    with fractions has no value.

  Raises:
    ValueError: if bands, units or values do not fit.
  """
  if name in scenes.NAMES:
    scene = scenes.open_scene(path, name, _DECLARED)
    image = scene.read(remedies=reflectance.SAMPLE)
    _check(image, name, str(path), scene.offset_known)
    return image
  return _read_plain(path, name)


def with_offset(example: readers.Example) -> readers.Example:
  """Adds the offset of S2L1C, derived from its cirrus band B10.

  Args:
    example: sample with its images.
  """
  if 'S2L1C' not in example:
    return example
  cirrus = example['S2L1C'][..., modalities.S2L1C_BANDS.index('B10')]
  offset = reflectance.OFFSET if np.median(cirrus) > _CIRRUS_LIMIT else 0
  if offset:
    logging.warning(
      'S2L1C of %s carries the offset of +%d; it is kept with '
      'it as S2L1C_offset.',
      example['key'],
      offset,
    )
  return {**example, 'S2L1C_offset': np.int16(offset)}


def _check(image, name, title, offset_known):
  """Checks that an image [Y, X, C] of reflectance is not empty or shuffled."""
  reflectance.check_empty(image, title)
  measured = np.where(image == 0, np.float32(np.nan), image)
  about = measured, modalities.IMAGE_FIELDS[name].bands, title
  reflectance.check_order(*about, reflectance.SAMPLE)
  # That of S2L1C is stored beside it.
  if name != 'S2L1C' and not offset_known:
    reflectance.check_offset(*about, reflectance.SAMPLE)


def _read_plain(path, name):
  """Reads an image [Y, X, C] that is no reflectance, such as radar."""
  dtype = np.dtype(examples.IMAGE_TYPES[name])
  with layers_lib.open_raster(path) as raster:
    order = _order(raster, path, modalities.IMAGE_FIELDS[name].bands)
    rasters.check_read(raster, len(order), path)
    with reading(path, 'image', 'copy it again'):
      values = _scaled(raster.read(order), raster, order)
      shown = np.ones(values.shape, bool)
      for i, number in enumerate(order):
        shown[i] &= layers_lib.shown(raster, number)
    north_up = raster.transform.e < 0
  _check_possible(values[shown], name, path)
  if dtype.kind == 'f':
    values = np.where(shown, values, np.nan)
  elif not shown.all():
    raise ValueError(
      f'{path} masks {1 - shown.mean():.1%} of its values, or they are its '
      'nodata value; fill or crop them.'
    )
  values = values if dtype.kind == 'f' else np.rint(values)
  scenes.check_range(values, dtype, path)
  values = values if north_up else values[:, ::-1]
  return np.ascontiguousarray(np.moveaxis(values, 0, -1), dtype)


def _scaled(values, raster, order):
  """Returns values [C, Y, X] in the unit that their bands declare."""
  chosen = [number - 1 for number in order]
  scales, offsets = (
    np.array(x, np.float64)[chosen, None, None]
    for x in (raster.scales, raster.offsets)
  )
  if (scales == 1).all() and (offsets == 0).all():
    return values
  return values * scales + offsets


def _check_possible(values, name, path):
  """Checks that values [N] can be of the unit of a modality.

  Raises:
    ValueError: if more than a few cannot; says which, and what helps.
  """
  unit = modalities.IMAGE_FIELDS[name].unit
  values = values[np.isfinite(values)]
  if unit not in _POSSIBLE or not values.size:
    return
  low, high, advice = _POSSIBLE[unit]
  if unit == 'dB' and np.quantile(values, reflectance.FEW) > 0:
    raise ValueError(
      f'{path} has no value below 0 (the largest is {values.max():.4g}), so '
      f'{name} is linear power, not dB; {advice}.'
    )
  outside = (values < low) | (values > high)
  if outside.any():
    message = (
      f'{path} has {name} of {values[outside][0]:.6g} {unit} at '
      f'{outside.mean():.2%} of its values, but {low} .. {high} is what is '
      f'possible; {advice}, or mask what has no value.'
    )
    if outside.mean() > reflectance.FEW:
      raise ValueError(message)
    logging.warning('%s', message)


def _order(raster, path, expected):
  """Returns the numbers of the expected bands in a raster, from 1."""
  texts = raster.descriptions
  if len(expected) > 1 and not bands_lib.no_names(texts):
    names = [text or '' for text in texts]
    return [i + 1 for i in bands_lib.order(names, expected, str(path))]
  if raster.count != len(expected):
    raise ValueError(
      f'{path} has {raster.count} bands without names; expected are '
      f'{len(expected)}: {", ".join(expected)}, in this order.'
    )
  return list(range(1, raster.count + 1))
