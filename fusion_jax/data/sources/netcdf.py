"""Opens NetCDF files and Zarr stores with xarray, after a check of both."""

import os
from typing import Any, Literal

import xarray as xr

from fusion_jax.untrusted import memory
from fusion_jax.untrusted.reading import reading

CLASSIC, HDF5 = b'CDF', b'\x89HDF'


def opened(
  path: str | os.PathLike[str],
  is_zarr: bool = False,
  *,
  mask_and_scale: bool = True,
  decode: bool = True,
) -> xr.Dataset:
  """Opens a dataset, of which the coordinates are read.

  Args:
    path: path of a NetCDF file or a Zarr store.
    is_zarr: whether it is a Zarr store.
    mask_and_scale: whether scale, offset and fill values are applied; without,
      values stay as they are stored.
    decode: whether anything is decoded at all, times included.

  Raises:
    ValueError: if it is damaged, refers to other files, needs a codec that is
      not allowed, or states more than memory may hold; it names the file.
    OSError: if it cannot be opened.
  """
  options: Any = {'decode_cf': False}
  if decode:
    options = {'mask_and_scale': mask_and_scale, 'decode_timedelta': True}
  kind = 'Zarr store' if is_zarr else 'NetCDF file'
  with reading(path, kind):
    if is_zarr:
      from fusion_jax.untrusted import zarr_store

      store = zarr_store.open_store(path)
      whole = zarr_store.is_consolidated(path)
      data = xr.open_dataset(
        store, engine='zarr', consolidated=whole, **options
      )
    else:
      chosen = engine(path)
      if chosen == 'h5netcdf':
        from fusion_jax.untrusted import hdf5

        hdf5.check_file(path)
      data = xr.open_dataset(path, engine=chosen, **options)
    try:
      for name, variable in data.variables.items():
        if variable.ndim == 1:
          memory.check(variable.nbytes, path, f'the variable {name}')
    except ValueError:
      data.close()
      raise
    return data


def engine(path: str | os.PathLike[str]) -> Literal['h5netcdf', 'scipy']:
  """Returns 'h5netcdf' for NetCDF 4, 'scipy' for the classic formats.

  It is not 'netcdf4', because its C library is not safe with threads: a file
  that the garbage collector closes in one thread while another one reads ends
  the process
  (github.com/pydata/xarray/issues/9779).

  Args:
    path: path of a NetCDF file.

  Raises:
    ValueError: if the file is neither.
    OSError: if it cannot be opened.
  """
  with open(path, 'rb') as file:
    head = file.read(4)
  if head.startswith(CLASSIC):
    return 'scipy'
  if head == HDF5:
    return 'h5netcdf'
  raise ValueError(
    f'{path} is no NetCDF file: it starts with {head!r}, not '
    f'with {CLASSIC!r} or {HDF5!r}.'
  )
