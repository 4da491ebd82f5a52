"""Sen4Map: Sentinel-2 around LUCAS points of 2018, as HDF5.

One group a place, `Lucas_Point_40683280`, in one of two forms:

  raw        datasets B2 B3 B4 B5 B6 B7 B8 B8A B11 B12 and SCL [A, Y, X] of A
             acquisitions, and the attribute Image_ID, A product ids
  composite  a dataset `image` [12, 10, Y, X], already one value a month

and with attributes `lc1`, `lu1`, `nuts0` of the survey; a composite may also
have `bioregion_class_code` and `EUNIS_L2`. The place is told by the key: what
`Coordinates` says is not used. Published by Sharma et al. 2024, JSTARS 17,
13893; the layout is that of IBM/terratorch `datasets/sen4map.py`
(Apache-2.0) and pallavijain-pj/TimeSenCLIP (MIT).
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np

from fusion_jax.data import composites

PREFIX = 'Lucas_Point_'
SCENE_CLASS, PRODUCTS, IMAGE, BAND_NAMES = 'SCL', 'Image_ID', 'image', 'bands'
SURVEY = ('lc1', 'lu1', 'nuts0')
REGIONS = ('bioregion_class_code', 'EUNIS_L2')
_YEAR = 2018
_REFLECTANCE_ITSELF = 2  # Fractions up to here are not reflectance x 10,000.


class Year(NamedTuple):
  """The months of a place.

  Attributes:
    pixels: [12, 10, k, k], bands of `composites.BANDS`; int16, or float32
      where the file has fractions or lacks a band (NaN).
    valid: bool [12], months with an observation.
  """

  pixels: np.ndarray
  valid: np.ndarray


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
  """Opens an HDF5 file for the time of a context.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is cut short or no HDF5.
  """
  try:
    file = h5py.File(path, 'r')
  except FileNotFoundError:
    raise
  except OSError as error:
    raise ValueError(
      f'{path} is cut short or no HDF5 file ({error}); copy it again.'
    ) from error
  with file:
    yield file


def keys(file: h5py.File) -> tuple[str, ...]:
  """Returns the names of the places of an open file, sorted.

  Raises:
    ValueError: if it has none.
  """
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
      f'{key!r} is no key of Sen4Map; wanted is {PREFIX} and eight digits.'
    )
  return int(digits)


def is_composite(file: h5py.File, key: str) -> bool:
  """Returns whether a place has monthly composites, not acquisitions."""
  group: Any = file[key]
  return IMAGE in group


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
    ValueError: for what is missing, misplaced or on another scale; the message
      names file, place and dataset or attribute.
  """
  with _named(file, key) as group:
    if IMAGE in group:
      return _stored(group, size, missing_bands)
    counts, scene_class, products = _acquisitions(group, size, missing_bands)
    months = product_months(products)
    pixels, valid = composites.monthly(counts, scene_class, months, composite)
    if not valid.any():
      raise ValueError(
        'no month has a clear acquisition; leave it out, or '
        'take the published composite, which fills with zeros'
      )
    return Year(_blank(pixels, missing_bands), valid)


def read_annual(file: h5py.File, key: str, size: int) -> np.ndarray:
  """Returns the lower median of all acquisitions of a place.

  It is int16 [10, k, k], reflectance x 10,000.

  Raises:
    ValueError: as `read_year`; also of a place of composites.
  """
  with _named(file, key) as group:
    if IMAGE in group:
      raise ValueError(
        'its months are composites already; the median of a '
        'year needs the acquisitions'
      )
    counts, scene_class, _ = _acquisitions(group, size, ())
    return composites.annual(counts, scene_class)


def read_attributes(
  file: h5py.File, key: str, names: Sequence[str]
) -> dict[str, str]:
  """Returns attributes of a place as texts.

  Raises:
    ValueError: if one is missing.
  """
  with _named(file, key) as group:
    lacking = [name for name in names if name not in group.attrs]
    if lacking:
      raise ValueError(
        f'it lacks the attributes {lacking}; it has {sorted(group.attrs)}'
      )
    return {name: _text(group.attrs[name]) for name in names}


def product_months(products: Sequence[str]) -> np.ndarray:
  """Returns which product ids belong to which month of 2018.

  It is bool [A, 12].

  As published: any id that contains 2018mm, wherever.

  Raises:
    ValueError: if none does.
  """
  found = np.array(
    [
      [f'{_YEAR}{month:02d}' in product for month in range(1, 13)]
      for product in products
    ]
  )
  if not found.any():
    raise ValueError(
      f'none of the {len(products)} product ids of '
      f'{PRODUCTS} is of {_YEAR}, such as {products[0]!r}'
      if products
      else f'{PRODUCTS} is empty'
    )
  return found


@contextlib.contextmanager
def _named(file: h5py.File, key: str) -> Iterator[Any]:
  """The group; what goes wrong with it is told with file and key."""
  try:
    yield file[key]
  except (ValueError, KeyError, OSError, RuntimeError) as error:
    text = error.args[0] if error.args else error
    raise ValueError(f'{file.filename}, {key}: {text}.') from error


def _acquisitions(
  group: Any, size: int, missing_bands: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
  """(counts [A, 10, k, k], SCL [A, k, k], product ids) of a raw place."""
  names = {_canonical(name): name for name in group}
  lacking = [
    band
    for band in composites.BANDS
    if band not in names and band not in missing_bands
  ]
  if lacking:
    raise ValueError(
      f'it lacks the bands {lacking}; it has {sorted(group)}. If the sensor '
      f'has none, say so: --missing-bands {" ".join(lacking)}'
    )
  if SCENE_CLASS not in group:
    raise ValueError(
      f'it lacks {SCENE_CLASS}, the scene classification; '
      f'it has {sorted(group)}'
    )
  if PRODUCTS not in group.attrs:
    raise ValueError(
      f'it lacks the attribute {PRODUCTS}, the dates; it has '
      f'{sorted(group.attrs)}'
    )
  _check_grids(group, [names[x] for x in composites.BANDS if x in names])
  scene_class = _cropped(group[SCENE_CLASS], size)
  counts = np.stack(
    [
      _cropped(group[names[band]], size)
      if band in names
      else np.zeros_like(scene_class)
      for band in composites.BANDS
    ],
    axis=1,
  )
  products = _texts(group.attrs[PRODUCTS])
  if len(products) != len(counts):
    raise ValueError(
      f'{len(products)} product ids for {len(counts)} acquisitions'
    )
  _check_scale(counts)
  known = np.asarray(
    np.isfinite(counts).all(axis=1)
  )  # What is not counts as cloud.
  return (
    np.where(known[:, None], counts, 0),
    np.where(known, scene_class, composites.CLOUD_CLASS),
    products,
  )


def _check_grids(group, names):
  """Raises unless bands have the pixels and acquisitions of the classes."""
  wanted = group[SCENE_CLASS].shape
  wrong = ''.join(
    f', {name} is {group[name].shape}'
    for name in names
    if group[name].shape != wanted
  )
  if len(wanted) != 3 or wrong:
    raise ValueError(
      f'{SCENE_CLASS} is {wanted}{wrong}; wanted are [acquisitions, rows, '
      'columns] of one grid of 10 m: bring them onto it'
    )


def _cropped(dataset: Any, size: int) -> np.ndarray:
  """The central [..., k, k] of a dataset, and only it is read."""
  rows, columns = dataset.shape[-2:]
  if min(rows, columns) < size:
    raise ValueError(
      f'{dataset.name.split("/")[-1]} has {rows} x {columns} '
      f'pixels; wanted are {size} x {size}'
    )
  y, x = rows // 2 - size // 2, columns // 2 - size // 2
  return dataset[..., y : y + size, x : x + size]


def _stored(group: Any, size: int, missing_bands: Sequence[str]) -> Year:
  """The `Year` of stored composites."""
  dataset = group[IMAGE]
  if dataset.ndim != 4 or dataset.shape[0] != composites.NUM_MONTHS:
    raise ValueError(
      f'{IMAGE} is {dataset.shape}; wanted are 12 months: '
      '[12, bands, rows, columns]'
    )
  order = _band_order(group, dataset, missing_bands)
  pixels = _cropped(dataset, size)
  _check_scale(pixels)
  padded = np.concatenate([pixels, np.zeros_like(pixels[:, :1])], axis=1)
  pixels = padded[:, order]
  months = np.asarray(np.isfinite(pixels).any(axis=(1, 2, 3)))
  if not months.any():
    raise ValueError('all its months are missing')
  pixels = _blank(pixels, missing_bands)
  limits = np.iinfo(np.int16)
  if not np.array_equal(
    pixels, np.clip(np.trunc(pixels), limits.min, limits.max)
  ):
    return Year(pixels.astype(np.float32), months)
  return Year(pixels.astype(np.int16), months)


def _band_order(group, dataset, missing_bands):
  """Where each band stands; -1 where there is none.

  Without names (an attribute `bands`) there must be ten, in the order of
  `composites.BANDS`, or those of it that are not said to be missing.
  """
  named = dataset.attrs.get(BAND_NAMES, group.attrs.get(BAND_NAMES))
  wanted = [band for band in composites.BANDS if band not in missing_bands]
  names = (
    wanted if named is None else [_canonical(name) for name in _texts(named)]
  )
  lacking = [band for band in wanted if band not in names]
  if lacking or len(names) != dataset.shape[1]:
    raise ValueError(
      f'{IMAGE} has {dataset.shape[1]} bands'
      + (f', named {names}' if named is not None else ' without names')
      + f'; wanted are {", ".join(wanted)}'
      + (f', of which it lacks {lacking}' if lacking else '')
      + '. Name them in an attribute `bands` if the order is another; if the '
      'sensor lacks some, say so: --missing-bands NAME'
    )
  return [
    names.index(band) if band in wanted else -1 for band in composites.BANDS
  ]


def _blank(pixels, missing_bands):
  """With NaN in the bands that are missing."""
  if not missing_bands:
    return pixels
  pixels = pixels.astype(np.float32)
  pixels[:, [composites.BANDS.index(band) for band in missing_bands]] = np.nan
  return pixels


def _check_scale(values: np.ndarray) -> None:
  """Raises if values are reflectance from 0 to 1."""
  if values.dtype.kind != 'f':
    return
  top = np.nanmax(values, initial=0)
  if top <= _REFLECTANCE_ITSELF and (values[np.isfinite(values)] % 1).any():
    raise ValueError(
      f'its values reach {top:.3g}, so they are reflectance '
      'itself; wanted is reflectance x 10,000: multiply them'
    )


def _canonical(name: str) -> str:
  """'B02' as 'B2'; other names as they are."""
  match = re.fullmatch(r'[Bb]0?(\d+[Aa]?)', name)
  return f'B{match[1].upper()}' if match else name


def _texts(value: Any) -> list[str]:
  """A list of str of an attribute: an array of strings, or one long one."""
  if isinstance(value, (bytes, str)):
    return re.findall(r'[^\s,;\'"\[\]]+', _text(value))
  return [_text(item) for item in np.ravel(value)]


def _text(value: Any) -> str:
  """A str of an attribute."""
  if isinstance(value, np.ndarray) and value.size == 1:
    value = value.item()
  return value.decode() if isinstance(value, bytes) else str(value)
