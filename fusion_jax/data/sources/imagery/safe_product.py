"""What a product of Sentinel-2, a folder `*.SAFE`, says of its values.

Source: ESA, Sentinel-2 Products Specification Document, `MTD_MSIL2A.xml` and
`MTD_MSIL1C.xml`.
"""

import functools
import os
import pathlib
import re

from absl import logging

_METADATA = ('MTD_MSIL2A.xml', 'MTD_MSIL1C.xml')
_DEEPEST = 6  # Folders of a product around its files, and one more.
_OFFSETS = re.compile(r'<(?:BOA_ADD|RADIO_ADD)_OFFSET[^>]*>\s*(-?\d+)\s*<')
# With the prefix before baseline 02.09 or so.
_QUANTIFICATION = re.compile(
  r'<(?:(?:L2A_)?BOA_)?QUANTIFICATION_VALUE[^>]*>\s*(\d+)\s*<'
)
_BASELINE = re.compile(r'_N(\d\d)(\d\d)_')


def encoding(
  path: str | os.PathLike[str],
) -> tuple[float, float] | tuple[None, None]:
  """Returns scale and offset of reflectance of a file in a product.

  Reflectance is value * scale + offset. From processing baseline 04.00 on, the
  offset is -0.1; the metadata of the product state it.

  Args:
    path: path of a raster.

  Returns:
    (scale, offset), or (None, None) for a file of no product, or of one without
    metadata or with several offsets; a warning says so.
  """
  folder = _product(path)
  return _of_product(folder) if folder else (None, None)


def name(path: str | os.PathLike[str]) -> str:
  """Returns the name of the product that a file belongs to, or ''."""
  folder = _product(path)
  return folder.name if folder else ''


def _product(path):
  """Returns the folder of the product that a file belongs to, or None.

  Its name ends in .SAFE, or it holds the metadata of a product.
  """
  parents = list(pathlib.Path(path).parents)[:_DEEPEST]
  return next((x for x in parents if _is_product(x)), None)


@functools.lru_cache(4096)
def _is_product(folder):
  if folder.suffix.upper() == '.SAFE':
    return True
  return any((folder / name).is_file() for name in _METADATA)


@functools.lru_cache(1024)
def _of_product(folder):
  """Returns scale and offset of a product; see `encoding`."""
  files = [folder / name for name in _METADATA]
  file = next((x for x in files if x.exists()), None)
  if file is None:
    baseline = _BASELINE.search(folder.name)
    if baseline and int(baseline[1]) >= 4:
      logging.warning(
        '%s is of processing baseline %s.%s but has no %s, which tells its '
        'offset: if it still has the one of its baseline, pass --offset -0.1.',
        folder,
        *baseline.groups(),
        _METADATA['MSIL1C' in folder.name],
      )
    return None, None
  text = file.read_text('utf-8')
  offsets = {int(offset) for offset in _OFFSETS.findall(text)} or {0}
  quantification = _QUANTIFICATION.search(text)
  if len(offsets) > 1 or not quantification:
    logging.warning(
      '%s has the offsets %s and %s quantification value, where one of each is '
      'expected, and is not used: pass --scale and --offset of reflectance.',
      file,
      sorted(offsets),
      'a' if quantification else 'no',
    )
    return None, None
  scale = 1 / int(quantification[1])
  return scale, offsets.pop() * scale
