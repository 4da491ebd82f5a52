"""Cubes of GeoTIFFs and other rasters, one or several per date; STAC items."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import rasterio
import rasterio.errors
import rasterio.windows
from absl import logging
from rasterio import enums, vrt

from fusion_jax.data import bands as bands_lib
from fusion_jax.data import dates
from fusion_jax.mapping import cube_sources, safe_product

_TAGS = (
  'datetime',
  'TIFFTAG_DATETIME',
  'acquisition_time',
  'ACQUISITIONDATETIME',
)
_MOST_OPEN = 256  # Largest number of files that are kept open.


@dataclasses.dataclass(frozen=True)
class Layer:
  """One band at one date, in a file.

  Attributes:
    path: path of the file, or a URL that GDAL opens.
    number: number of the band in the file, from 1.
    band: 'B2' .. 'B12' or 'SCL'.
    date: datetime64[D], NaT if unknown.
    scale: scale that is declared outside of the file (see
      `cube_sources.Encoding`), or None.
    offset: offset that is declared outside of the file, or None.
    nodata: missing value that is declared outside of the file, or None.
    product: name of the product or item that the file belongs to, or ''. Parts
      of one tile and date may be in two products.
  """

  path: str
  number: int
  band: str
  date: np.datetime64
  scale: float | None = None
  offset: float | None = None
  nodata: float | None = None
  product: str = ''


class RasterSource:
  """Rasters as a `cube_sources.Source`, on the grid of the first finest layer.

  Layers on other grids (bands of 20 m, neighbouring zones) are resampled to it
  by the nearest pixel, so that values stay those of the sensor and missing
  values do not spread.
  """

  def __init__(
    self, name: str, layers: Sequence[Layer], declared: cube_sources.Declared
  ):
    """Reads the grid and the encoding of every file.

    Args:
      name: name of the files, for messages.
      layers: layers of the files. Several layers of one band and date are
        mosaicked: the first one that has a value counts.
      declared: `cube_sources.Declared`.

    Raises:
      ValueError: if there is no layer with the name of a band, or a file has
        no coordinate system.
    """
    layers = [x for x in layers if bands_lib.known(x.band)]
    if not layers:
      raise ValueError(
        f'{name} has no layer with the name of a band. Name the bands in '
        'their descriptions, such as B02, or in the names of the files.'
      )
    self.name = name
    self._declared = declared
    self._opened = functools.lru_cache(_MOST_OPEN)(self._open)
    self.bands = tuple(dict.fromkeys(x.band for x in layers))
    steps = {_order(x.date): x.date for x in layers}  # NaT differs from NaT.
    self._steps = [steps[order] for order in sorted(steps)]
    self.dates = np.array(self._steps, 'datetime64[D]')
    grids = self._set_grid(
      {x.path for x in layers if x.band != bands_lib.SCENE_CLASS}
    )
    self._layers = {}
    for layer in layers:
      key = layer.band, _order(layer.date)
      self._layers.setdefault(key, []).append(layer)
    self._check_copies(grids)

  def read(self, band: str, rows: slice, columns: slice) -> np.ndarray:
    """Reads a window of a band, [S, Y, X].

    Args:
      band: name of the band, or 'SCL'.
      rows: slice of rows.
      columns: slice of columns.

    Returns:
      float32 reflectance x 10,000, or classes; NaN, or class 0, where there is
      no layer.
    """
    shape = rows.stop - rows.start, columns.stop - columns.start
    classes = band == bands_lib.SCENE_CLASS
    images = np.full(
      (len(self._steps), *shape), 0 if classes else np.nan, np.float32
    )
    window = rasterio.windows.Window.from_slices(rows, columns)
    for i, date in enumerate(self._steps):
      for layer in self._layers.get((band, _order(date)), ()):
        values = self._read_layer(layer, window, classes)
        empty = images[i] == 0 if classes else np.isnan(images[i])
        images[i] = np.where(empty, values, images[i])
    return images

  def _read_layer(self, layer, window, classes):
    raster, encodings = self._opened(layer.path)
    try:
      values = raster.read(layer.number, window=window)
      known = self._known(raster, layer, window)
    except rasterio.errors.RasterioIOError as error:
      raise ValueError(f'{layer.path} cannot be read: {error}') from error
    if classes:
      return np.where(known, values, 0)
    return np.where(known, encodings(layer).decode(values), np.float32(np.nan))

  def _known(self, raster, layer, window):
    """Returns which pixels a file does not mask.

    Its mask may be a band of alpha, a mask inside or beside the file, or its
    nodata value, compared as GDAL does; the latter not where the user or a STAC
    item declares another one.
    """
    masked_by = raster.mask_flag_enums[layer.number - 1]
    other = self._declared.nodata is not None or layer.nodata is not None
    if enums.MaskFlags.nodata in masked_by and other:
      return True
    if masked_by == [enums.MaskFlags.all_valid]:
      return True
    return raster.read_masks(layer.number, window=window) > 0

  def _check_copies(self, grids):
    """Checks that no two files of one grid are of one band and date.

    Raises:
      ValueError: names the two: which one counts is not known.
    """
    for (band, _), layers in self._layers.items():
      seen = {}
      for layer in layers:
        grid = grids.get(layer.path)
        other = seen.setdefault(grid, layer)
        parts = bool(layer.product) and layer.product != other.product
        if grid and other is not layer and not parts:
          when = '' if np.isnat(layer.date) else f' of {layer.date}'
          raise ValueError(
            f'{other.path} and {layer.path} both hold {band}{when} on one '
            'grid; name the date of sensing in their names, such as '
            'S2_20200115.tif, or move one away.'
          )

  def _set_grid(self, paths):
    """Adopts the grid and the layout of the finest file; returns all grids."""
    grids = []
    for path in sorted(paths):
      with _opening(path) as raster:
        if raster.crs is None:
          raise ValueError(
            f'{path} has no coordinate system, so its place is '
            'unknown; set one with gdal_edit.py -a_srs.'
          )
        grids.append(
          (
            abs(raster.transform.a),
            path,
            raster.crs,
            raster.transform,
            raster.shape,
            raster.block_shapes[0],
          )
        )
    _, path, self.crs, self.transform, self.shape, self.chunk = min(
      grids, key=lambda grid: grid[:2]
    )
    if self.transform.b or self.transform.d or self.transform.e > 0:
      raise ValueError(f'{path} is not north up; warp it (gdalwarp).')
    num_outside = sum(
      (grid[2:5] != (self.crs, self.transform, self.shape)) for grid in grids
    )
    if num_outside:
      logging.info(
        '%d of %d files are resampled to the grid of %s.',
        num_outside,
        len(grids),
        path,
      )
    return {grid[1]: (grid[2].to_wkt(), *grid[3:5]) for grid in grids}

  def _open(self, path):
    """Returns a raster on the grid of the cube, and the encoding of a layer."""
    raster = _opening(path)
    stored, scales, offsets = raster.nodata, raster.scales, raster.offsets
    dtype = raster.dtypes[0]
    if (raster.crs, raster.transform, raster.shape) != (
      self.crs,
      self.transform,
      self.shape,
    ):
      outside = next(
        (x for x in (self._declared.nodata, stored) if x is not None),
        0 if dtype[0] in 'iu' else np.nan,
      )
      # A mask of its own becomes a band of alpha; else outside is "missing".
      masked = enums.MaskFlags.per_dataset in raster.mask_flag_enums[0]
      raster = vrt.WarpedVRT(
        raster,
        crs=self.crs,
        transform=self.transform,
        height=self.shape[0],
        width=self.shape[1],
        **({'add_alpha': True} if masked else {'nodata': outside}),
      )

    def encoding(layer):
      missing = stored if layer.nodata is None else layer.nodata
      return self._declared.encoding(
        dtype,
        scales[layer.number - 1] if layer.scale is None else layer.scale,
        offsets[layer.number - 1] if layer.offset is None else layer.offset,
        () if missing is None else (missing,),
      )

    return raster, encoding


def layers_of_file(
  path: str | os.PathLike[str], root: str | os.PathLike[str] = ''
) -> list[Layer]:
  """Returns the layers of a raster, from its descriptions, tags and name.

  A description may be 'B02', or 'B02 2020-11-05'; a file of a single band may
  carry both in its name, as T31UFS_20201105T105231_B02_10m.tif.
  """
  with _opening(path) as raster:
    tags = raster.tags()
    described = [text or '' for text in raster.descriptions]
    silent = (raster.scales[0], raster.offsets[0]) == (1, 0)
  scale, offset = safe_product.encoding(path) if silent else (None, None)
  name = pathlib.Path(path).stem
  tag = next((tags[key] for key in _TAGS if key in tags), '')
  found = [
    dates.find(name),
    dates.find(tag.replace(':', '-')),
    dates.find_in_path(path, root),
  ]
  if len(described) == 1 and not bands_lib.find(described[0]):
    described = [f'{described[0]} {name}']
  layers = []
  for i, text in enumerate(described):
    first, *_ = [
      date for date in (dates.find(text), *found) if not np.isnat(date)
    ] or [np.datetime64('NaT', 'D')]
    layers.append(
      Layer(
        str(path),
        i + 1,
        bands_lib.find(text),
        first,
        scale,
        offset,
        product=safe_product.name(path),
      )
    )
  return layers


def _order(date: np.datetime64) -> int:
  """Returns a date as a sortable key; NaT would not be equal to itself."""
  return int(date.astype('datetime64[D]').astype(np.int64))


def _opening(path):
  try:
    return rasterio.open(path)
  except rasterio.errors.RasterioIOError as error:
    raise ValueError(f'{path} cannot be read as a raster: {error}') from error
