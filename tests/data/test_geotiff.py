import calendar
import pathlib
import shutil

import numpy as np
import pytest
import rasterio

from fusion_jax import modalities
from fusion_jax.data import readers
from fusion_jax.data.sources import geotiff, samples

SAMPLES = pathlib.Path(__file__).parents[1] / 'testdata' / 'terramesh'
CHILE = SAMPLES / 'S2L2A' / '433D_629L_3_1.tif'
CHILE_TIME = calendar.timegm((2020, 4, 8, 14, 37, 29))


def write(
  path, image, names=(), tags=None, north_up=True, crs='EPSG:32718', shear=0.0
):
  """A GeoTIFF of image [C, Y, X]."""
  step, top = (-10.0, 5_700_000.0) if north_up else (10.0, 5_699_960.0)
  with rasterio.open(
    path,
    'w',
    driver='GTiff',
    count=len(image),
    height=image.shape[1],
    width=image.shape[2],
    dtype=image.dtype,
    crs=crs,
    transform=rasterio.Affine(10, shear, 717_000, shear, step, top),
  ) as out:
    out.write(image)
    for i, name in enumerate(names):
      out.set_band_description(i + 1, name)
    out.update_tags(**(tags or {}))
  return path


def image_of(bands, dtype=np.int16, scale=1000):
  """Band b holds scale * (b + 1) + row."""
  rows = np.arange(4)[None, :, None] + np.zeros((1, 1, 4))
  values = scale * (np.arange(bands)[:, None, None] + 1) + rows
  return values.astype(dtype)


def test_scene_has_its_image_place_and_time():
  scene = geotiff.read_scene(CHILE, time='2020-04-08T14:37:29Z')
  with rasterio.open(CHILE) as raster:
    np.testing.assert_array_equal(
      scene.image, np.moveaxis(raster.read(), 0, -1)
    )
  assert scene.image.dtype == np.int16 and scene.crs == 'EPSG:32718'
  np.testing.assert_allclose(
    [scene.lat, scene.lon], [-38.830853, -72.478793], atol=2e-6
  )
  assert scene.time == CHILE_TIME
  assert set(scene.example) == {'key', 'lat', 'lon', 'time', 'S2L2A'}


@pytest.mark.parametrize(
  'text',
  [
    '2020-04-08T14:37:29.000000000',
    '2020:04:08 14:37:29',
    '2020-04-08T16:37:29+02:00',
    '2020-04-08T16:37:29.024+02:00',
  ],
)
def test_time_is_taken_from_the_tags(tmp_path, text):
  path = write(tmp_path / 'a.tif', image_of(12), tags={'datetime': text})
  assert geotiff.read_scene(path).time == CHILE_TIME


def test_scene_without_a_time_asks_for_it():
  with pytest.raises(ValueError, match='no tag of the acquisition time'):
    geotiff.read_scene(CHILE)


@pytest.mark.parametrize('style', ['B{:02d}', 'B{}', 'b{:02d} - band'])
def test_bands_are_found_by_name_in_any_order_among_others(tmp_path, style):
  names = [
    name if name == 'B8A' else style.format(int(name[1:]))
    for name in modalities.S2L1C_BANDS
  ] + ['SCL']
  path = write(tmp_path / 'a.tif', image_of(14)[::-1], names[::-1])
  scene = geotiff.read_scene(path, time=0)
  expected = [
    modalities.S2L1C_BANDS.index(b) + 1 for b in modalities.S2L2A_BANDS
  ]
  np.testing.assert_array_equal(scene.image[0, 0] // 1000, expected)


def test_lacking_band_is_named(tmp_path):
  names = [b for b in modalities.S2L2A_BANDS if b != 'B8A'] + ['SCL']
  path = write(tmp_path / 'a.tif', image_of(12), names)
  with pytest.raises(ValueError, match=r"a.tif lacks the bands \['B8A'\]"):
    geotiff.read_scene(path, time=0)


@pytest.mark.parametrize(
  'count, message',
  [
    (3, '3 bands without names; expected are 12'),
    (13, 'Thirteen bands are those of L1C'),
  ],
)
def test_wrong_number_of_bands_says_what_is_wanted(tmp_path, count, message):
  path = write(tmp_path / 'a.tif', image_of(count))
  with pytest.raises(ValueError, match=message):
    geotiff.read_scene(path, time=0)
  if count == 13:
    assert geotiff.read_scene(path, 'S2L1C', time=0).image.shape == (4, 4, 13)


def test_reflectance_instead_of_counts_says_how_to_convert(tmp_path):
  path = write(tmp_path / 'a.tif', image_of(12, np.float32, 0.05) / 10)
  with pytest.raises(ValueError, match='values up to 0.36, .*: pass --scale 1'):
    geotiff.read_scene(path, time=0)
  with rasterio.open(path) as raster:
    expected = np.rint(10_000 * np.moveaxis(raster.read(), 0, -1))
  scene = geotiff.read_scene(path, time=0, scale=1)  # As advised.
  np.testing.assert_array_equal(scene.image, expected)


@pytest.mark.parametrize(
  'dtype, value, message',
  [
    (np.uint16, 40_000, 'holds 0 .. 40000, more than an int16 can'),
    (np.float32, 0.3, 'values up to 0.3, so reflectance itself'),
    (np.float32, np.nan, 'not finite'),
  ],
)
def test_pixels_that_do_not_fit_are_named_not_wrapped(
  tmp_path, dtype, value, message
):
  (tmp_path / 'S2L2A').mkdir()
  (tmp_path / 'samples.csv').write_text(
    'sample_id,lat,lon,s2_datetime_utc\n'
    'a,-38.8,-72.5,2020-04-08T14:37:29Z\nb,-38.8,-72.5,2020-04-08T14:37:29Z\n'
  )
  image = np.zeros((12, 4, 4), dtype)
  image[3] = value
  path = write(tmp_path / 'S2L2A' / 'a.tif', image)
  with pytest.raises(ValueError, match=message):
    geotiff.read_scene(path, time=0)
  (result,) = samples.SampleFolder(str(tmp_path)).read('train', ('a',))
  assert isinstance(result, readers.Skipped) and result.key == 'a'


def test_pixels_without_a_value_raise_or_are_counted(tmp_path, caplog):
  image = image_of(12)
  image[:, 0] = 0
  scene = geotiff.read_scene(write(tmp_path / 'a.tif', image), time=0)
  assert not scene.image[0].any()
  assert '25.0 % of the pixels' in caplog.text
  image[5, 0, 0] = -9999
  path = write(tmp_path / 'b.tif', image)
  with rasterio.open(path, 'r+') as raster:
    raster.nodata = -9999
  with pytest.raises(ValueError, match='masks 6.2% of its pixels.*row 0'):
    geotiff.read_scene(path, time=0)


def test_a_scene_that_seems_to_carry_the_offset_is_named(tmp_path, caplog):
  path = write(tmp_path / 'a.tif', image_of(12))
  geotiff.read_scene(path, time=0, offset=1000)
  assert '--offset' not in caplog.text
  geotiff.read_scene(path, time=0)
  assert 'say so: --offset 1000' in caplog.text


def test_longitudes_of_the_table_may_be_counted_to_360(tmp_path):
  (tmp_path / 'samples.csv').write_text(
    'sample_id,lat,lon,s2_datetime_utc\na,1,250.5,2020-04-08T14:37:29Z\n'
  )
  places = samples.SampleFolder(str(tmp_path)).places('train', ('a',))
  assert places['a'][:2] == (1, -109.5)


def test_offset_is_subtracted_when_asked(tmp_path):
  path = write(tmp_path / 'a.tif', image_of(12, np.uint16))
  whole = geotiff.read_scene(path, time=0)
  less = geotiff.read_scene(path, time=0, offset=1000)
  np.testing.assert_array_equal(less.image, whole.image - 1000)
  assert less.image.min() == 0


def test_south_up_scene_is_turned_and_keeps_its_place(tmp_path):
  up = geotiff.read_scene(write(tmp_path / 'n.tif', image_of(12)), time=0)
  down = geotiff.read_scene(
    write(tmp_path / 's.tif', image_of(12)[:, ::-1], north_up=False), time=0
  )
  np.testing.assert_array_equal(up.image, down.image)
  np.testing.assert_allclose([up.lat, up.lon], [down.lat, down.lon])
  assert up.transform == down.transform


def test_scene_without_a_coordinate_system_raises(tmp_path):
  path = write(tmp_path / 'a.tif', image_of(12), crs=None)
  with pytest.raises(ValueError, match='no coordinate system'):
    geotiff.read_scene(path, time=0)


def test_rotated_scene_raises(tmp_path):
  path = write(tmp_path / 'a.tif', image_of(12), shear=1.0)
  with pytest.raises(ValueError, match='rotated'):
    geotiff.read_scene(path, time=0)


def test_file_that_is_no_image_raises(tmp_path):
  path = tmp_path / 'a.tif'
  path.write_text('hello')
  with pytest.raises(ValueError, match='cannot be read as a raster'):
    geotiff.read_scene(path, time=0)


def test_the_five_real_samples():
  source = samples.SampleFolder(str(SAMPLES))
  assert source.schema.images == ('S2L2A', 'S1RTC', 'DEM', 'NDVI', 'LULC')
  assert source.schema.width == 224
  (train,), (val,) = source.parts()['train'], source.parts()['val']
  assert len(train) == 4 and val == ('637U_59R_1_3',)
  result = {e['key']: e for e in source.read('train', train)}
  chile = result['433D_629L_3_1']
  assert (chile['lat'], chile['lon'], chile['time']) == (
    -38.830853,
    -72.478793,
    CHILE_TIME,
  )
  with rasterio.open(CHILE) as raster:
    np.testing.assert_array_equal(chile['S2L2A'][..., 3], raster.read(4))


def test_validation_samples_can_be_chosen_and_are_checked():
  source = samples.SampleFolder(str(SAMPLES), val=('38D_378R_2_3',))
  assert source.parts()['val'] == [('38D_378R_2_3',)]
  with pytest.raises(ValueError, match='nowhere'):
    samples.SampleFolder(str(SAMPLES), val=('nowhere',)).parts()


def test_broken_sample_is_skipped_and_an_image_may_be_absent(tmp_path):
  shutil.copytree(SAMPLES, tmp_path / 'copy')
  folder = tmp_path / 'copy' / 'S2L2A'
  (folder / '433D_629L_3_1.tif').write_bytes(CHILE.read_bytes()[:5000])
  (folder / '38D_378R_2_3.tif').unlink()
  source = samples.SampleFolder(str(tmp_path / 'copy'))
  result = list(source.read('train', source.parts()['train'][0]))
  assert [e.key for e in result if isinstance(e, readers.Skipped)] == [
    '433D_629L_3_1'
  ]
  absent = [
    e['key']
    for e in result
    if not isinstance(e, readers.Skipped) and 'S2L2A' not in e
  ]
  assert absent == ['38D_378R_2_3']


def test_offset_of_l1c_samples_is_kept(tmp_path):
  (tmp_path / 'S2L1C').mkdir()
  (tmp_path / 'samples.csv').write_text(
    'sample_id,lat,lon,s2_datetime_utc\n'
    'a,-38.8,-72.5,2020-04-08T14:37:29Z\nb,-38.8,-72.5,2020-04-08T14:37:29Z\n'
  )
  for key, level in (('a', 1016), ('b', 16)):
    write(
      tmp_path / 'S2L1C' / f'{key}.tif', np.full((13, 4, 4), level, np.int16)
    )
  source = samples.SampleFolder(str(tmp_path))
  offsets = [
    e['S2L1C_offset']
    for split, (part,) in source.parts().items()
    for e in source.read(split, part)
  ]
  assert offsets == [1000, 0]
