"""Chooses the engine of xarray that reads a NetCDF file."""

import os
from typing import Literal

CLASSIC, HDF5 = b'CDF', b'\x89HDF'


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
