"""Cubes of GeoTIFFs and other rasters, one or several per date; STAC items."""

import functools
from collections.abc import Sequence

import numpy as np
import rasterio
import rasterio.windows
from absl import logging
from rasterio import enums, vrt

from fusion_jax.data import bands as bands_lib
from fusion_jax.data.sources.imagery import crs as crs_lib
from fusion_jax.data.sources.imagery import encoding
from fusion_jax.data.sources.imagery import layers as layers_lib
from fusion_jax.untrusted import memory
from fusion_jax.untrusted.reading import reading

_MOST_OPEN = 256  # Largest number of files that are kept open.


class RasterSource:
  """Rasters as a `encoding.Source`, on the grid of the first finest layer.

  Layers on other grids (bands of 20 m, neighbouring zones) are resampled to it
  by the nearest pixel, so that values stay those of the sensor and missing
  values do not spread.
  """

  def __init__(
    self,
    name: str,
    layers: Sequence[layers_lib.Layer],
    declared: encoding.Declared,
  ):
    """Reads the grid and the encoding of every file.

    Args:
      name: name of the files, for messages.
      layers: layers of the files. Several layers of one band and date are
        mosaicked: the first one that has a value counts.
      declared: `encoding.Declared`.

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
    for layer in _finest(layers, grids):
      key = layer.band, _order(layer.date)
      self._layers.setdefault(key, []).append(layer)
    self._check_copies(grids)
    times = {
      _order(x.date): x.time for x in layers[::-1] if not np.isnat(x.time)
    }
    self.times = np.array(
      [times.get(order, 'NaT') for order in sorted(steps)], 'datetime64[s]'
    )

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
    memory.check(
      memory.num_bytes((len(self._steps), *shape), 8), self.name, 'a window'
    )
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

  def encoding_of(self, band: str) -> encoding.Encoding:
    """Returns how the first file with a band stores it.

    Args:
      band: name of the band.
    """
    layer = next(
      group[0] for (name, _), group in self._layers.items() if name == band
    )
    return self._opened(layer.path)[1](layer)

  def _read_layer(self, layer, window, classes):
    raster, encodings = self._opened(layer.path)
    with reading(layer.path, 'raster', 'copy it again'):
      values = raster.read(layer.number, window=window)
      # Unless the user or a STAC item declares another nodata value.
      other = self._declared.nodata is not None or layer.nodata is not None
      known = layers_lib.shown(raster, layer.number, window, other)
    if classes:
      return np.where(known, values, 0)
    return np.where(known, encodings(layer).decode(values), np.float32(np.nan))

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
      with layers_lib.open_raster(path) as raster:
        grids.append(
          (
            abs(raster.transform.a),
            path,
            self._crs(raster),
            raster.transform,
            raster.shape,
            raster.block_shapes[0],
          )
        )
    _, path, self.crs, transform, self.shape, self.chunk = min(
      grids, key=lambda grid: grid[:2]
    )
    if transform.b or transform.d:
      raise ValueError(f'{path} is rotated; warp it north up (gdalwarp).')
    self.transform = _north_up(transform, self.shape)
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

  def _crs(self, raster):
    """Returns the coordinate system of a raster, or the one that was stated."""
    if raster.crs is not None:
      return raster.crs
    if self._declared.crs:
      return crs_lib.parse(self._declared.crs, '--crs')
    raise ValueError(
      f'{raster.name} has no coordinate system, so its place is unknown; set '
      'one with gdal_edit.py -a_srs.'
    )

  def _open(self, path):
    """Returns a raster on the grid of the cube, and the encoding of a layer."""
    raster = layers_lib.open_raster(path)
    stored, scales, offsets = raster.nodata, raster.scales, raster.offsets
    dtype = raster.dtypes[0]
    crs = self._crs(raster)
    if (crs, raster.transform, raster.shape) != (
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
        src_crs=crs,
        crs=self.crs,
        transform=self.transform,
        height=self.shape[0],
        width=self.shape[1],
        # Not stating both, GDAL turns a 0 that is measured into a 1.
        **(
          {'add_alpha': True}
          if masked
          else {'nodata': outside, 'src_nodata': outside}
        ),
      )

    def encoding_of(layer):
      missing = stored if layer.nodata is None else layer.nodata
      scale = scales[layer.number - 1] if layer.scale is None else layer.scale
      self._check_sensor(layer, scale)
      return self._declared.encoding(
        dtype,
        scale,
        offsets[layer.number - 1] if layer.offset is None else layer.offset,
        () if missing is None else (missing,),
        layer.valid,
        layer.offset_known,
      )

    return raster, encoding_of

  def _check_sensor(self, layer, scale):
    """Checks that the scale of another sensor's values is known.

    Raises:
      ValueError: if it is not: only Sentinel-2 stores reflectance x 10,000.
    """
    if layer.sensor and scale in (None, 1.0) and self._declared.scale is None:
      raise ValueError(
        f'{layer.path} is of {layer.sensor} and declares no scale of its '
        'values. Pass it: --scale 0.0000275 --offset -0.2 for Landsat '
        'Collection 2 Level 2, --scale 0.0001 for HLS.'
      )


def _finest(layers, grids):
  """Returns the layers without coarser copies of bands within a product.

  A product holds bands at 10, 20 and 60 m; a missing value of the finest is not
  to be filled from a coarser one.
  """
  groups = {}
  for layer in layers:
    key = layer.band, layer.product, _order(layer.date)
    groups.setdefault(key, []).append(layer)
  kept = []
  for (_, product, _), group in groups.items():
    sizes = {x.path: grids[x.path][1].a for x in group if x.path in grids}
    least = min(sizes.values(), default=0)
    kept += [
      x for x in group if not product or sizes.get(x.path, least) <= least
    ]
  return kept


def _north_up(transform, shape):
  """Returns the transform of the same pixels from north to south."""
  if transform.e < 0:
    return transform
  return rasterio.Affine(
    transform.a,
    0,
    transform.c,
    0,
    -transform.e,
    transform.f + transform.e * shape[0],
  )


def _order(date: np.datetime64) -> int:
  """Returns a date as a sortable key; NaT would not be equal to itself."""
  return int(date.astype('datetime64[D]').astype(np.int64))
