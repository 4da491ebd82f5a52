"""Reads Sen4Map: Sentinel-2 around LUCAS points of 2018, as HDF5.

Each place is a group such as `Lucas_Point_40683280`, with acquisitions or
composites (see `sen4map_groups`) and the attributes `lc1`, `lu1` and `nuts0` of
the survey; a composite may also have `bioregion_class_code` and `EUNIS_L2`. The
place follows from the key; `Coordinates` is not used. Published by Sharma et
al. 2024, JSTARS 17, 13893; the layout is that of IBM/terratorch
`datasets/sen4map.py` (Apache-2.0) and pallavijain-pj/TimeSenCLIP (MIT).
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np

from fusion_jax.data import composites
from fusion_jax.data.sources import sen4map_groups
from fusion_jax.untrusted import hdf5, memory
from fusion_jax.untrusted.reading import reading

PREFIX = 'Lucas_Point_'
SURVEY = ('lc1', 'lu1', 'nuts0')
REGIONS = ('bioregion_class_code', 'EUNIS_L2')
_YEAR = 2018


class Year(NamedTuple):
  """The months of a place.

  Attributes:
    pixels: [12, 10, k, k], bands of `composites.BANDS`; int16, or float32 if
      the file has fractions or lacks a band (NaN).
    valid: bool [12], months with an observation.
  """

  pixels: np.ndarray
  valid: np.ndarray


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
  """Opens an HDF5 file as a context.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if the file is truncated or no HDF5 file.
  """
  try:
    file = h5py.File(path, 'r')
  except FileNotFoundError:
    raise
  except BlockingIOError as error:
    raise ValueError(
      f'{path} is open in another program, which locks it ({error}); close it '
      'there, or wait until it is done.'
    ) from error
  except OSError as error:
    raise ValueError(
      f'{path} is truncated or no HDF5 file ({error}); copy it again.'
    ) from error
  with file:
    yield file


def keys(file: h5py.File) -> tuple[str, ...]:
  """Returns the names of the places of an open file, sorted.

  Raises:
    ValueError: if it has none.
  """
  with reading(file.filename, 'HDF5 file', 'copy it again'):
    names = sorted(key for key in map(str, file) if key.startswith(PREFIX))
  if not names:
    raise ValueError(
      f'{file.filename} has no group {PREFIX}...; it has {sorted(file)[:5]}.'
    )
  return tuple(names)


def point_id(key: str) -> int:
  """Returns the eight digits of a key.

  Raises:
    ValueError: if there are none.
  """
  digits = key.removeprefix(PREFIX)
  if not re.fullmatch(r'\d{8}', digits):
    raise ValueError(
      f'{key!r} is no key of Sen4Map; expected {PREFIX} and eight digits.'
    )
  return int(digits)


def is_composite(file: h5py.File, key: str) -> bool:
  """Returns whether a place has monthly composites, not acquisitions."""
  group: Any = file[key]
  return sen4map_groups.IMAGE in group


def read_year(
  file: h5py.File,
  key: str,
  size: int,
  composite: composites.Kind = 'published',
  missing_bands: Sequence[str] = (),
) -> Year:
  """Reads the months of a place.

  Args:
    file: open HDF5 file, see `opened`.
    key: name of the place.
    size: pixels per side of the central crop, k.
    composite: how months are composed, see `composites.monthly`; a stored
      composite is taken as it is.
    missing_bands: names of bands that may be absent: they become NaN.

  Raises:
    ValueError: if something is missing or has a wrong shape or scale; the
      message names file, place and dataset or attribute.
  """
  with _named(file, key) as group:
    if sen4map_groups.IMAGE in group:
      return Year(*sen4map_groups.read_composites(group, size, missing_bands))
    counts, scene_class, products = sen4map_groups.read_acquisitions(
      group, size, missing_bands
    )
    months = product_months(products)
    pixels, valid = composites.monthly(counts, scene_class, months, composite)
    if not valid.any():
      raise ValueError(
        'no month has a clear acquisition; leave it out, or '
        'take the published composite, which fills with zeros'
      )
    return Year(sen4map_groups.without_bands(pixels, missing_bands), valid)


def read_annual(file: h5py.File, key: str, size: int) -> np.ndarray:
  """Returns the lower median of all acquisitions of a place.

  It is int16 [10, k, k], reflectance x 10,000.

  Raises:
    ValueError: if the place has composites, or as in `read_year`.
  """
  with _named(file, key) as group:
    if sen4map_groups.IMAGE in group:
      raise ValueError(
        'its months are composites already; the median of a '
        'year needs the acquisitions'
      )
    counts, scene_class, _ = sen4map_groups.read_acquisitions(group, size, ())
    return composites.annual(counts, scene_class)


def read_attributes(
  file: h5py.File, key: str, names: Sequence[str]
) -> dict[str, str]:
  """Returns attributes of a place as texts.

  Raises:
    ValueError: if one is missing.
  """
  with _named(file, key) as group:
    missing = [name for name in names if name not in group.attrs]
    if missing:
      raise ValueError(
        f'it lacks the attributes {missing}; it has {sorted(group.attrs)}'
      )
    return {name: sen4map_groups.as_text(group.attrs[name]) for name in names}


def product_months(products: Sequence[str]) -> np.ndarray:
  """Returns which product ids belong to which month of 2018.

  It is bool [A, 12]. As in the published code, an id belongs to month mm if it
  contains 2018mm anywhere.

  Raises:
    ValueError: if none does.
  """
  in_month = np.array(
    [
      [f'{_YEAR}{month:02d}' in product for month in range(1, 13)]
      for product in products
    ]
  )
  if not in_month.any():
    raise ValueError(
      f'none of the {len(products)} product ids of '
      f'{sen4map_groups.PRODUCTS} is of {_YEAR}, such as {products[0]!r}'
      if products
      else f'{sen4map_groups.PRODUCTS} is empty'
    )
  return in_month


@contextlib.contextmanager
def _named(file: h5py.File, key: str) -> Iterator[Any]:
  """Yields the group of a place; errors then name the file and the key."""
  try:
    hdf5.check_link(file, key, file.filename)
    with memory.bounded():  # Strings of HDF5 state their lengths.
      yield file[key]
  except (
    ValueError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    AttributeError,
    MemoryError,
  ) as error:
    text = error.args[0] if error.args else error
    raise ValueError(f'{file.filename}, {key}: {text}.') from error
