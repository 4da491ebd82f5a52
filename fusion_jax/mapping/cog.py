"""Writes maps of class and confidence as Cloud-Optimised GeoTIFF."""

import colorsys
import json
import os
import pathlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax import saxutils

import numpy as np
import rasterio
import rasterio.windows
from rasterio import enums
from rasterio import shutil as rasterio_shutil  # pyright: ignore[reportAttributeAccessIssue]  # A compiled module.

from fusion_jax.mapping import blocks as blocks_lib
from fusion_jax.untrusted import rasters

NODATA = 255
_MOST_CLASSES = 255
_PERCENT = 100  # Confidence is stored in these.
_CACHE_MB = 256  # GDAL would take a twentieth of the memory.
_BLOCK = 512
# Colours by what a name contains, the first that fits.
_COLOURS = {
  'cloud': '#d9d9d9',
  'snow': '#f0f8ff',
  'ice': '#f0f8ff',
  'glacier': '#f0f8ff',
  'wetland': '#5ab4ac',
  'bog': '#5ab4ac',
  'mire': '#5ab4ac',
  'fen': '#5ab4ac',
  'water': '#3c78c8',
  'lake': '#3c78c8',
  'sea': '#3c78c8',
  'river': '#3c78c8',
  'wood': '#1b7837',
  'tree': '#1b7837',
  'forest': '#1b7837',
  'shrub': '#a6861d',
  'heath': '#a6861d',
  'permanent': '#e08214',
  'orchard': '#e08214',
  'vineyard': '#b2182b',
  'grass': '#a6d96a',
  'meadow': '#a6d96a',
  'crop': '#f7d154',
  'arable': '#f7d154',
  'wheat': '#f7d154',
  'artificial': '#d73027',
  'built': '#d73027',
  'urban': '#d73027',
  'settlement': '#d73027',
  'bare': '#c8b496',
  'rock': '#c8b496',
  'sand': '#e6d7b4',
}
_EXTRA_SAMPLES, _UNSPECIFIED = (
  338,
  0,
)  # A tag and a value of the TIFF specification.


def colours(names: Sequence[str]) -> dict[int, tuple[int, int, int]]:
  """Returns {index: (red, green, blue)} of class names, no two the same.

  Names of land cover get the usual colours of maps. All others, and a second
  name with a colour that is already used, get hues that are far apart.
  """
  colour_of_class, used = {}, set()
  for i, name in enumerate(names):
    text = next(
      (colour for word, colour in _COLOURS.items() if word in name.lower()), ''
    )
    if text and text not in used:
      used.add(text)
      colour_of_class[i] = tuple(int(text[j : j + 2], 16) for j in (1, 3, 5))
  for i in range(len(names)):
    hue = i * 0.618034 % 1  # The golden ratio spreads any number of them.
    light = (0.55, 0.4, 0.7)[i % 3]
    colour_of_class.setdefault(
      i, tuple(round(255 * x) for x in colorsys.hls_to_rgb(hue, light, 0.65))
    )
  return colour_of_class


def write(
  path: str | os.PathLike[str],
  blocks: Iterable[tuple[blocks_lib.Block, np.ndarray, np.ndarray]],
  *,
  shape: tuple[int, int],
  crs: Any,
  transform: Any,
  names: Sequence[str],
  tags: Mapping[str, str],
) -> None:
  """Writes a map.

  Args:
    path: file to write; beside it comes PATH.aux.xml with the category names,
      which GeoTIFF cannot hold.
    blocks: yields (`blocks.Block`, class uint8 [Y, X], confidence uint8 [Y,
      X] in percent), 255 = no data.
    shape: rows and columns of the map.
    crs: coordinate system, as rasterio has it.
    transform: affine transform from pixels to coordinates.
    names: names of the classes.
    tags: {name: text}, stored as tags of the file; read after the last block,
      so that they may tell of all of them.

  Raises:
    ValueError: if there are more than 255 classes.
  """
  if len(names) > _MOST_CLASSES:
    raise ValueError(f'{len(names)} classes; a map holds {_MOST_CLASSES}.')
  path = pathlib.Path(path)
  plain = path.with_name(f'{path.name}.plain.tmp')
  done = path.with_name(f'{path.name}.tmp')
  with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
    with rasterio.open(
      plain,
      'w',
      driver='GTiff',
      width=shape[1],
      height=shape[0],
      count=2,
      dtype='uint8',
      nodata=NODATA,
      crs=crs,
      transform=transform,
      tiled=True,
      blockxsize=_BLOCK,
      blockysize=_BLOCK,
      photometric='palette',
      compress='deflate',
      bigtiff='if_safer',
    ) as file:
      _fill(file, blocks, names, tags)
    _copy_as_cog(plain, done)
  _no_alpha(done)
  plain.unlink()
  _write_categories(path, names)
  done.replace(path)


def _copy_as_cog(plain: pathlib.Path, done: pathlib.Path) -> None:
  """Copies a GeoTIFF as a Cloud-Optimised one."""
  rasterio_shutil.copy(
    plain,
    done,
    driver='COG',
    compress='DEFLATE',
    blocksize=_BLOCK,
    overview_resampling='MODE',
    bigtiff='IF_SAFER',
  )


def _fill(file, blocks, names, tags):
  """Writes bands, colours and tags into an open GeoTIFF."""
  file.write_colormap(
    1, {i: (*colour, 255) for i, colour in colours(names).items()}
  )
  file.descriptions = ('class', 'confidence')
  file.scales = (1.0, 1 / _PERCENT)
  file.update_tags(1, **{f'class_{i}': x for i, x in enumerate(names)})
  for block, classes, confidence in blocks:
    file.write(
      np.stack([classes, confidence]),
      window=rasterio.windows.Window.from_slices(block.rows, block.columns),
    )
  file.update_tags(classes=json.dumps(names), **tags)


def percent(confidence: np.ndarray) -> np.ndarray:
  """Returns confidence [...] in [0, 1] as uint8 percent."""
  return np.round(np.asarray(confidence) * _PERCENT).astype(np.uint8)


def read_tags(path: str | os.PathLike[str]) -> dict[str, str]:
  """Returns the tags of a map, {name: text}."""
  with rasterio.open(path) as file:
    return dict(file.tags())


def read_small(
  path: str | os.PathLike[str], most: int = 1_000
) -> tuple[np.ndarray, dict[int, tuple[int, int, int]], list[str]]:
  """Reads the classes of a map, shrunk, and their colours.

  Args:
    path: path of a map, see `write`.
    most: largest number of pixels per side.

  Returns:
    (uint8 [Y, X] classes, {index: (red, green, blue)}, names).
  """
  with rasters.opened(path) as file:
    step = max(1, -(-max(file.shape) // most))
    shape = tuple(-(-size // step) for size in file.shape)
    classes = file.read(1, out_shape=shape, resampling=enums.Resampling.mode)
    colour = {i: rgba[:3] for i, rgba in file.colormap(1).items()}
    return classes, colour, json.loads(file.tags()['classes'])


def _write_categories(path, names):
  """Writes the category names to the file where GDAL and QGIS look for them."""
  rows = ''.join(
    f'<Category>{saxutils.escape(name)}</Category>' for name in names
  )
  path.with_name(f'{path.name}.aux.xml').write_text(
    f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{rows}'
    '</CategoryNames></PAMRasterBand></PAMDataset>\n',
    'utf-8',
  )


def _no_alpha(path):
  """Marks the second band as data, which GDAL's COG takes for transparency.

  The tag ExtraSamples of every image in the file is set in its place, so the
  layout stays.
  """
  with open(path, 'r+b') as file:
    order = {b'II': '<', b'MM': '>'}[file.read(2)]
    big = struct.unpack(order + 'H', file.read(2))[0] == 43
    count_type, entry_size, value_at = ('Q', 20, 12) if big else ('H', 12, 8)
    offset_type = 'Q' if big else 'I'

    def unpack(kind, place):
      file.seek(place)
      return struct.unpack(order + kind, file.read(struct.calcsize(kind)))[0]

    place = unpack(offset_type, 8 if big else 4)
    while place:
      count = unpack(count_type, place)
      place += struct.calcsize(count_type)
      for entry in range(place, place + count * entry_size, entry_size):
        if unpack('H', entry) == _EXTRA_SAMPLES:
          file.seek(entry + value_at)
          file.write(struct.pack(order + 'H', _UNSPECIFIED))
      place = unpack(offset_type, place + count * entry_size)
