"""Whether the coordinates of xarray objects are centres or corners of pixels.

`stackstac` labels a pixel by its upper left corner by default, and keeps the
affine transform of the grid in the attributes. Coordinates of the CF
conventions are centres, and attributes may be those of a larger array from
which this one was cut, so only where the grid lies between pixels counts.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import rasterio
from absl import logging

_TOLERANCE = 0.02  # Of a pixel.


def corrected(
  transform: rasterio.Affine, attrs: Iterable[Mapping[Any, Any]], title: str
) -> rasterio.Affine:
  """Returns the transform of a grid, by attributes that tell where it lies.

  Args:
    transform: affine transform that takes the coordinates for centres, north
      up.
    attrs: attributes that may hold a `transform`, or `GeoTransform` in the
      order of GDAL.
    title: name of the file, for messages.

  Returns:
    The same, or half a pixel to the right and down, where the first transform
    of the same step tells that coordinates are upper left corners.
  """
  for each in attrs:
    for key in ('transform', 'GeoTransform'):
      stated = _affine(each.get(key), key)
      if stated is None or not _same_step(stated, transform):
        continue
      shifts = (
        (stated.c - transform.c) / transform.a,
        (stated.f - transform.f) / transform.e,
      )
      if any(abs(shift % 1 - 0.5) > _TOLERANCE for shift in shifts):
        return transform
      logging.info(
        '%s: its coordinates are the upper left corners of pixels, by its '
        'attribute %s.',
        title,
        key,
      )
      return rasterio.Affine(
        transform.a,
        0,
        transform.c + transform.a / 2,
        0,
        transform.e,
        transform.f + transform.e / 2,
      )
  return transform


def _affine(value, key):
  """Returns an attribute as an affine transform, or None."""
  if value is None:
    return None
  if isinstance(value, str):
    value = value.strip('()[] ').replace(',', ' ').split()
  try:
    numbers = [float(number) for number in value][:6]
  except (TypeError, ValueError):
    return None
  if len(numbers) < 6:
    return None
  if key == 'GeoTransform':
    return rasterio.Affine.from_gdal(*numbers)
  return rasterio.Affine(*numbers)


def _same_step(stated, transform):
  """Returns whether two transforms have the same pixels, not rotated."""
  return (
    not (stated.b or stated.d)
    and abs(stated.a / transform.a - 1) < 1e-6
    and abs(stated.e / transform.e - 1) < 1e-6
  )
