"""Opens a cube: Zarr, NetCDF, rasters, STAC items or an xarray object."""

import os
from collections.abc import Sequence
from typing import Any

from fusion_jax.data.sources.imagery import encoding, open_source
from fusion_jax.mapping import cube as cube_lib


def open_cube(
  paths: Sequence[str | os.PathLike[str] | Any],
  *,
  declared: encoding.Declared | None = None,
  missing: Sequence[str] = (),
  unread: Sequence[str] = (),
) -> cube_lib.Cube:
  """Opens the cube that is stored in files.

  Args:
    paths: one Zarr store, NetCDF file or xarray object; or rasters, folders of
      these, or STAC items.
    declared: what the user states about the files.
    missing: names of bands that the cube lacks, see `bands.stand_ins`.
    unread: names of bands that the model was trained without.

  Returns:
    `cube.Cube`.

  Raises:
    FileNotFoundError: if a path does not exist or holds no cube.
    ValueError: see `cube.Cube` and the readers.
  """
  return cube_lib.Cube(
    open_source.open_source(paths, declared),
    declared=declared,
    missing=missing,
    unread=unread,
  )
