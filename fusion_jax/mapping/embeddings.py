"""Embeddings of an area as int8 with one scale per pixel, Zarr or GeoParquet.

A vector of length 1 is `embedding * scale`; a pixel without data has scale 0,
or no row.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa
import rasterio.warp
import zarr
from pyarrow import parquet

from fusion_jax.mapping import blocks as blocks_lib
from fusion_jax.untrusted import zarr_store
from fusion_jax.untrusted.reading import reading

ZARR, PARQUET = '.zarr', '.parquet'
_LONLAT = 'EPSG:4326'
_WKB_POINT = b'\x01\x01\x00\x00\x00'  # Little endian, a point.
_ROWS = 65_536  # Number of rows that are read at a time.
# Longitudes [N], latitudes [N] and vectors [N, E] of one part after another.
_Vectors = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]


def check_path(path: str | os.PathLike[str]) -> None:
  """Raises a ValueError unless the ending is one of the two."""
  if pathlib.Path(path).suffix not in (ZARR, PARQUET):
    raise ValueError(
      f'{path}: embeddings are written to {ZARR} or {PARQUET} (GeoParquet).'
    )


def write(
  path: str | os.PathLike[str],
  blocks: Iterable[tuple[blocks_lib.Block, dict[str, np.ndarray]]],
  *,
  shape: tuple[int, int],
  block: tuple[int, int],
  width: int,
  crs: Any,
  transform: Any,
  tags: Mapping[str, str],
) -> None:
  """Writes embeddings of a scene to Zarr or GeoParquet.

  Args:
    path: file or folder to write; its ending tells the format.
    blocks: pairs of a block of the scene and its arrays, 'embedding' int8
      [Y, X, E] and 'scale' float32 [Y, X]. Their product has length 1; a scale
      of 0 stands for no data.
    shape: rows and columns of the scene.
    block: rows and columns of the chunks of Zarr.
    width: E, length of the embeddings.
    crs: coordinate system of the scene, as rasterio has it.
    transform: affine map from pixels to coordinates of `crs`.
    tags: texts that are kept with the embeddings, by name.

  Raises:
    ValueError: if the ending is neither of the two.
  """
  check_path(path)
  path = pathlib.Path(path)
  temporary = path.with_name(f'{path.name}.tmp')
  if path.suffix == ZARR:
    shutil.rmtree(temporary, ignore_errors=True)
    _write_zarr(temporary, blocks, shape, block, width, crs, transform, tags)
    if path.exists():
      shutil.rmtree(path)
  else:
    _write_parquet(temporary, blocks, width, crs, transform, tags)
  temporary.replace(path)


def read(
  path: str | os.PathLike[str],
) -> _Vectors:
  """Yields (lon [N], lat [N], vectors float32 [N, E]) of either format.

  Raises:
    ValueError: if the file was not written by `write`.
  """
  path = pathlib.Path(path)
  check_path(path)
  read_format = {ZARR: _read_zarr, PARQUET: _read_parquet}[path.suffix]
  with reading(path, 'file of embeddings of map_scene', 'write it again'):
    yield from read_format(path)


def read_tag(path: str | os.PathLike[str], name: str) -> str:
  """Returns a text that is kept with embeddings; '' if there is none.

  Args:
    path: file of embeddings, see `write`.
    name: 'comparable_with' ('texts', or only 'each other'), 'trained_on', ...
  """
  path = pathlib.Path(path)
  with reading(path, 'file of embeddings of map_scene', 'write it again'):
    if path.suffix == ZARR:
      attributes = zarr.open_group(zarr_store.open_store(path), mode='r').attrs
      return str(attributes.get(name, ''))
    metadata = parquet.read_schema(path).metadata or {}
    return metadata.get(name.encode(), b'').decode()


def centres(
  transform: Any, crs: Any, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns longitude [N] and latitude [N] of the centres of pixels.

  Args:
    transform: affine transform from pixels to coordinates.
    crs: coordinate system of the coordinates.
    rows: int [N] rows.
    columns: int [N] columns.
  """
  x = transform.c + transform.a * (np.asarray(columns) + 0.5)
  y = transform.f + transform.e * (np.asarray(rows) + 0.5)
  lon, lat = rasterio.warp.transform(crs, _LONLAT, x, y)[:2]
  return np.array(lon), np.array(lat)


def _write_zarr(path, blocks, shape, block, width, crs, transform, tags):
  """`blocks` yields (Block, {'embedding' int8 [Y, X, E], 'scale' [Y, X]})."""
  root = zarr.create_group(
    path,
    attributes={
      **tags,
      'crs_wkt': crs.to_wkt(),
      'transform': list(transform)[:6],
      'value': 'embedding * scale, of length 1; scale 0: no data',
    },
  )
  stored = {
    'embedding': root.create_array(
      'embedding',
      shape=(*shape, width),
      chunks=(*block, width),
      dtype='int8',
      dimension_names=('y', 'x', 'feature'),
    ),
    'scale': root.create_array(
      'scale',
      shape=shape,
      chunks=block,
      dtype='float32',
      dimension_names=('y', 'x'),
    ),
  }
  for axis, size, start, step in (
    ('y', shape[0], transform.f, transform.e),
    ('x', shape[1], transform.c, transform.a),
  ):
    root.create_array(
      axis, data=start + step * (np.arange(size) + 0.5), dimension_names=(axis,)
    )
  for place, arrays in blocks:
    for name, array in stored.items():
      array[place.rows, place.columns] = arrays[name]


def _write_parquet(path, blocks, width, crs, transform, tags):
  """Writes one row per pixel with data, and one row group per block."""
  geo = {
    'version': '1.1.0',
    'primary_column': 'geometry',
    'columns': {'geometry': {'encoding': 'WKB', 'geometry_types': ['Point']}},
  }
  schema = pa.schema(
    [
      ('geometry', pa.binary()),
      ('lon', pa.float64()),
      ('lat', pa.float64()),
      ('scale', pa.float32()),
      ('embedding', pa.list_(pa.int8(), width)),
    ],
    metadata={'geo': json.dumps(geo), **tags},
  )  # No crs: longitude, latitude.
  with parquet.ParquetWriter(path, schema, compression='zstd') as file:
    for place, arrays in blocks:
      rows, columns = np.nonzero(arrays['scale'])
      lon, lat = centres(
        transform, crs, rows + place.rows.start, columns + place.columns.start
      )
      chosen = arrays['embedding'][rows, columns]
      file.write_table(
        pa.table(
          [
            pa.array(_points(lon, lat), pa.binary()),
            lon,
            lat,
            arrays['scale'][rows, columns],
            pa.FixedSizeListArray.from_arrays(
              pa.array(chosen.ravel(), pa.int8()), width
            ),
          ],
          schema=schema,
        )
      )


def _points(lon: np.ndarray, lat: np.ndarray) -> list[bytes]:
  """Returns points as well-known binary."""
  pairs = np.stack([lon, lat], axis=-1).astype('<f8')
  return [_WKB_POINT + pair.tobytes() for pair in pairs]


def _read_zarr(path: pathlib.Path) -> _Vectors:
  store = zarr_store.open_store(path)
  root = cast(Any, zarr.open_group(store, mode='r'))  # Untyped content.
  stored, scales = root['embedding'], root['scale']
  transform = rasterio.Affine(*root.attrs['transform'])
  crs = rasterio.CRS.from_wkt(root.attrs['crs_wkt'])
  height, width = stored.chunks[:2]
  for y in range(0, stored.shape[0], height):
    for x in range(0, stored.shape[1], width):
      part = slice(y, y + height), slice(x, x + width)
      scale, values = scales[part], stored[part]
      rows, columns = np.nonzero(scale)
      if len(rows):
        yield (
          *centres(transform, crs, rows + y, columns + x),
          values[rows, columns] * scale[rows, columns, None],
        )


def _read_parquet(path: pathlib.Path) -> _Vectors:
  with parquet.ParquetFile(path) as file:
    for batch in file.iter_batches(_ROWS):
      columns = {name: batch.column(name) for name in ('lon', 'lat', 'scale')}
      values = batch.column('embedding')
      vectors = values.flatten().to_numpy().reshape(len(batch), -1)
      yield (
        columns['lon'].to_numpy(),
        columns['lat'].to_numpy(),
        vectors * columns['scale'].to_numpy()[:, None],
      )
