"""Writes the simulated Earth in the file formats of the real archives.

TerraMesh shards (tars of zipped Zarr version 2) and gridded hourly weather
(NetCDF), so that the real readers, and a user's first trial of them, run
without a download. Needs zarr, rasterio and xarray with h5netcdf.
"""

import contextlib
import io
import os
import pathlib
import tarfile
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusion_jax import modalities, simulation
from fusion_jax.data import readers
from fusion_jax.simulation import surface

_OPTICAL = ('S2L2A', 'S2L1C', 'S2RGB', 'NDVI', 'LULC')
_SHARD = {False: 'majortom_shard_000001', True: 'ssl4eos12_shard_000794'}
_MOST_PLACES = 32  # The weather file grows with their cube.
_WEATHER_ATTRIBUTES = {
  't2m': {'units': 'K', 'long_name': '2 metre temperature'},
  'tp': {
    'units': 'kg m-2',
    'long_name': 'precipitation of the hour that ends',
  },
}


def write_terramesh(
  earth: simulation.SimulatedEarth, root: str | os.PathLike[str], split: str
) -> None:
  """Writes a split as TerraMesh shards, one tar for each modality.

  Examples with GRD go to a shard of SSL4EO-S12, those with RTC to one of
  MajorTOM, as in the archive.

  Args:
    earth: the simulated Earth; all its `fields` are written.
    root: folder that gets `{split}/{field}/{shard}.tar`.
    split: name of the split.
  """
  root = pathlib.Path(root) / split
  with contextlib.ExitStack() as stack:
    tars = {}
    for i in range(earth.splits[split]):
      example = earth.example(split, i)
      shard = _SHARD[earth.latents(split, i).has_grd]
      for field in earth.fields:
        if not example[field].size:
          continue
        path = root / field / f'{shard}.tar'
        if path not in tars:
          path.parent.mkdir(parents=True, exist_ok=True)
          tars[path] = stack.enter_context(tarfile.open(path, 'w'))
        content = _zipped_zarr(field, example)
        member = tarfile.TarInfo(f'{example["key"]}.zarr.zip')
        member.size, member.mtime = len(content), int(example['time'])
        tars[path].addfile(member, io.BytesIO(content))


def _zipped_zarr(field: str, example: readers.Example) -> bytes:
  """Returns one image as a consolidated Zarr version 2 store, zipped."""
  import zarr

  store = {}
  group = zarr.open_group(store, mode='w', zarr_format=2)
  for name, (dims, values, attributes) in _variables(field, example).items():
    array = group.create_array(
      name,
      shape=values.shape,
      dtype=values.dtype,
      chunks=values.shape,
      attributes={'_ARRAY_DIMENSIONS': dims, **attributes},
    )
    array[...] = values
  zarr.consolidate_metadata(store, zarr_format=2)
  content = io.BytesIO()
  with zipfile.ZipFile(content, 'w') as archive:
    for path, buffer in sorted(store.items()):
      archive.writestr(zipfile.ZipInfo(path), buffer.to_bytes())
  return content.getvalue()


def _variables(
  field: str, example: readers.Example
) -> dict[str, tuple[list[str], np.ndarray, dict[str, Any]]]:
  """Returns {name: (dimensions, values, attributes)} of an image."""
  image = example[field]
  size = image.shape[0]
  x, y, epsg = _utm(example['lat'], example['lon'])
  steps = (np.arange(size) - (size - 1) / 2) * surface.PIXEL_M
  time = 0 if field == 'DEM' else int(example['time']) * 10**9
  variables = {
    'bands': (['time', 'band', 'y', 'x'], np.moveaxis(image, -1, 0)[None], {}),
    'band': (['band'], np.array(modalities.IMAGE_FIELDS[field].bands), {}),
    'time': (
      ['time'],
      np.array([time]),
      {
        'units': 'nanoseconds since 1970-01-01',
        'calendar': 'proleptic_gregorian',
      },
    ),
    'y': (['y'], y - steps, {'units': 'm'}),
    'x': (['x'], x + steps, {'units': 'm'}),
    'sample': ([], np.array(example['key']), {}),
    'file_id': ([], np.array(example['key']), {}),
    'spatial_ref': ([], np.array(epsg), {'crs_wkt': f'EPSG:{epsg}'}),
    'center_lat': ([], np.array(example['lat']), {}),
    'center_lon': ([], np.array(example['lon']), {}),
  }
  if field in _OPTICAL:
    clear = np.zeros((1, size, size), np.uint8)
    variables['cloud_mask'] = (['time', 'y', 'x'], clear, {})
  return variables


def _utm(lat: float, lon: float) -> tuple[float, float, int]:
  """Returns easting and northing in m, and the EPSG code of the UTM zone."""
  from rasterio import warp

  epsg = (32_600 if lat >= 0 else 32_700) + int((lon + 180) // 6) + 1
  xs, ys = warp.transform('EPSG:4326', f'EPSG:{epsg}', [lon], [lat])[:2]
  return xs[0], ys[0], epsg


def write_weather(
  earth: simulation.SimulatedEarth,
  path: str | os.PathLike[str],
  keys: Sequence[tuple[str, int]],
) -> None:
  """Writes hourly weather at places as one NetCDF file of gridded fields.

  The latitudes and longitudes of the grid are those of the places, north to
  south and west to east. Cells without a place are missing, like the sea in a
  land-only archive, and so are hours that no place needs.

  Args:
    earth: the simulated Earth.
    path: file to write.
    keys: (split, index) of the examples, at most 32.

  Raises:
    ValueError: if there are more than 32 examples.
  """
  import xarray as xr

  if len(keys) > _MOST_PLACES:
    raise ValueError(
      f'{len(keys)} places make too large a grid; write at '
      f'most {_MOST_PLACES} to a file.'
    )
  latents = [earth.latents(*key) for key in keys]
  lats = np.unique([k.place.lat for k in latents])[::-1]
  lons = np.unique([k.place.lon for k in latents])
  hours = [k.weather.start + np.arange(len(k.weather.t2m)) for k in latents]
  times = np.unique(np.concatenate(hours))
  fields = {
    name: np.full((len(times), len(lats), len(lons)), np.nan, np.float32)
    for name in ('t2m', 'tp')
  }
  for k, own_hours in zip(latents, hours):
    cell = (
      np.searchsorted(times, own_hours),
      int(np.flatnonzero(lats == k.place.lat)[0]),
      int(np.flatnonzero(lons == k.place.lon)[0]),
    )
    fields['t2m'][cell], fields['tp'][cell] = k.weather.t2m, k.weather.tp
  axes = {
    'time': times.astype('datetime64[h]').astype('datetime64[ns]'),
    'latitude': lats,
    'longitude': lons,
  }
  xr.Dataset(
    {
      name: (tuple(axes), values, _WEATHER_ATTRIBUTES[name])
      for name, values in fields.items()
    },
    axes,
    {'title': 'Simulated Earth', 'Conventions': 'CF-1.8'},
  ).to_netcdf(
    path,
    engine='h5netcdf',
    encoding={name: {'zlib': True, 'complevel': 1} for name in fields},
  )
