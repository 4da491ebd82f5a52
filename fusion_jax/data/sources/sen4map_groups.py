"""Reads the datasets and attributes of a place of Sen4Map, of either form.

  raw        datasets B2 B3 B4 B5 B6 B7 B8 B8A B11 B12 and SCL [A, Y, X] of A
             acquisitions, and the attribute Image_ID, A product ids
  composite  a dataset `image` [12, 10, Y, X], already one value per month

Error messages do not name the file and the key of the place; the caller adds
them.
"""

import re
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from fusion_jax.data import composites
from fusion_jax.untrusted import hdf5, memory

SCENE_CLASS, PRODUCTS, IMAGE, BAND_NAMES = 'SCL', 'Image_ID', 'image', 'bands'
_FILLS = ('_FillValue', 'missing_value', 'nodata')
_ADD_OFFSET = 'BOA_ADD_OFFSET'
_LEAST = -1000  # Of reflectance x 10,000: the darkest count and its offset.
_REFLECTANCE_ITSELF = 2  # Fractions up to here are not reflectance x 10,000.


def read_acquisitions(
  group: Any, size: int, missing_bands: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
  """Reads the acquisitions of a raw place.

  Args:
    group: group of the place.
    size: k, pixels per side of the central crop.
    missing_bands: names of bands that may be absent: they become 0.

  Returns:
    Counts [A, 10, k, k], reflectance x 10,000; scene classes [A, k, k]; and A
    product ids.

  Raises:
    ValueError: if something is missing or has a wrong shape or scale.
  """
  names = {_canonical(name): name for name in group}
  _check_contents(group, names, missing_bands)
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
  stored = [group[names[band]] for band in composites.BANDS if band in names]
  counts = _known(counts, stored, [band in names for band in composites.BANDS])
  products = _texts(group.attrs[PRODUCTS])
  if len(products) != len(counts):
    raise ValueError(
      f'{len(products)} product ids for {len(counts)} acquisitions'
    )
  _check_scale(counts)
  known = np.isfinite(counts).all(axis=1)  # Other pixels count as cloud.
  counts = np.where(known[:, None], counts, 0)
  if offset := _offset(group, products):
    counts = np.where(counts, counts.astype(np.int32) + offset, 0)
  return (
    counts,
    np.where(known, scene_class, composites.CLOUD_CLASS),
    products,
  )


def _check_contents(group, names, missing_bands):
  """Checks that a group has its bands, their classes and their dates."""
  absent = [
    band
    for band in composites.BANDS
    if band not in names and band not in missing_bands
  ]
  if absent:
    raise ValueError(
      f'it lacks the bands {absent}; it has {sorted(group)}. If the sensor '
      f'has none, say so: --missing-bands {" ".join(absent)}'
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


def _check_grids(group, names):
  """Checks that bands have the pixels and acquisitions of the classes."""
  expected = group[SCENE_CLASS].shape
  wrong = ''.join(
    f', {name} is {group[name].shape}'
    for name in names
    if group[name].shape != expected
  )
  if len(expected) != 3 or wrong:
    raise ValueError(
      f'{SCENE_CLASS} is {expected}{wrong}; expected [acquisitions, rows, '
      'columns] of one grid of 10 m: bring them onto it'
    )


def _cropped(dataset: Any, size: int) -> np.ndarray:
  """Reads the central [..., k, k] of a dataset, and no more."""
  rows, columns = dataset.shape[-2:]
  if min(rows, columns) < size:
    raise ValueError(
      f'{dataset.name.split("/")[-1]} has {rows} x {columns} '
      f'pixels; expected {size} x {size}'
    )
  path = dataset.file.filename
  hdf5.check_dataset(dataset, path)
  memory.check(
    memory.num_bytes((*dataset.shape[:-2], size, size), 8), path, dataset.name
  )
  y, x = rows // 2 - size // 2, columns // 2 - size // 2
  return dataset[..., y : y + size, x : x + size]


def read_composites(
  group: Any, size: int, missing_bands: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
  """Reads stored composites.

  Args:
    group: group of the place.
    size: k, pixels per side of the central crop.
    missing_bands: names of bands that may be absent: they become NaN.

  Returns:
    Pixels [12, 10, k, k], int16, or float32 if there are fractions or NaN; and
    bool [12], months with an observation.

  Raises:
    ValueError: if something is missing or has a wrong shape or scale.
  """
  dataset = group[IMAGE]
  if dataset.ndim != 4 or dataset.shape[0] != composites.NUM_MONTHS:
    raise ValueError(
      f'{IMAGE} is {dataset.shape}; expected 12 months: '
      '[12, bands, rows, columns]'
    )
  order = _band_order(group, dataset, missing_bands)
  pixels = _cropped(dataset, size)
  _check_scale(pixels)
  padded = np.concatenate([pixels, np.zeros_like(pixels[:, :1])], axis=1)
  pixels = _known(padded[:, order], [dataset], [index >= 0 for index in order])
  months = np.asarray(np.isfinite(pixels).any(axis=(1, 2, 3)))
  if not months.any():
    raise ValueError('all its months are missing')
  pixels = without_bands(pixels, missing_bands)
  limits = np.iinfo(np.int16)
  if not np.array_equal(
    pixels, np.clip(np.trunc(pixels), limits.min, limits.max)
  ):
    return pixels.astype(np.float32), months
  return pixels.astype(np.int16), months


def _band_order(group, dataset, missing_bands):
  """Returns the index of each band; -1 for a missing band.

  Without names (an attribute `bands`) there must be ten, in the order of
  `composites.BANDS`, or those of it that are not said to be missing.
  """
  stored_names = dataset.attrs.get(BAND_NAMES, group.attrs.get(BAND_NAMES))
  expected = [band for band in composites.BANDS if band not in missing_bands]
  names = (
    expected
    if stored_names is None
    else [_canonical(name) for name in _texts(stored_names)]
  )
  absent = [band for band in expected if band not in names]
  if absent or len(names) != dataset.shape[1]:
    raise ValueError(
      f'{IMAGE} has {dataset.shape[1]} bands'
      + (f', named {names}' if stored_names is not None else ' without names')
      + f'; expected {", ".join(expected)}'
      + (f', of which it lacks {absent}' if absent else '')
      + '. Name them in an attribute `bands` if the order is another; if the '
      'sensor lacks some, say so: --missing-bands NAME'
    )
  return [
    names.index(band) if band in expected else -1 for band in composites.BANDS
  ]


def without_bands(
  pixels: np.ndarray, missing_bands: Sequence[str]
) -> np.ndarray:
  """Returns pixels with NaN in the bands that are missing.

  Args:
    pixels: [12, 10, k, k], bands of `composites.BANDS`.
    missing_bands: names of the bands; if there are none, `pixels` is returned
      as it is, else float32.
  """
  if not missing_bands:
    return pixels
  pixels = pixels.astype(np.float32)
  pixels[:, [composites.BANDS.index(band) for band in missing_bands]] = np.nan
  return pixels


def _known(
  counts: np.ndarray, datasets: Sequence[Any], present: Sequence[bool]
) -> np.ndarray:
  """Returns counts with NaN where a band is missing or has its fill value.

  Args:
    counts: [A, C, k, k], reflectance x 10,000.
    datasets: where they were read from; the attributes `_FillValue`,
      `missing_value` and `nodata` tell values that stand for none.
    present: C flags, False for bands that are said to be missing.

  Raises:
    ValueError: for values that no sensor gives, and that are not declared.
  """
  fills = {
    _fill(dataset.attrs[name])
    for dataset in datasets
    for name in _FILLS
    if name in dataset.attrs
  }
  unknown = ~np.isfinite(counts) | np.isin(counts, sorted(fills))
  unknown &= np.asarray(present)[:, None, None]
  below = np.asarray(counts < _LEAST) & ~unknown
  if below.any():
    raise ValueError(
      f'its values reach {counts[below].min():g}; reflectance x 10,000 is '
      f'{_LEAST} or more. If this value stands for none, say so in an '
      'attribute _FillValue of the dataset'
    )
  pixels = unknown.any(axis=1, keepdims=True)
  return np.where(pixels, np.nan, counts) if pixels.any() else counts


def _fill(attribute: Any) -> float:
  """Returns a declared fill value; NaN for one like 'None' or 'nan'."""
  try:
    return float(np.ravel(attribute)[0])
  except (TypeError, ValueError):
    return np.nan


def _offset(group: Any, products: Sequence[str]) -> int:
  """Returns what is to be added to the counts of a place that are not 0.

  From baseline 04.00 on, products have 1000 more than reflectance x 10,000.

  Raises:
    ValueError: for such products where the file does not tell whether the
      offset is still in their counts.
  """
  if _ADD_OFFSET in group.attrs:
    return int(np.ravel(group.attrs[_ADD_OFFSET])[0])
  for product in products:
    match = re.search(r'_N(\d{4})_', product)
    if match and int(match[1]) >= 400:
      raise ValueError(
        f'the product {product} is of baseline {match[1][:2]}.{match[1][2:]}, '
        'whose counts have an offset of 1000. Say in an attribute '
        f'{_ADD_OFFSET} of the place what is to be added: -1000, or 0 if that '
        'was done'
      )
  return 0


def _check_scale(values: np.ndarray) -> None:
  """Checks that values are not reflectance from 0 to 1."""
  if values.dtype.kind != 'f':
    return
  top = np.nanmax(values, initial=0)
  if top <= _REFLECTANCE_ITSELF and (values[np.isfinite(values)] % 1).any():
    raise ValueError(
      f'its values reach {top:.3g}, so they are reflectance '
      'itself; expected reflectance x 10,000: multiply them'
    )


def _canonical(name: str) -> str:
  """Returns 'B2' for 'B02'; other names as they are."""
  match = re.fullmatch(r'[Bb]0?(\d+[Aa]?)', name)
  return f'B{match[1].upper()}' if match else name


def _texts(value: Any) -> list[str]:
  """Returns the strings of an attribute, an array or one long string."""
  if isinstance(value, (bytes, str)):
    return re.findall(r'[^\s,;\'"\[\]]+', as_text(value))
  return [as_text(item) for item in np.ravel(value)]


def as_text(value: Any) -> str:
  """Returns the value of an attribute, a text or an array of one, as str.

  It is '' for an attribute without a value.
  """
  if isinstance(value, h5py.Empty):
    return ''
  if isinstance(value, np.ndarray) and value.size == 1:
    value = value.item()
  return value.decode() if isinstance(value, bytes) else str(value)
