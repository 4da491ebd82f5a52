"""Cubes as other programs write them: right values, or a refusal in words."""

import json

import numpy as np
import pytest
import rasterio
import rasterio.warp
import xarray as xr

from fusion_jax.data import bands
from fusion_jax.data.sources.imagery import encoding, open_source
from fusion_jax.mapping import open_cube

MONTHS = 100.0 * np.arange(1, 13)  # What every cube here holds.
NAMES = [name if len(name) > 2 else f'B0{name[1]}' for name in bands.BANDS]
CRS = rasterio.CRS.from_epsg(32631)
GRID = rasterio.Affine(10, 0, 500_000, 0, -10, 5_600_010)
COARSE = rasterio.Affine(20, 0, 500_000, 0, -20, 5_600_010)


def dataset(size=8, dtype='uint16'):
  """Month i holds 100 * i in every band, at 10 m in UTM zone 31."""
  values = np.broadcast_to(MONTHS[:, None, None], (12, size, size))
  made = xr.Dataset(
    {name: (('t', 'y', 'x'), values.astype(dtype)) for name in NAMES},
    {
      't': np.array(
        [f'2020-{month:02d}-15' for month in range(1, 13)], 'M8[ns]'
      ),
      'y': 5_600_005.0 - 10 * np.arange(size),
      'x': 500_005.0 + 10 * np.arange(size),
    },
  )
  return made.assign_coords(spatial_ref=((), 0, {'crs_wkt': CRS.to_wkt()}))


def store(made, tmp_path):
  path = tmp_path / 'cube.nc'
  made.to_netcdf(path, engine='h5netcdf')
  return path


def write(path, image, names=NAMES, mask=None, nodata=None, **options):
  """A GeoTIFF of an image [C, Y, X]."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with rasterio.open(
    path,
    'w',
    driver='GTiff',
    height=image.shape[1],
    width=image.shape[2],
    count=len(image),
    dtype=image.dtype,
    nodata=nodata,
    **{'transform': GRID, 'crs': CRS, **options},
  ) as file:
    file.write(image)
    file.descriptions = names if len(image) > 1 else [None]
    if mask is not None:
      file.write_mask(mask)


def opened(path, **declared):
  return open_cube.open_cube([path], declared=encoding.Declared(**declared))


def months(path, **declared):
  """Mean of every month over bands and pixels with a value; NaN for none."""
  cube = opened(path, **declared)
  pixels = cube.read(*(slice(0, size) for size in cube.shape))
  known = np.isfinite(pixels)
  counts = known.sum(axis=(1, 2, 3))
  totals = np.where(known, pixels, 0).sum(axis=(1, 2, 3))
  return np.where(counts, totals / np.maximum(counts, 1), np.nan)


GRID_MAPPING = {
  'grid_mapping_name': 'transverse_mercator',
  'longitude_of_central_meridian': 3.0,
  'latitude_of_projection_origin': 0.0,
  'scale_factor_at_central_meridian': 0.9996,
  'false_easting': 5e5,
  'false_northing': 0.0,
  'semi_major_axis': 6378137.0,
  'inverse_flattening': 298.257223563,
}


@pytest.mark.parametrize(
  'attributes, coordinates, mapping',
  [
    ({'proj:code': 'EPSG:32631'}, {}, {}),
    ({'epsg': 32631.0}, {}, {}),
    ({'crs': 'epsg:32631.0'}, {}, {}),
    ({'crs': 'EPSG:None', 'proj:epsg': np.int64(32631)}, {}, {}),
    ({}, {'epsg': 32631}, {}),
    ({}, {'proj:code': 'EPSG:32631'}, {}),
    ({}, {}, GRID_MAPPING),
  ],
)
def test_coordinate_systems_are_found_in_every_usual_place(
  tmp_path, attributes, coordinates, mapping
):
  made = dataset().drop_vars('spatial_ref').assign_coords(coordinates)
  made.attrs.update(attributes)
  if mapping:
    made['grid'] = (), 0, mapping
    for name in NAMES:
      made[name].attrs['grid_mapping'] = 'grid'
  cube = opened(store(made, tmp_path))
  point = rasterio.warp.transform(cube.source.crs, 'EPSG:4326', [5e5], [5.6e6])
  expected = rasterio.warp.transform(CRS, 'EPSG:4326', [5e5], [5.6e6])
  np.testing.assert_allclose(point, expected, atol=1e-7)


def test_a_coordinate_system_that_is_none_names_file_value_and_flag(tmp_path):
  made = dataset().drop_vars('spatial_ref')
  path = store(made.assign_attrs(crs='UTM 31N'), tmp_path)
  with pytest.raises(ValueError, match="cube.nc: crs is 'UTM 31N'.*--crs EPSG"):
    opened(path)
  with pytest.raises(ValueError, match="--crs is 'UTM 32N'"):
    opened(path, crs='UTM 32N')
  np.testing.assert_array_equal(months(path, crs='EPSG:32631'), MONTHS)
  path = store(made.assign_attrs(crs='EPSG:None'), tmp_path)
  with pytest.raises(ValueError, match='names no coordinate system; pass one'):
    opened(path)


def test_names_of_bands_may_be_bytes(tmp_path):
  made = dataset()
  stacked = made[NAMES].to_array('band').transpose('t', 'band', 'y', 'x')
  stacked = stacked.to_dataset(name='s2')
  stacked['band'] = np.array(NAMES, 'S3')
  np.testing.assert_array_equal(months(store(stacked, tmp_path)), MONTHS)


@pytest.mark.parametrize('start, step', [(5, 1e-4), (-170, 8.98e-5)])
def test_coordinates_in_float32_are_evenly_spaced(tmp_path, start, step):
  made = dataset(64).drop_vars('spatial_ref').rename(x='lon', y='lat')
  made['lon'] = (start + step * np.arange(64)).astype('float32')
  made['lat'] = (51 - step * np.arange(64)).astype('float32')
  np.testing.assert_array_equal(months(store(made, tmp_path)), MONTHS)
  made['lon'] = made['lon'].where(np.arange(64) != 9, made['lon'] + step / 2)
  with pytest.raises(ValueError, match='cube.nc: x is not evenly spaced'):
    opened(store(made, tmp_path))


@pytest.mark.parametrize(
  'times',
  [
    [20200015 + 100 * month for month in range(1, 13)],
    [f'2020{month:02d}15' for month in range(1, 13)],
    [f'2020-{month:02d}-15T10:30:00Z' for month in range(1, 13)],
    list(range(1, 13)),
  ],
  ids=['integers', 'text', 'stamps', 'months'],
)
def test_dates_are_read_in_every_usual_spelling(tmp_path, times):
  path = store(dataset().assign_coords(t=times), tmp_path)
  np.testing.assert_array_equal(months(path), MONTHS)


@pytest.mark.parametrize('calendar', ['noleap', '360_day'])
def test_dates_of_calendars_of_models_are_read(tmp_path, calendar):
  made = dataset()
  made['t'] = xr.date_range(
    '2020-01-15', periods=12, freq='MS', calendar=calendar, use_cftime=True
  )  # From February on.
  path = store(made, tmp_path)
  np.testing.assert_array_equal(months(path), np.roll(MONTHS, 1))


def test_numbers_of_steps_are_no_dates(tmp_path):
  path = store(dataset().assign_coords(t=np.arange(12)), tmp_path)
  with pytest.raises(ValueError, match='12 steps without a date.*--months'):
    months(path)
  np.testing.assert_array_equal(
    months(path, months=tuple(range(1, 13))), MONTHS
  )
  seconds = 1_577_836_800 + 2_592_000 * np.arange(12)
  path = store(dataset().assign_coords(t=seconds), tmp_path)
  with pytest.raises(
    ValueError, match="'t' holds 1577836800, which is no date"
  ):
    months(path)


def test_an_offset_alone_is_named(tmp_path):
  made = dataset() + np.uint16(1000)
  for name in NAMES:
    made[name].attrs['add_offset'] = -0.1
  path = store(made, tmp_path)
  with pytest.raises(ValueError, match=r'cube.nc, B02: .*add_offset.*--scale'):
    opened(path)
  np.testing.assert_allclose(months(path, scale=1e-4), MONTHS, rtol=1e-4)


@pytest.mark.parametrize(
  'where', ['2020/{}/15/0', '2020/{:02d}', '2020{:02d}15']
)
def test_dates_of_folders_count_where_names_have_none(tmp_path, where):
  folder = tmp_path / 'tiles'
  for month in range(1, 13):
    image = np.full((1, 8, 8), 100 * month, 'uint16')
    for name in NAMES:
      write(folder / where.format(month) / f'{name}.tif', image)
  np.testing.assert_array_equal(months(folder), MONTHS)


def test_one_file_without_a_date_is_one_step(tmp_path):
  write(tmp_path / 'scene.tif', np.full((10, 8, 8), 300, 'uint16'))
  with pytest.raises(ValueError, match='has 1 steps without a date'):
    months(tmp_path / 'scene.tif')
  assert months(tmp_path / 'scene.tif', months=(5,))[4] == 300


def test_the_date_of_sensing_counts_not_that_of_processing(tmp_path):
  for month in range(1, 13):
    name = f'PDMC_20170101T104721_R122_V2016{month:02d}15T100608'
    image = np.full((10, 8, 8), 100 * month, 'uint16')
    write(tmp_path / 'old' / f'S2A_OPER_PRD_MSIL2A_{name}.tif', image)
  np.testing.assert_array_equal(months(tmp_path / 'old'), MONTHS)


def test_two_files_of_one_band_date_and_grid_raise(tmp_path):
  image = np.full((10, 8, 8), 300, 'uint16')
  for name in ('a_20200115', 'b_20200115'):
    write(tmp_path / 'scenes' / f'{name}.tif', image)
  with pytest.raises(
    ValueError, match=r'a_.*tif and .*b_.*tif both hold B2 of'
  ):
    months(tmp_path / 'scenes')


def test_masks_of_files_count(tmp_path):
  mask = np.full((8, 8), 255, 'uint8')
  mask[:4] = 0
  for month in range(1, 13):
    image = np.full((10, 8, 8), 100 * month, 'uint16')
    image[:, :4] = 5000  # Hidden by the mask.
    write(tmp_path / 'masked' / f'S2_2020{month:02d}15.tif', image, NAMES, mask)
  np.testing.assert_array_equal(months(tmp_path / 'masked'), MONTHS)


def test_a_mask_survives_resampling(tmp_path):
  fine = np.full((1, 8, 8), 300, 'uint16')
  coarse = np.full((1, 4, 4), 300, 'uint16')
  coarse[:, :2] = 5000
  mask = np.where(coarse[0] == 300, 255, 0).astype('uint8')
  for name in NAMES:
    path = tmp_path / 'bands' / f'S2_20200515_{name}.tif'
    if name == 'B02':
      write(path, fine)
    else:
      write(path, coarse, mask=mask, transform=COARSE)
  cube = opened(tmp_path / 'bands')
  pixels = cube.read(slice(0, 8), slice(0, 8))[4]
  assert (pixels[0] == 300).all()
  assert np.isnan(pixels[1:, :4]).all() and (pixels[1:, 4:] == 300).all()


def test_nodata_is_compared_as_gdal_does(tmp_path):
  image = np.full((10, 8, 8), 1500, 'float32')
  image[:, :4] = np.finfo('float32').min
  image[:, 5] = np.inf
  path = tmp_path / 'S2_20200515.tif'
  write(path, image, nodata=-3.40282e38)
  pixels = opened(path).read(slice(0, 8), slice(0, 8))[4]
  assert np.isnan(pixels[:, [0, 1, 2, 3, 5]]).all()
  assert (pixels[:, [4, 6, 7]] == 1500).all()


def test_the_users_nodata_counts_instead_of_the_files(tmp_path):
  image = np.full((10, 8, 8), 300, 'uint16')
  image[:, 0] = 7
  path = tmp_path / 'S2_20200515.tif'
  write(path, image, nodata=300)
  pixels = opened(path, nodata=7).read(slice(0, 8), slice(0, 8))[4]
  assert np.isnan(pixels[:, 0]).all() and (pixels[:, 1:] == 300).all()


def test_a_negative_fill_that_is_not_declared_names_the_flag(tmp_path):
  for month in range(1, 13):
    image = np.full((10, 8, 8), 100 * month, 'int16')
    image[:, :4] = -9999
    write(tmp_path / 'filled' / f'S2_2020{month:02d}15.tif', image)
  with pytest.raises(ValueError, match='-1, .* at 50.00% .*--nodata -9999'):
    months(tmp_path / 'filled')
  np.testing.assert_array_equal(
    months(tmp_path / 'filled', nodata=-9999), MONTHS
  )


PRODUCT = 'S2A_MSIL2A_20230510T104621_N0509_R051_T31UES_20230510T164500.SAFE'
METADATA = (
  '<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
  + ''.join(
    f'<BOA_ADD_OFFSET band_id="{i}">-1000</BOA_ADD_OFFSET>' for i in range(13)
  )
)


def write_product(folder):
  """A product whose bands hold 2000, and its masks."""
  granule = folder / 'GRANULE' / 'L2A_T31UES_A041138_20230510T104624'
  for name in NAMES:
    coarse = 20 if name in ('B05', 'B06', 'B07', 'B8A', 'B11', 'B12') else 10
    side = 160 // coarse
    write(
      granule
      / f'IMG_DATA/R{coarse}m/T31UES_20230510T104621_{name}_{coarse}m.tif',
      np.full((1, side, side), 2000, 'uint16'),
      transform=GRID if coarse == 10 else COARSE,
    )
    mask = np.full((1, 16, 16), 3, 'uint8')
    write(granule / f'QI_DATA/MSK_DETFOO_{name}.tif', mask)
  return folder


def test_a_product_has_bands_and_an_offset_but_no_quality_masks(
  tmp_path, caplog
):
  folder = write_product(tmp_path / PRODUCT)
  assert months(folder)[4] == 2000
  assert 'baseline 05.09 but has no MTD_MSIL2A.xml' in caplog.text
  assert months(folder, offset=-0.1)[4] == 1000
  safe = write_product(tmp_path / 'whole' / PRODUCT)
  (safe / 'MTD_MSIL2A.xml').write_text(f'<a>{METADATA}</a>')
  np.testing.assert_allclose(months(safe)[4], 1000, rtol=1e-6)
  assert months(safe, offset=0.0)[4] == 2000


def test_a_vrt_of_a_product_has_its_offset(tmp_path):
  paths = []
  for product, more in (PRODUCT, f'<a>{METADATA}</a>'), ('OLD.SAFE', ''):
    safe = write_product(tmp_path / product)
    (safe / 'MTD_MSIL2A.xml').write_text(
      more or '<BOA_QUANTIFICATION_VALUE>10000<'
    )
    paths.append(sorted(safe.rglob('R10m/*.tif')))
  rect = 'xOff="0" yOff="0" xSize="16" ySize="16"'

  def write_vrt(sources):
    rows = ''.join(
      f'<VRTRasterBand dataType="UInt16" band="{i + 1}"><Description>'
      f'{path.stem[-7:-4]}</Description><SimpleSource><SourceFilename>{path}'
      f'</SourceFilename><SrcRect {rect}/><DstRect {rect}/></SimpleSource>'
      '</VRTRasterBand>'
      for i, path in enumerate(sources)
    )
    path = tmp_path / 'S2_20230510.vrt'
    path.write_text(
      '<VRTDataset rasterXSize="16" rasterYSize="16"><SRS>EPSG:32631</SRS>'
      f'<GeoTransform>500000,10,0,5600010,0,-10</GeoTransform>{rows}'
      '</VRTDataset>'
    )
    return path

  source = open_source.open_source([write_vrt(paths[0])])
  values = source.read('B2', slice(0, 8), slice(0, 8))
  np.testing.assert_allclose(values, 1000, rtol=1e-6)
  with pytest.raises(
    ValueError, match='in different ways.*products themselves'
  ):
    open_source.open_source([write_vrt(paths[0][:2] + paths[1][2:])])


def test_a_product_of_two_offsets_is_left_to_the_user(tmp_path, caplog):
  folder = write_product(tmp_path / PRODUCT)
  text = METADATA.replace('"3">-1000', '"3">-500')
  (folder / 'MTD_MSIL2A.xml').write_text(text)
  assert months(folder, scale=1e-4, offset=-0.1)[4] == pytest.approx(1000)
  assert 'has the offsets [-1000, -500]' in caplog.text


def test_metadata_of_older_products_are_read(tmp_path):
  folder = write_product(tmp_path / PRODUCT)
  text = '<L2A_BOA_QUANTIFICATION_VALUE unit="none">10000<'
  (folder / 'MTD_MSIL2A.xml').write_text(text)
  assert months(folder)[4] == 2000


def test_two_products_of_one_tile_and_date_are_put_together(tmp_path):
  folder = tmp_path / 'tiles'
  for number, rows in ((0, slice(0, 4)), (1, slice(4, 8))):
    for name in NAMES:
      image = np.zeros((1, 8, 8), 'uint16')
      image[:, rows] = 300 + number
      product = f'S2A_MSIL2A_20200115T105301_N0208_R05{number}.SAFE'
      write(folder / product / f'T31UFS_20200115T105301_{name}.tif', image)
  pixels = opened(folder).read(slice(0, 8), slice(0, 8))[0]
  assert (pixels[:, :4] == 300).all() and (pixels[:, 4:] == 301).all()


def write_item(folder, image, properties=(), nodata=None, **raster):
  """A STAC item of May 2023 with a file a band."""
  assets = {}
  for name in NAMES:
    write(folder / f'{name}.tif', image, nodata=nodata)
    assets[name] = {
      'href': f'./{name}.tif',
      'roles': ['data'],
      'eo:bands': [{'name': name}],
      **({'raster:bands': [raster]} if raster else {}),
    }
  content = {
    'type': 'Feature',
    'id': 'S2_5',
    'assets': assets,
    'properties': {'datetime': '2023-05-10T10:00:00Z', **dict(properties)},
  }
  (folder / 'item.json').write_text(json.dumps(content))
  return folder


@pytest.mark.parametrize(
  'properties, raster, expected',
  [
    ({'s2:processing_baseline': '05.09'}, {}, 500),
    ({'s2:processing_baseline': '02.14'}, {}, 1500),
    ({'processing:version': '05.11'}, {}, 500),
    ({'processing:version': '1.0'}, {}, 1500),
    ({'processing:version': '05.11'}, {'scale': 1e-4, 'offset': 0.0}, 1500),
    (
      {
        's2:processing_baseline': '05.09',
        'earthsearch:boa_offset_applied': True,
      },
      {},
      1500,
    ),
    (
      {'s2:processing_baseline': '05.09'},
      {'scale': 1e-4, 'offset': 0.0},
      1500,
    ),
  ],
)
def test_the_baseline_of_an_item_tells_its_offset(
  tmp_path, properties, raster, expected
):
  image = np.full((1, 8, 8), 1500, 'uint16')
  image[0, 0, 0] = 0  # No data stays no data.
  folder = write_item(tmp_path / 'items', image, properties, **raster)
  np.testing.assert_allclose(months(folder)[4], expected, rtol=1e-5)


@pytest.mark.parametrize(
  'properties, known',
  [
    ({'s2:processing_baseline': '05.09'}, True),
    ({'processing:version': '05.11'}, True),
    (
      {'s2:processing_baseline': '05.09', 'sentinel:boa_offset_applied': True},
      True,
    ),
    ({}, False),
  ],
)
def test_an_offset_that_is_told_is_not_asked_for(
  tmp_path, caplog, properties, known
):
  image = np.full((1, 8, 8), 3000, 'uint16')
  months(write_item(tmp_path / 'items', image, properties))
  assert ('carries the offset' in caplog.text) != known


def test_an_item_with_a_baseline_that_is_none_raises(tmp_path):
  image = np.full((1, 8, 8), 1500, 'uint16')
  folder = write_item(
    tmp_path / 'items', image, {'s2:processing_baseline': 'N0509'}
  )
  with pytest.raises(ValueError, match="item.json.*'N0509', no processing"):
    months(folder)


@pytest.mark.parametrize('nodata', ['nan', 'inf', '-inf'])
def test_nodata_of_an_item_may_be_spelled_in_letters(tmp_path, nodata):
  image = np.full((1, 8, 8), 0.15, 'float32')
  image[0, 0, 0] = float(nodata)
  folder = write_item(tmp_path / 'items', image, nodata=nodata, scale=1.0)
  np.testing.assert_allclose(months(folder, scale=1.0)[4], 1500, rtol=1e-6)


@pytest.mark.parametrize(
  'attrs', [{'valid_range': [1, 5000]}, {'valid_max': 5000}]
)
def test_values_outside_of_the_valid_range_are_missing(tmp_path, attrs):
  made = dataset(dtype='int16')
  for name in NAMES:
    made[name][:, :4] = 20_000
    made[name].attrs.update(attrs)
  np.testing.assert_array_equal(months(store(made, tmp_path)), MONTHS)
  np.testing.assert_array_equal(months(made), MONTHS)  # As an xarray object.


def test_a_file_without_a_coordinate_system_takes_the_flag(tmp_path):
  for month in range(1, 13):
    image = np.full((10, 8, 8), 100 * month, 'int16')
    write(tmp_path / 'a' / f'S2_2020{month:02d}15.tif', image, crs=None)
  with pytest.raises(ValueError, match='no coordinate system'):
    months(tmp_path / 'a')
  np.testing.assert_array_equal(
    months(tmp_path / 'a', crs='EPSG:32631'), MONTHS
  )
