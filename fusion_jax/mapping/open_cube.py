"""Finds the reader of a cube: Zarr, NetCDF, rasters or STAC items."""

import os
import pathlib
from collections.abc import Sequence

from fusion_jax import extras
from fusion_jax.mapping import cube as cube_lib
from fusion_jax.mapping import cube_sources

_RASTERS = ('.tif', '.tiff', '.jp2', '.vrt')
_ITEMS = ('.json', '.geojson')
_NETCDF = ('.nc', '.nc4', '.cdf', '.h5')
_QUALITY = 'QI_DATA'  # Folder of masks in a product of Sentinel-2.
_ZARR = ('zarr.json', '.zgroup', '.zmetadata')


def open_cube(
  paths: Sequence[str | os.PathLike[str]],
  *,
  declared: cube_sources.Declared | None = None,
  missing: Sequence[str] = (),
  unread: Sequence[str] = (),
) -> cube_lib.Cube:
  """Opens the cube that is stored in files.

  Args:
    paths: one Zarr store or NetCDF file; or rasters, folders of these, or
      STAC items.
    declared: what the user states about the files.
    missing: names of bands that the cube lacks, see `bands.stand_ins`.
    unread: names of bands that the model was trained without.

  Returns:
    `cube.Cube`.

  Raises:
    FileNotFoundError: if a path does not exist or holds no cube.
    ValueError: see `cube.Cube` and the readers.
  """
  declared = declared or cube_sources.Declared()
  paths = [pathlib.Path(path) for path in paths]
  for path in paths:
    if not path.exists():
      raise FileNotFoundError(f'There is no {path}.')
  source = _source(paths, declared)
  return cube_lib.Cube(
    source, declared=declared, missing=missing, unread=unread
  )


def _source(paths, declared):
  first = paths[0]
  if len(paths) == 1 and (first.suffix in _NETCDF or _is_zarr(first)):
    with extras.needed('map', f'Reading {first}'):
      from fusion_jax.mapping import xarray_cubes

    return xarray_cubes.XarraySource(first, declared)
  with extras.needed('map', f'Reading {first}'):
    from fusion_jax.mapping import raster_cubes, stac

  layers = []
  for path, root in _files(paths):
    layers += (
      stac.layers(path)
      if path.suffix in _ITEMS
      else raster_cubes.layers_of_file(path, root)
    )
  name = str(first) if len(paths) == 1 else f'{first} and {len(paths) - 1} more'
  return raster_cubes.RasterSource(name, layers, declared)


def _files(paths):
  """Returns rasters and items with the folder that was named, or ''."""
  files = []
  for path in paths:
    if not path.is_dir():
      if path.suffix.lower() not in (*_RASTERS, *_ITEMS):
        raise ValueError(
          f'{path}: a cube is one Zarr store or NetCDF file '
          f'({", ".join(_NETCDF)}), or rasters ({", ".join(_RASTERS)}) or '
          f'STAC items ({", ".join(_ITEMS)}), or folders of these.'
        )
      files.append((path, ''))
      continue
    inside = sorted(
      x
      for x in path.rglob('*')
      if x.is_file() and _QUALITY not in x.relative_to(path).parts
    )
    chosen = [x for x in inside if x.suffix in _ITEMS] or [
      x for x in inside if x.suffix.lower() in _RASTERS
    ]
    if not chosen:
      raise FileNotFoundError(f'{path} holds no raster and no STAC item.')
    files += [(file, path) for file in chosen]
  return files


def _is_zarr(path: pathlib.Path) -> bool:
  return path.is_dir() and (
    path.suffix == '.zarr' or any((path / name).exists() for name in _ZARR)
  )
