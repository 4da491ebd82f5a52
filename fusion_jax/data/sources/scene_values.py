"""What the files of scenes say of their values and of their pixels."""

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio.warp
from rasterio import enums

from fusion_jax import geo
from fusion_jax.data import bands as bands_lib

_EXACT = re.compile(r'B(0?[1-9]|8A|1[0-2])', re.IGNORECASE)
_NUMBERED = re.compile(r'band[ _]?\d+', re.IGNORECASE)


def named_bands(
  descriptions: Sequence[str | None],
  path: str | os.PathLike[str],
  expected: Sequence[str],
) -> dict[str, int]:
  """Returns {band: its number, from 1} of bands that have a name.

  Args:
    descriptions: descriptions of the bands; 'Band 1' is no name.
    path: path of the raster, for messages.
    expected: names of the bands that are read.

  Raises:
    ValueError: if several bands have one of these names.
  """
  described = {i + 1: text for i, text in enumerate(descriptions) if text}
  if all(_NUMBERED.fullmatch(text.strip()) for text in described.values()):
    return {}
  named, exact = {}, {}
  for number, text in described.items():
    named.setdefault(_canonical(text), []).append(number)
    if _EXACT.fullmatch(re.split(r'[\s,]', text.strip())[0]):
      exact.setdefault(_canonical(text), []).append(number)
  chosen = named | exact  # B04 before B04_std.
  twice = [band for band in expected if len(chosen.get(band, ())) > 1]
  if twice:
    raise ValueError(
      f'{path} has several bands of the names {twice}: '
      f'{list(described.values())}; keep one of each.'
    )
  return {band: numbers[0] for band, numbers in chosen.items()}


def _canonical(text: str) -> str:
  """Returns 'B01' for 'B1', 'b01' and 'coastal'; others in small letters."""
  band = bands_lib.find(text)
  if not bands_lib.known(band):
    return text.strip().lower()
  return f'B{int(band[1:]):02d}' if band[1:].isdigit() else band


def check_masks(
  raster: Any, order: Sequence[int], path: str | os.PathLike[str]
) -> None:
  """Checks that no pixel is hidden by a mask inside or beside the file.

  Args:
    raster: open raster.
    order: numbers of the bands that are read, from 1.
    path: path of the raster, for messages.

  Raises:
    ValueError: if one is; says how many.
  """
  shown = 1.0
  for number in order:
    flags = set(raster.mask_flag_enums[number - 1])
    if flags & {enums.MaskFlags.per_dataset, enums.MaskFlags.alpha}:
      shown = min(shown, float((raster.read_masks(number) > 0).mean()))
  if shown < 1:
    raise ValueError(
      f'{path} masks {1 - shown:.1%} of its pixels, which have no value; fill '
      'or crop them.'
    )


def decode(
  raster: Any,
  order: Sequence[int],
  path: str | os.PathLike[str],
  offset: int = 0,
) -> np.ndarray:
  """Returns counts [C, Y, X], as the tags of scale and offset tell.

  Args:
    raster: open raster, whose reflectance is value * scale + offset of its
      tags; without tags its values are reflectance x 10,000.
    order: numbers of the bands that are read, from 1.
    path: path of the raster, for messages.
    offset: offset that the user states, which such tags contradict.

  Raises:
    ValueError: for tags and a stated offset.
  """
  values = raster.read(order)
  scales = [raster.scales[number - 1] for number in order]
  offsets = [raster.offsets[number - 1] for number in order]
  if set(scales) == {1.0} and set(offsets) == {0.0}:
    return values
  if offset:
    raise ValueError(
      f'{path} declares the offset {offsets[0]:g} of reflectance itself, in '
      'its tags; do not pass another one.'
    )
  counts = np.array(scales)[:, None, None] * values
  counts = np.rint(10_000 * (counts + np.array(offsets)[:, None, None]))
  return np.where(values == (raster.nodata or 0), values, counts)


def pixel_m(raster: Any) -> tuple[float, float]:
  """Returns width and height of the pixel at the centre on the ground, m.

  Args:
    raster: open raster with a coordinate system.
  """
  transform = raster.transform
  x = transform.c + transform.a * raster.width / 2
  y = transform.f + transform.e * raster.height / 2
  lons, lats = rasterio.warp.transform(
    raster.crs,
    'EPSG:4326',
    [x, x + transform.a, x],
    [y, y, y + transform.e],
  )[:2]
  metres = 1000 * geo.distance_km(lats[0], lons[0], lats[1:], lons[1:])
  return float(metres[0]), float(metres[1])
