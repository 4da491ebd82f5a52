"""Scenes as other programs write them: right values, or a refusal in words."""

import numpy as np
import pytest
import rasterio
import xarray as xr

from fusion_jax import modalities
from fusion_jax.data.sources import geotiff, sample_images
from fusion_jax.data.sources.imagery import encoding, open_source
from fusion_jax.mapping import open_cube
from tests.data import test_geotiff

BANDS = modalities.S2L2A_BANDS
ORDER = (3, 2, 1, 7, 4, 5, 6, 8, 10, 11, 0, 9)  # B4, B3, B2, B8, ...
WORDS = {
  'B01': 'coastal',
  'B02': 'blue',
  'B03': 'green',
  'B04': 'red',
  'B05': 'rededge1',
  'B06': 'rededge2',
  'B07': 'rededge3',
  'B08': 'nir',
  'B8A': 'nir08',
  'B09': 'nir09',
  'B11': 'swir16',
  'B12': 'swir22',
}


def write(path, image=None, names=(), **options):
  image = np.full((12, 8, 8), 1500, 'uint16') if image is None else image
  return test_geotiff.write(path, image, names, **options)


def read(path, **options):
  return geotiff.read_scene(path, time='2020-04-08', **options)


@pytest.mark.parametrize(
  'spell',
  [
    '{}, central wavelength 665 nm'.format,
    '{}_10m'.format,
    'S2L2A_{}'.format,
    lambda name: f'B{name[1:].lstrip("0")}',
    WORDS.get,
  ],
  ids=['gdal', 'resolution', 'product', 'short', 'words'],
)
def test_bands_are_found_in_every_usual_spelling(tmp_path, spell):
  values = 100 * np.arange(1, 13)
  image = np.zeros((12, 4, 4), 'uint16') + values[list(ORDER), None, None]
  names = [spell(BANDS[i]) for i in ORDER]
  path = write(tmp_path / 'scene.tif', image.astype('uint16'), names)
  np.testing.assert_array_equal(read(path).image[0, 0], values)


def test_names_that_are_no_bands_are_shown_not_counted(tmp_path):
  path = write(tmp_path / 'scene.tif', names=[f'layer {i}' for i in range(12)])
  with pytest.raises(ValueError, match=r"scene.tif has bands of.*'layer 0'"):
    read(path)


def test_a_further_band_of_a_name_is_not_taken_for_it(tmp_path):
  image = np.zeros((13, 4, 4), 'uint16') + np.arange(13)[:, None, None] + 500
  path = write(tmp_path / 'a.tif', image.astype('uint16'), [*BANDS, 'B04_std'])
  np.testing.assert_array_equal(read(path).image[0, 0], 500 + np.arange(12))
  image = np.concatenate([image[:12], image[:12]]).astype('uint16')
  names = [f'{date}_{band}' for date in (0, 1) for band in BANDS]
  with pytest.raises(ValueError, match='has several bands of the names'):
    read(write(tmp_path / 'b.tif', image, names))


def test_numbers_are_no_names(tmp_path):
  image = np.zeros((12, 4, 4), 'uint16') + np.arange(12)[:, None, None] + 500
  names = [f'Band {i + 1}' for i in range(12)]
  path = write(tmp_path / 'a.tif', image.astype('uint16'), names)
  np.testing.assert_array_equal(read(path).image[0, 0], 500 + np.arange(12))


def test_tags_of_scale_and_offset_are_applied(tmp_path):
  image = np.full((12, 8, 8), 1500, 'uint16')
  image[:, 0, 0], image[:, 0, 1] = 900, 0
  path = write(tmp_path / 'scene.tif', image)
  with rasterio.open(path, 'r+') as file:
    file.scales, file.offsets = (1e-4,) * 12, (-0.1,) * 12
  result = read(path).image
  assert (result[0, 0] == -100).all() and (result[0, 1] == 0).all()
  assert (result[1:] == 500).all()
  # What the user states stands in place of the tag, not beside it.
  np.testing.assert_array_equal(read(path, offset=1000).image, result)
  assert (read(path, offset=0).image[1:] == 1500).all()


def test_an_offset_that_is_declared_is_not_asked_for(tmp_path, caplog):
  path = write(tmp_path / 'a.tif', np.full((12, 8, 8), 3000, 'uint16'))
  for scales, offsets, result in ((2e-4, 0, 6000), (1e-4, -0.1, 2000)):
    caplog.clear()
    with rasterio.open(path, 'r+') as file:
      file.scales, file.offsets = (scales,) * 12, (offsets,) * 12
    assert (read(path).image == result).all()
    assert (sample_images.read(path, 'S2L2A') == result).all()
    words = '--offset 1000' in caplog.text, 'subtract 1000' in caplog.text
    assert words == ((False, False) if offsets else (True, True))


@pytest.mark.parametrize('where', ['array', 'text', 'mapping', 'centre'])
@pytest.mark.parametrize(
  'rows', [slice(None), slice(3, 20), slice(None, 5, -1)]
)
def test_coordinates_of_corners_are_told_by_the_transform(where, rows):
  """As stackstac labels them, whole and cut."""
  grid = rasterio.Affine(10, 0, 600_000, 0, -10, 5_000_000)
  half = 5 if where == 'centre' else 0
  image = 1000 + np.arange(24)[:, None] + np.zeros((12, 24, 24))
  array = xr.DataArray(
    image,
    {
      'band': list(BANDS),
      'y': 5_000_000 - half - 10 * np.arange(24),
      'x': 600_000 + half + 10 * np.arange(24),
    },
    ('band', 'y', 'x'),
    attrs={'crs': 'EPSG:32631', 'transform': grid},
  )
  if where == 'text':
    array.attrs['transform'] = str(tuple(grid))
  if where == 'mapping':
    text = ' '.join(map(str, grid.to_gdal()))
    array = array.assign_coords(spatial_ref=((), 0, {'GeoTransform': text}))
    del array.attrs['transform']
  given = array.isel(y=rows, x=slice(2, None))
  scene = geotiff.read_scene(given, time='2020-04-08')
  first = int(scene.image[0, 0, 0]) - 1000  # Its row in the grid.
  expected = 10, 0, 600_020, 0, -10, 5_000_000 - 10 * first
  assert tuple(scene.transform)[:6] == expected


def test_no_data_stays_no_data_under_an_offset(tmp_path):
  image = np.full((12, 8, 8), 1500, 'uint16')
  image[:, :2] = 0
  result = read(write(tmp_path / 'scene.tif', image), offset=1000).image
  assert (result[:2] == 0).all() and (result[2:] == 500).all()


def test_masked_pixels_raise(tmp_path):
  path = write(tmp_path / 'scene.tif')
  with rasterio.open(path, 'r+') as file:
    mask = np.full((8, 8), 255, 'uint8')
    mask[:2] = 0
    file.write_mask(mask)
  with pytest.raises(ValueError, match='masks 25.0% of its pixels'):
    read(path)


def test_a_negative_fill_that_is_not_declared_raises(tmp_path):
  image = np.full((12, 8, 8), 1500, 'int16')
  image[:, :, :4] = -9999
  path = write(tmp_path / 'scene.tif', image)
  with pytest.raises(
    ValueError, match='stored as -9999, at 50.00% .*fill or crop'
  ):
    read(path)


@pytest.mark.parametrize(
  'crs, size, shown',
  [
    ('EPSG:3857', 10, 'of 6.'),
    ('EPSG:32718', 10, ''),
    ('EPSG:32718', 20, '20'),
  ],
)
def test_pixels_are_measured_on_the_ground(tmp_path, caplog, crs, size, shown):
  path = write(tmp_path / 'scene.tif', crs=crs)
  with rasterio.open(path, 'r+') as file:
    # 51 degrees south in Web Mercator, where 10 units are 6.3 m.
    top = -6_621_000 if crs == 'EPSG:3857' else 4_300_000
    file.transform = rasterio.Affine(size, 0, 500_000, 0, -size, top)
  read(path)
  assert ('on the ground' in caplog.text) == bool(shown)
  assert shown in caplog.text


OLD = 'S2A_OPER_PRD_MSIL1C_PDMC_20160115T170456_R051_V20160115T100608.SAFE'


@pytest.mark.parametrize(
  'folder, name, tags, time',
  [
    (
      '',
      'S2A_MSIL2A_20200408T143729_N0214',
      {'TIFFTAG_DATETIME': '2023:01:05 09:00:00'},
      '2020-04-08T14:37:29',
    ),
    ('', 'HLS.S30.T31UFS.2021110T105321.v2.0', {}, '2021-04-20T10:53:21'),
    (
      OLD,
      'S2A_OPER_MSI_L1C_TL_SGS__20160116T013213',
      {},
      '2016-01-15T10:06:08',
    ),
    (
      '',
      'clip',
      {'SENSING_TIME': '2020-12-30T10:53:21.4Z; 2020-12-30T10:53:40Z'},
      '2020-12-30T10:53:21',
    ),
    ('', 'clip_20200408', {'datetime': '2020-04-08'}, ''),  # A day alone.
    ('', 'S2A_OPER_MSI_L1C_TL_SGS__20160116T013213', {}, ''),
  ],
)
def test_the_time_is_that_of_sensing(
  tmp_path, caplog, folder, name, tags, time
):
  (tmp_path / folder).mkdir(exist_ok=True)
  path = write(tmp_path / folder / f'{name}.tif', tags=tags)
  level = {'name': 'S2L1C'} if folder else {}
  if folder:
    path = write(path, np.full((13, 8, 8), 900, 'uint16'))
  if time:
    scene = geotiff.read_scene(path, **level)
    assert np.datetime64(scene.time, 's') == np.datetime64(time)
    assert ('but a tag of the file tells' in caplog.text) == ('MSIL2A' in name)
  else:
    with pytest.raises(ValueError, match='pass the time in UTC'):
      geotiff.read_scene(path)


def test_a_day_of_an_axis_is_no_time(tmp_path):
  shape = ('t', 'y', 'x')
  made = xr.Dataset(
    {band: (shape, np.full((1, 8, 8), 1500, 'int16')) for band in BANDS},
    {'y': 5e6 - 10 * np.arange(8), 'x': 6e5 + 10 * np.arange(8)},
    {'crs': 'EPSG:32631'},
  )
  for moment in '2020-04-08', '2020-04-08T10:50:31':
    dated = made.assign_coords(t=np.array([moment], 'M8[ns]'))
    for given in dated, dated.isel(t=0):  # With and without the axis.
      if 'T' in moment:
        assert geotiff.read_scene(given).time == 1_586_343_031
        continue
      with pytest.raises(ValueError, match='pass the time in UTC'):
        geotiff.read_scene(given)
      assert geotiff.read_scene(given, time='2020-04-08T10:50:31').image.all()
      source = open_source.open_source([given])
      assert str(source.dates[0]) == '2020-04-08'


def test_days_of_the_year_tell_acquisitions_apart(tmp_path):
  for day in ('2020366', '2021126'):
    image = np.full((1, 8, 8), int(day[4:]), 'int16')
    write(tmp_path / f'HLS.S30.T31UFS.{day}T105321.v2.0.B04.tif', image)
  source = open_source.open_source([tmp_path])
  assert list(map(str, source.dates)) == ['2020-12-31', '2021-05-06']


@pytest.mark.parametrize(
  'folder, file, lacking',
  [
    ('oli_project', 'S2A_MSIL2A_20200408T143729', False),
    ('modis_vs_s2', 'S2A_MSIL2A_20200408T143729', False),
    ('landsat8', 'T31UFS_20200408T143729', False),
    ('landsat8', 'HLS.S30.T31UFS.2021110T105321.v2.0', False),
    ('data/oli', 'T31UFS_20200408T143729', True),  # Below what is named.
    ('LC08_L2SP_193026_20200408', 'surface', True),
  ],
)
def test_a_product_tells_its_sensor_not_the_folder_of_the_user(
  tmp_path, folder, file, lacking
):
  (tmp_path / folder).mkdir(parents=True)
  for band in BANDS:
    image = np.full((1, 8, 8), 1500, 'uint16')
    write(tmp_path / folder / f'{file}_{band}.tif', image)
  root = tmp_path / folder.split('/')[0]
  if lacking:
    with pytest.raises(ValueError, match='B5|declares no scale'):
      read(root)
  else:
    assert (read(root).image == 1500).all()


def opened(path, missing, **declared):
  """The cube of a file of April."""
  declared = encoding.Declared(months=(4,), **declared)
  return open_cube.open_cube([path], declared=declared, missing=missing)


@pytest.mark.parametrize(
  'tags, name',
  [({'SPACECRAFT_ID': 'LANDSAT_8'}, 'a.tif'), ({}, 'LC08_2020.tif')],
)
def test_numbers_of_landsat_are_not_those_of_sentinel(tmp_path, tags, name):
  names = [f'SR_B{number}' for number in range(1, 8)]
  image = np.full((7, 8, 8), 9000, 'uint16')
  path = write(tmp_path / name, image, names, tags=tags)
  with pytest.raises(ValueError, match=r"lacks the bands .*'B5', 'B6', 'B7'"):
    read(path)
  missing = ['B5', 'B6', 'B7', 'B8']
  with pytest.raises(ValueError, match='of Landsat 8-9 and declares no scale'):
    opened(path, missing)
  # As advised.
  cube = opened(path, missing, scale=0.0000275, offset=-0.2)
  assert cube.source.bands == ('B1', 'B2', 'B3', 'B4', 'B8A', 'B11', 'B12')
  pixels = cube.source.read('B8A', slice(0, 8), slice(0, 8))
  np.testing.assert_allclose(pixels, 475, atol=0.1)


def test_a_product_of_another_level_names_the_flag(tmp_path):
  path = write(tmp_path / 'S2A_MSIL1C_20200408T143729.tif')
  with pytest.raises(ValueError, match='level 1C.*--product S2L1C'):
    read(path)


def test_one_acquisition_is_chosen_by_its_time(tmp_path):
  names = [f'{band} 2020-04-{day}' for day in ('08', '18') for band in BANDS]
  image = np.repeat(np.array([700, 900], 'uint16'), 12)[:, None, None]
  path = write(tmp_path / 'two.tif', np.tile(image, (8, 8)), names)
  assert (read(path).image == 700).all()
  with pytest.raises(ValueError, match='holds 2 acquisitions .*--time 2020-04'):
    geotiff.read_scene(path, time='2020-04-09')


def test_only_what_is_used_is_read_and_checked(tmp_path):
  image = np.full((12, 40, 40), 1500, 'int16')
  image[:, 0] = -9999
  path = write(tmp_path / 'scene.tif', image)
  with pytest.raises(ValueError, match='stored as -9999'):
    read(path)
  assert (read(path, size=16).image == 1500).all()
  with pytest.raises(ValueError, match='scene.tif has 40 x 40 pixels.*64'):
    read(path, size=64)


@pytest.mark.parametrize(
  'dtype, values, scale, words',
  [
    (
      'uint8',
      40,
      1 / 255,
      r'grey levels \(uint8, up to 160\).*such as --scale',
    ),
    ('float32', 15.5, 0.01, 'in percent, not x 10,000; pass --scale 0.01'),
    ('float32', 0.155, 1, 'reflectance itself.* pass --scale 1'),
  ],
)
def test_another_unit_is_refused_whatever_one_pixel_holds(
  tmp_path, dtype, values, scale, words
):
  image = np.full((12, 40, 40), values, dtype)
  image[3, 5, 5] *= 4 if dtype == 'uint8' else 16  # A glint of the sun.
  path = write(tmp_path / 'scene.tif', image)
  with pytest.raises(ValueError, match=words):
    read(path)
  result = read(path, scale=scale).image[0, 0]  # As advised.
  np.testing.assert_array_equal(result, round(values * scale * 10_000))


@pytest.mark.parametrize('value', [40_000, 65_535])
def test_a_few_pixels_may_be_too_bright(tmp_path, caplog, value):
  image = np.full((12, 40, 40), 1500, 'uint16')
  image[3, 5, 5] = value
  result = read(write(tmp_path / 'scene.tif', image)).image
  assert result[5, 5, 3] == 32_767 and (result == 1500).sum() == 19_199
  assert f'up to {value / 10_000:.3g} in 0.062 % of its' in caplog.text
  image[:, :2] = value
  with pytest.raises(ValueError, match='an int16 can|stored as 65535'):
    read(write(tmp_path / 'scene.tif', image))


def test_a_few_pixels_may_have_no_value_whatever_stands_for_it(
  tmp_path, caplog
):
  images = []
  for nodata in (0, -9999):
    image = np.full((12, 64, 64), 1500, 'int16')
    image[:5, :2, :3] = nodata
    path = write(tmp_path / f'{nodata}.tif', image)
    with rasterio.open(path, 'r+') as file:
      file.nodata = nodata
    images.append(read(path).image)
  np.testing.assert_array_equal(*images)
  assert 'masks 0.15% of its pixels' in caplog.text


def test_zeros_alone_are_refused(tmp_path):
  path = write(tmp_path / 'scene.tif', np.zeros((12, 8, 8), 'uint16'))
  with pytest.raises(ValueError, match='is 0 in every pixel and band'):
    read(path)


def test_json_beside_images_is_no_item_however_deep(tmp_path):
  patch = tmp_path / 'S2A_MSIL2A_20170613T101031_87_48'
  patch.mkdir()
  (patch / 'deep.json').write_text('[' * 100_000)
  for i, band in enumerate(BANDS):
    image = np.full((1, 8, 8), 500 + i, 'uint16')
    write(patch / f'{patch.name}_{band}.tif', image)
  with pytest.raises(ValueError, match='deep.json nests lists'):
    geotiff.read_scene(patch)
  (patch / 'deep.json').write_text('{"labels": ["Pastures"]}')
  scene = geotiff.read_scene(patch)
  assert scene.time == 1_497_348_631  # In the name of the patch.
  np.testing.assert_array_equal(scene.image[0, 0], 500 + np.arange(12))
