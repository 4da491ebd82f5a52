"""Small NetCDF and Zarr files of weather, for tests."""

import numpy as np
import xarray as xr


def fields(
  path,
  name,
  values,
  unit,
  dims=('time', 'latitude', 'longitude'),
  attrs=None,
  **coords,
):
  """Writes a small file on a 1-degree grid around 10 N, 20 E."""
  coords = {
    'latitude': [11.0, 10.0, 9.0],
    'longitude': [19.0, 20.0, 21.0],
  } | coords
  lengths = xr.Dataset(coords=coords).sizes
  shape = [lengths[d] for d in dims]
  values = np.broadcast_to(
    np.reshape(values, (-1, 1, 1)) if len(dims) == 3 else values, shape
  ).astype(np.float32)
  data = xr.Dataset(
    {name: (dims, values, {'units': unit, **(attrs or {})})}, coords
  )
  if path.suffix == '.zarr':
    data.to_zarr(path, zarr_format=2)
  else:
    data.to_netcdf(path, engine='h5netcdf')
  return path


def hours(start, number):
  return np.datetime64(start, 'ns') + np.arange(number) * np.timedelta64(1, 'h')
