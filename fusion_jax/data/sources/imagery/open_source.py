"""Finds the reader of imagery: Zarr, NetCDF, rasters, STAC items, xarray."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from fusion_jax import extras
from fusion_jax.data.sources.imagery import encoding
from fusion_jax.untrusted import nested
from fusion_jax.untrusted.reading import reading

_RASTERS = ('.tif', '.tiff', '.jp2', '.vrt')
_ITEMS = ('.json', '.geojson')
_NETCDF = ('.nc', '.nc4', '.cdf', '.h5')
_QUALITY = 'QI_DATA'  # Folder of masks in a product of Sentinel-2.
_ZARR = ('zarr.json', '.zgroup', '.zmetadata')


def open_source(
  paths: Sequence[str | os.PathLike[str] | Any],
  declared: encoding.Declared | None = None,
  *,
  expected: Sequence[str] = (),
  extra: str = 'map',
) -> encoding.Source:
  """Opens imagery, of one date or of many.

  Args:
    paths: one Zarr store, NetCDF file, `xarray.Dataset` or
      `xarray.DataArray`; or rasters, folders of these (such as a product
      `*.SAFE` or a patch of BigEarthNet), or STAC items.
    declared: what the user states about the files.
    expected: bands in the order that a raster without any name holds them; ()
      if bands must have names.
    extra: extra of fusion_jax, such as 'map', to propose where a package is not
      installed.

  Returns:
    The reader of the bands.

  Raises:
    FileNotFoundError: if a path does not exist or holds no imagery.
    ValueError: see the readers.
  """
  declared = declared or encoding.Declared()
  first = paths[0]
  if hasattr(first, 'dims'):
    if len(paths) > 1:
      raise ValueError(
        f'{len(paths)} xarray objects were given; combine them to one, '
        'for instance with xarray.concat.'
      )
    with extras.needed(extra, 'Reading xarray objects'):
      from fusion_jax.data.sources.imagery import xarrays

    return xarrays.XarraySource(first, declared)
  files = [pathlib.Path(path) for path in paths]
  for path in files:
    if not path.exists():
      raise FileNotFoundError(f'There is no {path}.')
  with reading(first, 'imagery', 'copy it again'):
    return _of_files(files, declared, expected, extra)


def _of_files(paths, declared, expected, extra):
  first = paths[0]
  netcdf = first.suffix.lower() in _NETCDF
  if len(paths) == 1 and (netcdf or _is_zarr(first)):
    with extras.needed(extra, f'Reading {first}'):
      from fusion_jax.data.sources.imagery import xarrays

    return xarrays.XarraySource(first, declared)
  with extras.needed(extra, f'Reading {first}'):
    from fusion_jax.data.sources.imagery import layers as layers_lib
    from fusion_jax.data.sources.imagery import rasters, stac

  layers, files = [], _files(paths, bool(expected))
  by_order = expected if len(files) == 1 else ()
  for path, root in files:
    layers += (
      stac.layers(path, root, declared.hosts)
      if path.suffix.lower() in _ITEMS
      else layers_lib.layers_of_file(path, root, by_order)
    )
  name = str(first) if len(paths) == 1 else f'{first} and {len(paths) - 1} more'
  return rasters.RasterSource(name, layers, declared)


def _files(paths, any_raster):
  """Returns rasters and items with the folder that was named, or ''.

  Args:
    paths: files and folders.
    any_raster: whether a file may be a raster whatever its ending.
  """
  files = []
  for path in paths:
    if not path.is_dir():
      known = path.suffix.lower() in (*_RASTERS, *_ITEMS)
      if not (known or any_raster):
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
    chosen = [x for x in inside if _is_item(x)] or [
      x for x in inside if x.suffix.lower() in _RASTERS
    ]
    if not chosen:
      raise FileNotFoundError(f'{path} holds no raster and no STAC item.')
    files += [(file, path) for file in chosen]
  return files


def _is_item(path):
  """Returns whether a file holds STAC items; other JSON lies beside images."""
  if path.suffix.lower() not in _ITEMS:
    return False
  try:
    content = nested.read_json(path)
  except ValueError:
    return True  # Its reader tells what is wrong.
  return not isinstance(content, dict) or bool(
    {'assets', 'features', 'stac_version'} & set(content)
  )


def _is_zarr(path: pathlib.Path) -> bool:
  return path.is_dir() and (
    path.suffix == '.zarr' or any((path / name).exists() for name in _ZARR)
  )
