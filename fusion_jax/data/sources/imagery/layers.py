"""What a raster says of its bands: their names, dates, units and sensor."""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging
from rasterio import enums

from fusion_jax.data import bands as bands_lib
from fusion_jax.data import dates
from fusion_jax.data.sources.imagery import safe_product, valid_ranges
from fusion_jax.untrusted import rasters

TIME_TAGS = (
  'datetime',
  'SENSING_TIME',
  'acquisition_time',
  'ACQUISITIONDATETIME',
  'DATATAKE_1_DATATAKE_SENSING_START',
  'TIFFTAG_DATETIME',  # Perhaps of the program that wrote the file.
)
# Products whose folder tells the sensor though the user named it.
_PRODUCT = re.compile(r'L[COTEM]0?[4-9]_|HLS[ ._-]?[LS]30', re.IGNORECASE)
_PLATFORM_TAGS = (
  'platform',
  'spacecraft_id',
  'spacecraft',
  'satellite',
  'mission',
  'sensor',
  'sensor_id',
  'instrument',
  'constellation',
  'landsat_product_id',
)
# Tags of a band that hold its name where it has no description.
_NAME_TAGS = ('bandname', 'band_name', 'long_name', 'description', 'name')


@dataclasses.dataclass(frozen=True)
class Layer:
  """One band at one date, in a file.

  Attributes:
    path: path of the file, or a URL that GDAL opens.
    number: number of the band in the file, from 1.
    band: 'B2' .. 'B12' or 'SCL'.
    date: datetime64[D], NaT if unknown.
    scale: scale that is declared outside of the file (see
      `encoding.Encoding`), or None.
    offset: offset that is declared outside of the file, or None.
    nodata: missing value that is declared outside of the file, or None.
    product: name of the product or item that the file belongs to, or ''. Parts
      of one tile and date may be in two products.
    time: datetime64[s] of the acquisition in UTC, NaT if unknown.
    sensor: sensor as `bands.sensor` names it, '' for Sentinel-2.
    valid: smallest and largest valid value that the band declares, or None.
    offset_known: whether an offset of 0 is told, not merely left out.
  """

  path: str
  number: int
  band: str
  date: np.datetime64
  scale: float | None = None
  offset: float | None = None
  nodata: float | None = None
  product: str = ''
  time: np.datetime64 = np.datetime64('NaT', 's')
  sensor: str = ''
  valid: tuple[float, float] | None = None
  offset_known: bool = False


def open_raster(path: str | os.PathLike[str]) -> Any:
  """Opens a raster.

  Args:
    path: path of the file, or a URL.

  Returns:
    A dataset of rasterio, which is to be closed.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: as `untrusted.rasters.opened`.
  """
  return rasters.opened(path)


def shown(
  raster: Any, number: int, window: Any = None, ignore_nodata: bool = False
) -> Any:
  """Returns which pixels of a band its file does not mask.

  Its mask may be a band of alpha, a mask inside or beside the file, or its
  nodata value, compared as GDAL does. A nodata value of 0 masks nothing here:
  what 0 means depends on what the numbers are.

  Args:
    raster: open raster.
    number: number of the band, from 1.
    window: window of rasterio; None for all pixels.
    ignore_nodata: whether the nodata value of the file counts for nothing.

  Returns:
    bool [Y, X], or True for all.
  """
  masked_by = raster.mask_flag_enums[number - 1]
  ignore_nodata |= raster.nodata == 0
  for i, meaning in enumerate(raster.colorinterp):
    if meaning == enums.ColorInterp.alpha:  # GDAL makes masks of bytes only.
      return raster.read(i + 1, window=window) > 0
  if enums.MaskFlags.nodata in masked_by and ignore_nodata:
    return True
  if masked_by == [enums.MaskFlags.all_valid]:
    return True
  return raster.read_masks(number, window=window) > 0


def layers_of_file(
  path: str | os.PathLike[str],
  root: str | os.PathLike[str] = '',
  expected: Sequence[str] = (),
) -> list[Layer]:
  """Returns the layers of a raster, from its descriptions, tags and name.

  A description may be 'B02', or 'B02 2020-11-05'; a file of a single band may
  carry both in its name, as T31UFS_20201105T105231_B02_10m.tif.

  Args:
    path: path of the raster.
    root: folder that the user named; its parts below are looked at, too.
    expected: bands in the order that a file without any name holds them; () if
      bands must have names.

  Raises:
    ValueError: if bands without names are not as many as those expected, no
      name is that of a band, or several bands of one date have the same name.
  """
  with open_raster(path) as raster:
    tags = _lowered(raster.tags())
    by_band = [_lowered(raster.tags(i)) for i in raster.indexes]
    names = _names(raster.descriptions, by_band)
    silent = (raster.scales[0], raster.offsets[0]) == (1, 0)
  parts = rasters.sources(path) or [path]
  scale, offset = _encoding(parts, path) if silent else (None, None)
  time_tag = next((tags[x.lower()] for x in TIME_TAGS if x.lower() in tags), '')
  stem = pathlib.Path(path).stem
  inside = _inside(path, root)
  sensor = _sensor([path, *parts], inside, bool(root), names, tags)
  if len(names) == 1 and not bands_lib.find(names[0], sensor):
    names = [f'{names[0]} {stem}']
  bands = _bands(names, sensor, path, expected)
  sensed = _first(*map(dates.sensed_at, (stem, *inside)))
  days = [
    dates.find(stem),
    sensed.astype('datetime64[D]'),
    dates.find(time_tag.replace(':', '-')),
    dates.find_in_path(path, root),
  ]
  layers = [
    Layer(
      str(path),
      i + 1,
      bands[i],
      _first(dates.find(text), *days),
      scale,
      offset,
      product=safe_product.name(path),
      time=_time(time_tag, sensed, safe_product.name(path) or stem),
      sensor=sensor,
      valid=valid_ranges.valid_range(by_band[i]),
      offset_known=offset is not None,
    )
    for i, text in enumerate(names)
  ]
  return _exact(layers, names, path)


def _lowered(tags):
  """Returns tags by their names in small letters."""
  return {key.lower(): text for key, text in tags.items()}


def _names(descriptions, by_band):
  """Returns a text for each band that may be its name; '' where none is."""
  if not bands_lib.no_names(descriptions):
    return [text or '' for text in descriptions]
  for key in _NAME_TAGS:
    names = [tags.get(key, '') for tags in by_band]
    if not bands_lib.no_names(names):
      return names
  return [''] * len(descriptions)


def _bands(names, sensor, path, expected):
  """Returns the band of every name; by order only if there is no name."""
  bands = [bands_lib.find(text, sensor) for text in names]
  if not expected or any(map(bands_lib.known, bands)):
    return bands
  listed = ', '.join(expected)
  if any(names) and (len(names) > 1 or sensor):
    raise ValueError(
      f'{path} has bands of the names {[x for x in names if x]}'
      + (f' ({sensor})' if sensor else '')
      + ', none of which is a band of Sentinel-2; expected are '
      f'{listed}, in any order and spelling.'
    )
  if len(names) != len(expected):
    raise ValueError(
      f'{path} has {len(names)} bands without names; expected are '
      f'{len(expected)}: {listed}, in this order. Name the '
      'bands in their descriptions, and their order and number are free.'
      + (
        ' Thirteen bands are those of L1C.'
        if len(names) == 13 and len(expected) == 12
        else ''
      )
    )
  return list(expected)


def _exact(layers, names, path):
  """Returns the layers, of B04 and B04_std of one date only the first."""
  groups = {}
  for layer, name in zip(layers, names):
    if bands_lib.known(layer.band):
      key = layer.band, str(layer.date)
      groups.setdefault(key, []).append((layer, name))
  kept = []
  for group in groups.values():
    exact = [pair for pair in group if bands_lib.is_exact(pair[1])]
    group = exact or group
    if len(group) > 1:
      raise ValueError(
        f'{path} has several bands of the names {[group[0][0].band]}: '
        f'{[name for _, name in group]}; keep one of each.'
      )
    kept.append(group[0][0])
  return kept


def _inside(path, root):
  """Returns the names of the folders of a file that tell something of it."""
  folders = pathlib.Path(path).parents
  if root:
    depth = len(pathlib.Path(path).relative_to(root).parts)
    return [folder.name for folder in list(folders)[:depth]]
  return [x.name for x in folders if x.suffix.upper() == '.SAFE']


def _sensor(files, folders, named, names, tags):
  """Returns the sensor that names and tags tell.

  The last of the folders may be the one that the user `named`: only as that of
  a product it tells the sensor.
  """
  stems = [pathlib.Path(file).stem for file in files]
  if named and not _PRODUCT.match(folders[-1]):
    folders = folders[:-1]
  platforms = [tags[key] for key in _PLATFORM_TAGS if key in tags]
  return bands_lib.sensor([*stems, *folders, *names, *platforms])


def _encoding(files, path):
  """Returns the (scale, offset) that products tell of files of a raster.

  Raises:
    ValueError: if they are of several, of which only one can be applied.
  """
  found = {safe_product.encoding(file) for file in files}
  if len(found) > 1:
    raise ValueError(
      f'{path} refers to files of products that store reflectance in different '
      f'ways, {sorted(found, key=str)} (scale, offset); give the products '
      'themselves.'
    )
  return found.pop()


def _time(tag, sensed, title):
  """Returns the time of an acquisition, datetime64[s]; NaT if unknown.

  That of sensing in a name counts first: a tag may tell when a program wrote
  the file.
  """
  told = dates.moment(tag)
  if np.isnat(sensed):
    return told
  if not np.isnat(told) and str(told)[:10] != str(sensed)[:10]:
    _warn_of_time(str(sensed), str(told), title)
  return sensed


@functools.lru_cache(1024)
def _warn_of_time(sensed, told, title):
  """Warns once that the name of a product and a tag tell different times."""
  logging.warning(
    '%s was sensed at %s by its name, which counts, but a tag of the file '
    'tells %s.',
    title,
    sensed,
    told,
  )


def _first(*times):
  """Returns the first time that is known, else the last."""
  return next((time for time in times if not np.isnat(time)), times[-1])
