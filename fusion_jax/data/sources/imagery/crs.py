"""Coordinate systems as files and users spell them."""

import re
from collections.abc import Mapping
from typing import Any

import rasterio
import rasterio.errors

from fusion_jax import extras

# Attributes and coordinates that hold one, the most complete first.
KEYS = ('crs_wkt', 'spatial_ref', 'crs', 'proj:code', 'proj:epsg', 'epsg')


def text(value: Any) -> str:
  """Returns what an attribute says of a coordinate system, or ''.

  Args:
    value: text, a number such as 32631 or 32631.0, or None.
  """
  if isinstance(value, bytes):
    value = value.decode('utf-8', 'replace')
  spelling = '' if value is None else str(value).strip()
  spelling = re.sub(r'^(EPSG:)?(\d+)(\.0*)?$', r'EPSG:\2', spelling, flags=re.I)
  nothing = spelling.upper().removeprefix('EPSG:') in ('', 'NONE', 'NAN', '0')
  return '' if nothing else spelling


def parse(spelling: str, name: str) -> rasterio.CRS:
  """Returns the coordinate system that a text names.

  Args:
    spelling: 'EPSG:32631', 'EPSG:32631.0', well-known text or a PROJ string.
    name: where the text stands, for messages.

  Raises:
    ValueError: if it names none.
  """
  try:
    return rasterio.CRS.from_user_input(text(spelling) or spelling)
  except (rasterio.errors.CRSError, ValueError) as error:
    raise ValueError(
      f'{name} is {spelling[:80]!r}, which names no coordinate system '
      f'({error}); pass one, such as --crs EPSG:32631.'
    ) from error


def from_cf(attrs: Mapping[str, Any], name: str) -> rasterio.CRS:
  """Returns the coordinate system of a grid mapping of the CF conventions.

  Args:
    attrs: attributes of its variable, with `grid_mapping_name`.
    name: name of the file, for messages.

  Raises:
    ValueError: if it is none.
  """
  with extras.needed('map', f'Reading the grid mapping of {name}'):
    import pyproj
    import pyproj.exceptions
  try:
    return rasterio.CRS.from_wkt(pyproj.CRS.from_cf(dict(attrs)).to_wkt())
  except (pyproj.exceptions.CRSError, KeyError, ValueError) as error:
    raise ValueError(
      f'{name} has the grid mapping {attrs["grid_mapping_name"]!r}, which is '
      f'not understood ({error}); pass the coordinate system, such as --crs '
      'EPSG:32631.'
    ) from error
