"""Readers: the same months from every format; what they refuse."""

import json
import pathlib

import numpy as np
import pytest
import rasterio

from fusion_jax.data import bands
from fusion_jax.data.sources.imagery import encoding
from fusion_jax.mapping import open_cube
from tests.mapping import cubes

WHOLE = slice(0, cubes.SHAPE[0]), slice(0, cubes.SHAPE[1])
REAL = (
  pathlib.Path(__file__).parents[1]
  / 'testdata'
  / 'worldcereal'
  / 'belgium_16x12.nc'
)


def read(path, window=WHOLE, **options):
  """The pixels of a cube, and the cube."""
  opened = open_cube.open_cube([path], **options)
  return opened.read(*window), opened


def test_netcdf_is_placed_by_calendar(tmp_path):
  made = cubes.values()
  result, opened = read(cubes.write_netcdf(tmp_path / 'cube.nc', made))
  np.testing.assert_array_equal(result, cubes.months(made))
  assert opened.source.transform == cubes.TRANSFORM
  assert opened.source.crs == rasterio.crs.CRS.from_string(cubes.CRS)


def test_bands_in_another_order_are_taken_by_name(tmp_path):
  made = cubes.values()
  turned = dict(reversed(made.items()))
  result, _ = read(cubes.write_netcdf(tmp_path / 'cube.nc', turned))
  np.testing.assert_array_equal(result, cubes.months(made))


def test_zarr_is_turned_north_up(tmp_path):
  made = cubes.values()
  result, opened = read(cubes.write_zarr(tmp_path / 'cube.zarr', made))
  np.testing.assert_array_equal(result, cubes.months(made))
  assert opened.source.transform == cubes.TRANSFORM
  assert opened.source.chunk == (4, 4)


def test_geotiffs_are_ordered_by_the_dates_in_their_names(tmp_path):
  made = cubes.values()
  result, opened = read(cubes.write_geotiffs(tmp_path / 'stack', made))
  np.testing.assert_array_equal(result, cubes.months(made))
  assert opened.source.transform == cubes.TRANSFORM


def test_stac_items_bring_coarse_bands_onto_the_fine_grid(tmp_path):
  made = {
    band: np.maximum(array, 2_000) for band, array in cubes.values().items()
  }
  result, _ = read(cubes.write_stac(tmp_path / 'items', made))
  expected = cubes.months(made) - 1_000  # The declared offset of -0.1.
  fine = [bands.BANDS.index(band) for band in ('B2', 'B3', 'B4', 'B8')]
  np.testing.assert_allclose(result[:, fine], expected[:, fine], atol=1e-2)
  coarse = expected[:, 4, ::2, ::2]
  coarse = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, :9, :7]
  np.testing.assert_allclose(result[:, 4], coarse, atol=1e-2)


def test_an_offset_that_is_applied_already_is_not_applied_again(tmp_path):
  made = cubes.values()
  result, _ = read(cubes.write_stac(tmp_path / 'items', made, applied=True))
  np.testing.assert_allclose(result[:, 0], cubes.months(made)[:, 0], atol=1e-2)


@pytest.mark.parametrize(
  'write',
  [
    lambda path, made: cubes.write_netcdf(path / 'cube.nc', made),
    lambda path, made: cubes.write_zarr(path / 'cube.zarr', made),
    lambda path, made: cubes.write_geotiffs(path / 'stack', made),
  ],
)
def test_a_window_over_the_edge_is_mirrored(tmp_path, write):
  made = cubes.values()
  result, _ = read(write(tmp_path, made), (slice(-2, 3), slice(5, 9)))
  expected = cubes.months(made)
  np.testing.assert_array_equal(
    result, expected[:, :, [1, 0, 0, 1, 2]][..., [5, 6, 6, 5]]
  )


def test_a_declared_scale_and_offset_are_applied(tmp_path):
  made = cubes.values()
  path = cubes.write_zarr(tmp_path / 'cube.zarr', made, scale=2e-4, offset=-0.1)
  result, _ = read(path)
  np.testing.assert_allclose(
    result, 2 * cubes.months(made) - 1_000, rtol=1e-5, atol=1e-2
  )


def test_the_user_is_believed_before_the_file(tmp_path):
  made = cubes.values()
  path = cubes.write_zarr(tmp_path / 'cube.zarr', made, scale=2e-4, offset=-0.1)
  result, _ = read(path, declared=encoding.Declared(scale=1e-4, offset=0.0))
  np.testing.assert_array_equal(result, cubes.months(made))


def test_reflectance_itself_raises_and_names_the_flag(tmp_path):
  made = {
    band: (array / 1e4).astype(np.float32)
    for band, array in cubes.values().items()
  }
  path = cubes.write_netcdf(tmp_path / 'cube.nc', made)
  with pytest.raises(ValueError, match='values up to 0.399.*--scale 1'):
    read(path)
  result, _ = read(path, declared=encoding.Declared(scale=1.0, nodata=0.0))
  np.testing.assert_allclose(result, cubes.months(cubes.values()), rtol=1e-5)


def test_a_scale_that_makes_no_reflectance_raises(tmp_path):
  path = cubes.write_zarr(
    tmp_path / 'cube.zarr', cubes.values(), scale=0.01, offset=0.0
  )
  with pytest.raises(ValueError, match='--scale 0.0001'):
    read(path)


def test_an_offset_without_a_scale_is_refused_until_the_scale_is_stated(
  tmp_path,
):
  made = cubes.values()
  shifted = {
    band: np.where(array == cubes.MISSING, array, array + 1_000).astype(
      np.uint16
    )
    for band, array in made.items()
  }
  path = cubes.write_netcdf(tmp_path / 'cube.nc', shifted, add_offset=-0.1)
  with pytest.raises(ValueError, match='cube.nc, S2-L2A-B02: .*--scale 0.0001'):
    read(path)
  result, _ = read(path, declared=encoding.Declared(scale=0.0001))
  np.testing.assert_allclose(result, cubes.months(made), rtol=1e-3)


def test_missing_bands_raise_and_name_the_flag(tmp_path):
  made = cubes.values()
  del made['B8A']
  path = cubes.write_netcdf(tmp_path / 'cube.nc', made)
  with pytest.raises(ValueError, match='lacks the bands B8A.*--missing-bands'):
    read(path)
  result, _ = read(path, missing=['B8A'])
  at = bands.BANDS.index('B8A')
  np.testing.assert_array_equal(
    result[:, at], result[:, bands.BANDS.index('B8')]
  )
  result, _ = read(path, missing=['B8A=0'])
  assert np.isnan(result[:, at]).all()


def test_several_acquisitions_of_a_month_give_their_lower_median(tmp_path):
  made = {
    band: np.stack([array[0], array[0] + 300, array[0] + 100, array[0] + 200])
    for band, array in cubes.values(steps=1).items()
  }
  for array in made.values():
    array[2] = cubes.MISSING
  path = cubes.write_netcdf(
    tmp_path / 'cube.nc',
    made,
    dates=[np.datetime64(f'2020-06-{day:02d}') for day in (3, 8, 13, 18)],
  )
  result, _ = read(path)
  np.testing.assert_array_equal(
    result[5, 0, 1:], np.where(made['B2'][0] == 0, 200, made['B2'][3])[1:]
  )
  assert np.isnan(np.delete(result, 5, axis=0)).all()


def test_clouds_by_the_scene_classification_are_missing(tmp_path):
  made = cubes.values(steps=2)
  scene = np.full((2, *cubes.SHAPE), 4, np.uint16)
  scene[0] = 9
  scene[1, :4] = 10
  path = cubes.write_netcdf(
    tmp_path / 'cube.nc',
    made | {'SCL': scene},
    dates=[np.datetime64('2020-06-03'), np.datetime64('2020-06-08')],
  )
  result, _ = read(path)
  assert np.isnan(result[5, :, :4]).all()
  expected = made['B2'][1, 4:].astype(np.float32)
  np.testing.assert_array_equal(
    result[5, 0, 4:], np.where(expected == 0, np.nan, expected)
  )


def test_longer_series_need_a_first_month(tmp_path):
  dates = [np.datetime64('2020-08') + np.timedelta64(i, 'M') for i in range(16)]
  made = cubes.values(steps=16)
  path = cubes.write_netcdf(
    tmp_path / 'cube.nc',
    made,
    dates=[day.astype('datetime64[D]') for day in dates],
  )
  with pytest.raises(ValueError, match='--start 2020-12'):
    read(path)
  result, opened = read(path, declared=encoding.Declared(start='2020-12'))
  assert list(opened.months) == [-1] * 4 + [11, *range(11)]
  part = {band: array[4:] for band, array in made.items()}
  np.testing.assert_array_equal(result, cubes.months(part, dates[4:]))
  with pytest.raises(ValueError, match='nothing in the twelve months'):
    read(path, declared=encoding.Declared(start='2030-01'))


def test_steps_without_dates_need_their_months(tmp_path):
  made = cubes.values()
  path = cubes.write_netcdf(tmp_path / 'cube.nc', made, dates=None)
  with pytest.raises(ValueError, match='12 steps without a date.*--months'):
    read(path)
  order = (11, 12, *range(1, 11))
  result, _ = read(path, declared=encoding.Declared(months=order))
  np.testing.assert_array_equal(
    result[10, 0],
    cubes.months(
      made, [np.datetime64('2020-11')] + [np.datetime64('2021-01')] * 11
    )[10, 0],
  )
  with pytest.raises(ValueError, match='for each of the 12 steps'):
    read(path, declared=encoding.Declared(months=(1, 2)))


def test_the_real_cube_needs_its_two_flags():
  with pytest.raises(ValueError, match='lacks the bands B8A'):
    read(REAL)
  with pytest.raises(ValueError, match='6.55.*--nodata 65535'):
    read(REAL, missing=['B8A'])


def test_the_real_cube_is_read_with_two_months_missing():
  result, opened = read(
    REAL,
    (slice(0, 16), slice(0, 12)),
    missing=['B8A'],
    declared=encoding.Declared(nodata=65_535),
  )
  missing = np.isnan(result).all(axis=(1, 2, 3))
  assert list(np.flatnonzero(missing)) == [0, 11]  # January and December.
  assert np.isfinite(result[~missing]).all()
  assert opened.source.crs.to_epsg() == 32631
  assert 0 < np.median(result[~missing]) < 5_000


def test_files_that_are_no_cube_raise(tmp_path):
  with pytest.raises(FileNotFoundError, match='There is no'):
    open_cube.open_cube([tmp_path / 'none.nc'])
  (tmp_path / 'text.txt').write_text('no')
  with pytest.raises(ValueError, match='one Zarr store or NetCDF file'):
    open_cube.open_cube([tmp_path / 'text.txt'])
  (tmp_path / 'cube.nc').write_bytes(b'no')
  with pytest.raises(ValueError, match='cannot be read as NetCDF'):
    open_cube.open_cube([tmp_path / 'cube.nc'])
  (tmp_path / 'empty').mkdir()
  with pytest.raises(FileNotFoundError, match='no raster'):
    open_cube.open_cube([tmp_path / 'empty'])
  (tmp_path / 'item.json').write_text(json.dumps({'type': 'Feature'}))
  with pytest.raises(ValueError, match='no STAC item'):
    open_cube.open_cube([tmp_path / 'item.json'])


def test_rasters_without_names_of_bands_raise(tmp_path):
  folder = cubes.write_geotiffs(tmp_path / 'stack', cubes.values())
  for path in folder.iterdir():
    with rasterio.open(path, 'r+') as file:
      file.descriptions = [''] * 10
  with pytest.raises(ValueError, match='Name the bands in their descriptions'):
    read(folder)
