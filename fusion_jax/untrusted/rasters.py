"""Opens rasters by their content: GeoTIFF and JPEG 2000, nothing indirect.

GDAL has some 150 drivers, and chooses one by the content of a file. Many are
indirect: a text of VRT behind the name `scene.tif` reads any other file, or a
URL. So the first bytes tell the driver here, and it is the only one that is
asked. What stands beside a file (`.msk`, `.ovr`, `.aux.xml`) is checked, too.
"""

import os
import pathlib
import re
import struct
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.errors
from rasterio import enums

from fusion_jax.untrusted import memory

_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_JP2 = (b'\0\0\0\x0cjP  ', b'\xff\x4f\xff\x51')
_HEAD = 12
_SIZ = b'\xff\x4f\xff\x51'  # Start of a code stream, then its sizes.
_SEARCHED = 2**20  # Bytes in which a JPEG 2000 begins its code stream.
_MOST_XML = 2**22
_TILE = (
  2048  # Bytes that OpenJPEG keeps of a band of a tile, whatever its size.
)
_VRT = re.compile(rb'\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<VRTDataset', re.S)
# Parts of a VRT that name files in other ways, or compute.
_REFUSED = re.compile(
  rb'PixelFunction|VRTRawRasterBand|VRTWarpedDataset|VRTPansharpenedDataset|'
  rb'VRTProcessedDataset|SourceProperties\s+\w*[Uu]rl|<!ENTITY|<!DOCTYPE'
)
# Files beside a raster that GDAL opens with any driver.
_BESIDE = ('.msk', '.ovr', '.MSK', '.OVR')
# How long GDAL waits for a host; it does not look for files beside a URL.
_PATIENCE: dict[str, Any] = {
  'GDAL_DISABLE_READDIR_ON_OPEN': 'EMPTY_DIR',
  'GDAL_HTTP_CONNECTTIMEOUT': 10,
  'GDAL_HTTP_LOW_SPEED_LIMIT': 1000,
  'GDAL_HTTP_LOW_SPEED_TIME': 20,
  'GDAL_HTTP_TIMEOUT': 300,
}
_REMOTE = ('http://', 'https://', 's3://', 'gs://')


def opened(path: str | os.PathLike[str]) -> Any:
  """Opens a raster with the driver that its first bytes tell.

  Args:
    path: path of a GeoTIFF, a JPEG 2000, or a file named `.vrt` that refers to
      such files on this machine; or a URL of a GeoTIFF or a JPEG 2000, whose
      host the caller has checked.

  Returns:
    A dataset of rasterio, which is to be closed.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is of another format, refers to other files, or needs
      more memory for one of its blocks than allowed.
  """
  driver = _driver(path)
  remote = str(path).startswith(_REMOTE)
  place = str(path) if remote else os.path.abspath(path)  # No 'DRIVER:' path.
  try:
    with rasterio.Env(**(_PATIENCE if remote else {})):
      raster = rasterio.open(place, driver=driver)
  except rasterio.errors.RasterioIOError as error:
    raise ValueError(f'{path} cannot be read as a raster: {error}') from error
  try:
    _check_blocks(raster, path)
  except ValueError:
    raster.close()
    raise
  return raster


def sources(path: str | os.PathLike[str]) -> Sequence[pathlib.Path]:
  """Returns the files that a VRT refers to; () for any other raster.

  Args:
    path: path or URL of a raster.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: as `opened`.
  """
  if str(path).startswith(_REMOTE) or _driver(path) != 'VRT':
    return ()
  return _sources(pathlib.Path(path))


def check_read(raster: Any, count: int, path: str | os.PathLike[str]) -> None:
  """Checks that bands of a raster may be taken into memory as a whole.

  Args:
    raster: open raster.
    count: number of bands.
    path: path of the file, for messages.

  Raises:
    ValueError: if they are larger than allowed.
  """
  itemsize = max(_itemsize(name) for name in raster.dtypes)
  size = memory.num_bytes((count, raster.height, raster.width), itemsize)
  memory.check(
    size, path, f'{count} bands of {raster.height} x {raster.width} pixels'
  )


def _driver(path):
  """Returns the driver that reads a file, after checks of what it refers to."""
  text = str(path)
  if text.startswith(_REMOTE):
    ending = text.partition('?')[0].lower()
    return 'JP2OpenJPEG' if ending.endswith('.jp2') else 'GTiff'
  path = pathlib.Path(path)
  driver = _local_driver(path)
  if driver == 'VRT':
    for source in _sources(path):
      if _local_driver(source) == 'VRT':
        raise ValueError(f'{path} refers to {source}, a VRT itself.')
      _check_beside(source)
  _check_beside(path)
  return driver


def _local_driver(path: pathlib.Path) -> str:
  """Returns the driver of a local file by its first bytes."""
  if not path.exists():
    raise FileNotFoundError(f'There is no file {path}.')
  try:
    with open(path, 'rb') as file:
      head = file.read(4096)
  except IsADirectoryError as error:
    raise ValueError(f'{path} is a folder, not a raster.') from error
  if head[:4] in _TIFF:
    return 'GTiff'
  if head[:8] == _JP2[0] or head[:4] == _JP2[1]:
    _check_tiles(path)
    return 'JP2OpenJPEG'
  if _VRT.match(head):
    if path.suffix.lower() == '.vrt':
      return 'VRT'
    raise ValueError(
      f'{path} is a text that refers to other files (VRT) and is not read '
      'under this name; give the files themselves.'
    )
  raise ValueError(
    f'{path} cannot be read as a raster: it is neither a GeoTIFF nor a JPEG '
    f'2000 (it starts with {head[:_HEAD]!r}); convert it with gdal_translate.'
  )


def _sources(path: pathlib.Path) -> Sequence[pathlib.Path]:
  """Returns the files that a VRT refers to, all of them on this machine."""
  if path.stat().st_size > _MOST_XML:
    raise ValueError(f'{path} is larger than a VRT should be.')
  text = path.read_bytes()
  if found := _REFUSED.search(text):
    raise ValueError(
      f'{path} has {found[0].decode()}, which is not read in a VRT; make a '
      'GeoTIFF of it (gdal_translate).'
    )
  try:
    root = ElementTree.fromstring(text)
  except (ElementTree.ParseError, RecursionError) as error:
    raise ValueError(f'{path} is no valid VRT: {error}') from error
  sources = []
  for element in root.iter():
    if 'filename' not in element.tag.lower():
      continue
    name = (element.text or '').strip()
    relative = element.get('relativeToVRT', '0') == '1'
    source = path.parent / name if relative else pathlib.Path(name)
    if name.startswith('/vsi') or ':' in name or not source.is_file():
      raise ValueError(
        f'{path} refers to {name!r}, which is no file on this machine; give '
        'the files themselves.'
      )
    sources.append(source)
  return sources


def _check_beside(path: pathlib.Path) -> None:
  """Checks the files beside a raster that GDAL would open."""
  for ending in _BESIDE:
    beside = path.with_name(path.name + ending)
    if beside.exists():
      if _local_driver(beside) != 'GTiff':
        raise ValueError(f'{beside} is no GeoTIFF; move it away.')
      _check_aux(beside)
  _check_aux(path)


def _check_aux(path: pathlib.Path) -> None:
  """Checks that metadata beside a raster do not name other files."""
  aux = path.with_name(f'{path.name}.aux.xml')
  if not aux.exists():
    return
  text = aux.read_bytes() if aux.stat().st_size <= _MOST_XML else b'<!ENTITY'
  if re.search(rb'OVERVIEW_FILE|MASK_FILE|<!ENTITY|<!DOCTYPE', text):
    raise ValueError(
      f'{aux} refers to other files, or is too large; move it away.'
    )


def _check_blocks(raster: Any, path: str | os.PathLike[str]) -> None:
  """Checks what one block takes, which is what GDAL reads at a time."""
  together = (  # For a damaged JPEG 2000 GDAL looks for this without end.
    raster.driver == 'GTiff' and raster.interleaving == enums.Interleaving.pixel
  )
  for shape, dtype in zip(raster.block_shapes, raster.dtypes):
    block = memory.num_bytes(shape, _itemsize(dtype))
    bands = raster.count if together else 1
    memory.check(block * bands, path, f'a block of {shape} pixels')


def _check_tiles(path: pathlib.Path) -> None:
  """Checks what one tile of a JPEG 2000 takes, by the header of its stream."""
  with open(path, 'rb') as file:
    head = file.read(_SEARCHED)
  at = head.find(_SIZ)
  if at < 0 or len(head) < at + 42:
    return  # GDAL says what is wrong.
  fields = struct.unpack_from('>HHIIIIIIIIH', head, at + 4)
  width, height, count = fields[2], fields[3], fields[10]
  tile_width, tile_height = fields[6], fields[7]
  tiles = -(-width // max(tile_width, 1)) * -(-height // max(tile_height, 1))
  memory.check(_TILE * tiles * count, path, f'a list of {tiles} tiles')
  shape = min(width, tile_width), min(height, tile_height), count
  memory.check(
    memory.num_bytes(shape, 8), path, f'a tile of {shape[0]} x {shape[1]}'
  )


def _itemsize(dtype: str) -> int:
  """Returns the bytes of a value of a data type of rasterio."""
  if dtype.startswith('complex'):  # NumPy has no 'complex_int16'.
    return 16
  return np.dtype(dtype).itemsize
