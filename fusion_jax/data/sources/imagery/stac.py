"""Reads the assets of STAC items, JSON files, as layers of a cube.

Source: STAC 1.0 and 1.1 with the extensions `eo` and `raster`.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np
from absl import logging

from fusion_jax.data import bands as bands_lib
from fusion_jax.data import dates
from fusion_jax.data.sources.imagery import encoding, links
from fusion_jax.data.sources.imagery import layers as layers_lib
from fusion_jax.untrusted import nested
from fusion_jax.untrusted.reading import reading

# Roles of assets that hold no data, or data on a coarser grid.
_NO_DATA_ROLES = {'thumbnail', 'overview', 'metadata', 'visual'}
_BASELINE = 's2:processing_baseline'
_VERSION = 'processing:version'  # The same in the Copernicus Data Space.
_IS_BASELINE = re.compile(r'\d\d\.\d\d')
# If true, the values already contain the offset, though it is declared
# (github.com/Element84/earth-search, issues 66 and 71).
_APPLIED = ('earthsearch:boa_offset_applied', 'sentinel:boa_offset_applied')


def layers(
  path: str | os.PathLike[str],
  root: str | os.PathLike[str] = '',
  hosts: Sequence[str] = (),
) -> list[layers_lib.Layer]:
  """Returns the layers of an item, or of a collection of items.

  Args:
    path: JSON file. Its relative links start from its folder.
    root: folder that the user named, in which the assets may be, too; '' for
      that of the file.
    hosts: hosts that assets may be fetched from.

  Raises:
    ValueError: if it holds no item, one without a date or band, or an asset
      that is elsewhere.
  """
  path = pathlib.Path(path)
  content = nested.read_json(path)
  items = (
    content.get('features', [content]) if isinstance(content, dict) else []
  )
  if not items:
    raise ValueError(f'{path} holds no STAC item.')
  item_layers = []
  for item in items:
    if not isinstance(item, dict) or 'assets' not in item:
      raise ValueError(f'{path} holds no STAC item: "assets" is missing.')
    with reading(path, 'STAC item', 'correct it'):
      item_layers += _of_item(item, path, root, hosts)
  return item_layers


def _of_item(item, path, root, hosts):
  properties = item.get('properties', {})
  text = properties.get('datetime') or properties.get('start_datetime') or ''
  date = dates.find(text)
  if np.isnat(date):
    raise ValueError(f'{path}: the item {item.get("id")!r} has no datetime.')
  applied = any(properties.get(key) is True for key in _APPLIED)
  sensor = bands_lib.sensor(
    [item.get('id'), item.get('collection')]
    + [properties.get(key) for key in ('platform', 'constellation')]
  )
  implied = None if applied else _offset(item, path, sensor)
  item_layers, seen = [], set()
  for key, asset in item['assets'].items():
    if _NO_DATA_ROLES & set(asset.get('roles', ())):
      continue
    described = asset.get('eo:bands') or asset.get('bands') or [{}]
    if len(described) > 1:
      continue  # A picture of several bands.
    band = _name(key, described[0], sensor)
    if not band or band in seen:  # A second asset is a copy, such as in JP2.
      continue
    seen.add(band)
    raster = {**asset, **described[0], **(asset.get('raster:bands') or [{}])[0]}
    scale = _number(raster.get('scale', raster.get('raster:scale')))
    offset = _number(raster.get('offset', raster.get('raster:offset')))
    if applied:
      offset = 0.0
    elif offset is None and implied:
      scale, offset = scale or 1 / encoding.COUNTS, implied
    item_layers.append(
      layers_lib.Layer(
        links.resolve(asset['href'], path, root, hosts),
        1,
        band,
        date,
        scale,
        offset,
        _number(raster.get('nodata')),
        str(item.get('id', '')),
        _time(text),
        sensor,
        offset_known=applied,
      )
    )
  if not item_layers:
    raise ValueError(
      f'{path}: the item {item.get("id")!r} has no asset with '
      f'the name of a band; it has {sorted(item["assets"])}.'
    )
  return item_layers


def _number(value):
  """Returns a number, which may be spelled 'nan', 'inf' or '-inf'; or None."""
  return None if value is None else float(value)


def _offset(item, path, sensor):
  """Returns the offset of reflectance that the baseline of an item implies.

  Since baseline 04.00 values have 1000 more than reflectance x 10,000; archives
  such as the Planetary Computer say it by the baseline alone.
  """
  properties = item.get('properties', {})
  baseline = str(properties.get(_BASELINE, ''))
  version = str(properties.get(_VERSION, ''))
  if not baseline and not sensor and _IS_BASELINE.fullmatch(version):
    baseline = version
  try:
    newer = float(baseline or 0) >= 4
  except ValueError as error:
    raise ValueError(
      f'{path}: {_BASELINE} of the item {item.get("id")!r} is {baseline!r}, no '
      'processing baseline such as 05.09.'
    ) from error
  if not newer:
    return None
  logging.info(
    '%s: the item %s is of processing baseline %s and declares no offset; 0.1 '
    'is subtracted. If that was done before, pass --offset 0.',
    path,
    item.get('id'),
    baseline,
  )
  return encoding.BASELINE_OFFSET


def _time(text):
  """Returns a time as datetime64[s]; NaT if it is a date alone, or none."""
  with contextlib.suppress(ValueError):
    if len(text) > len('2020-01-01'):
      return np.datetime64(dates.parse_time(text), 's')
  return np.datetime64('NaT', 's')


def _name(key, described, sensor):
  """Returns the band of an asset."""
  names = (
    described.get('name', ''),
    key,
    described.get('common_name', described.get('eo:common_name', '')),
  )
  found = (bands_lib.find(name, sensor) for name in names)
  return next(filter(bands_lib.known, found), '')
