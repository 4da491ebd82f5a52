"""Sen4Map's HDF5 in all its forms, and what is wrong with some files."""

import subprocess
import sys

import numpy as np
import pytest

h5py = pytest.importorskip('h5py')

from fusion_jax.data import composites
from fusion_jax.data.sources import sen4map

KEY = 'Lucas_Point_40683280'
NUM = 26


def products(number=NUM):
  """Ids of acquisitions every two weeks, first January."""
  dates = np.datetime64('2018-01-03') + 14 * np.arange(number)
  return [
    f'S2A_MSIL2A_{str(date).replace("-", "")}T105031_N0206' for date in dates
  ]


@pytest.fixture
def raw(tmp_path):
  """A file of one place of acquisitions, and its counts [A, 10, 11, 11]."""
  rng = np.random.default_rng(0)
  counts = rng.integers(1, 6000, (NUM, 10, 11, 11)).astype(np.uint16)
  path = tmp_path / 'train.h5'
  with h5py.File(path, 'w') as file:
    group = file.create_group(KEY)
    for band, values in zip(composites.BANDS, counts.swapaxes(0, 1)):
      group[band] = values
    group['SCL'] = np.full((NUM, 11, 11), 4, np.uint8)
    group.attrs['Image_ID'] = products()
    for name, value in (('lc1', 'B16'), ('lu1', 'U111'), ('nuts0', 'NL')):
      group.attrs[name] = value
  return path, counts


def changed(path, change):
  """The file after `change` of its group."""
  with h5py.File(path, 'a') as file:
    change(file[KEY])
  return path


def year(path, size=1, **options):
  with sen4map.opened(path) as file:
    return sen4map.read_year(file, KEY, size, **options)


@pytest.mark.parametrize('size', [1, 5, 9])
def test_acquisitions_become_the_published_composite(raw, size):
  path, counts = raw
  pixels, valid = year(path, size)
  crop = composites.centre_crop(counts, size)
  assert pixels.dtype == np.int16 and valid.all()
  months = np.array([int(text[15:17]) - 1 for text in products()])
  for month in range(12):
    actual = np.sort(crop[months == month], axis=0)
    np.testing.assert_array_equal(
      pixels[month], actual[(len(actual) - 1) // 2] + 1
    )


def test_month_without_acquisitions_takes_the_year_or_is_not_valid(raw):
  path, counts = raw

  def drop_march(group):
    ids = group.attrs['Image_ID']
    group.attrs['Image_ID'] = [text.replace('201803', '201804') for text in ids]

  changed(path, drop_march)
  pixels, valid = year(path)
  centre = np.sort(counts[..., 5, 5], axis=0)[(NUM - 1) // 2]
  np.testing.assert_array_equal(pixels[2, :, 0, 0], centre + 1)
  assert valid.all()
  pixels, valid = year(path, composite='clear')
  assert not valid[2] and valid.sum() == 11 and not pixels[2].any()


def test_year_of_clouds_raises_where_clouds_are_left_out(raw):
  path = changed(raw[0], lambda group: group['SCL'].__setitem__(..., 9))
  with pytest.raises(ValueError, match=f'{KEY}: no month has a clear'):
    year(path, composite='clear')
  np.testing.assert_array_equal(year(path).pixels, 1)


def test_annual_composite(raw):
  path, counts = raw
  with sen4map.opened(path) as file:
    result = sen4map.read_annual(file, KEY, 5)
  crop = composites.centre_crop(counts, 5)
  np.testing.assert_array_equal(result, np.sort(crop, axis=0)[(NUM - 1) // 2])


def test_bands_are_found_by_name_in_either_spelling(raw):
  expected = year(raw[0]).pixels

  def rename(group):
    group.move('B2', 'B02')

  np.testing.assert_array_equal(year(changed(raw[0], rename)).pixels, expected)


def test_missing_band_is_named_with_the_flag_that_allows_it(raw):
  path = changed(raw[0], lambda group: group.__delitem__('B8A'))
  with pytest.raises(
    ValueError,
    match=(
      rf"train.h5, {KEY}: it lacks the bands \['B8A'\].*--missing-bands B8A"
    ),
  ):
    year(path)
  pixels, _ = year(path, missing_bands=('B8A',))
  assert np.isnan(pixels[:, 7]).all()
  assert np.isfinite(np.delete(pixels, 7, axis=1)).all()


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('Image_ID', 'lacks the attribute Image_ID, the dates; it has'),
    ('SCL', 'lacks SCL, the scene classification'),
  ],
)
def test_what_is_missing_is_named(raw, name, message):
  def remove(group):
    del (group.attrs if name == 'Image_ID' else group)[name]

  with pytest.raises(ValueError, match=f'train.h5, {KEY}: it {message}'):
    year(changed(raw[0], remove))


def test_attributes(raw):
  with sen4map.opened(raw[0]) as file:
    assert sen4map.read_attributes(file, KEY, sen4map.SURVEY) == {
      'lc1': 'B16',
      'lu1': 'U111',
      'nuts0': 'NL',
    }
    with pytest.raises(
      ValueError,
      match=(
        rf"train.h5, {KEY}: it lacks the attributes \['EUNIS_L2'\]; it has "
        r"\['Image_ID', 'lc1'"
      ),
    ):
      sen4map.read_attributes(file, KEY, ('EUNIS_L2',))


def test_products_of_another_year_raise(raw):
  def other_year(group):
    group.attrs['Image_ID'] = [
      text.replace('2018', '2019') for text in products()
    ]

  with pytest.raises(
    ValueError,
    match='none of the 26 product ids of Image_ID is of 2018, such as',
  ):
    year(changed(raw[0], other_year))


def test_products_that_do_not_fit_the_acquisitions_raise(raw):
  path = changed(
    raw[0], lambda group: group.attrs.__setitem__('Image_ID', products(3))
  )
  with pytest.raises(ValueError, match='3 product ids for 26 acquisitions'):
    year(path)


@pytest.mark.parametrize('shape', [(NUM, 5, 5), (3, 11, 11), (11,)])
def test_bands_of_another_grid_raise(raw, shape):
  def replace(group):
    del group['B11']
    group['B11'] = np.ones(shape, np.uint16)

  with pytest.raises(
    ValueError,
    match=(rf'{KEY}: SCL is \(26, 11, 11\), B11 is \({shape[0]},.*; expected'),
  ):
    year(changed(raw[0], replace))


@pytest.mark.parametrize('composite', composites.KINDS)
def test_values_that_are_not_finite_count_as_cloud(raw, composite):
  def replace(group, cloud):
    values = group['B4'][...].astype(np.float32)
    del group['B4']
    values[:3] = np.nan
    group['B4'] = np.nan_to_num(values) if cloud else values
    if cloud:
      group['SCL'][:3] = 9

  result = year(
    changed(raw[0], lambda group: replace(group, False)), 5, composite=composite
  )
  expected = year(
    changed(raw[0], lambda group: replace(group, True)), 5, composite=composite
  )
  np.testing.assert_array_equal(result.pixels, expected.pixels)
  np.testing.assert_array_equal(result.valid, expected.valid)


def test_products_in_one_text(raw):
  expected = year(raw[0]).pixels
  path = changed(
    raw[0], lambda group: group.attrs.__setitem__('Image_ID', str(products()))
  )
  np.testing.assert_array_equal(year(path).pixels, expected)


def test_reflectance_from_0_to_1_raises(raw):
  def divide(group):
    for band in composites.BANDS:
      values = group[band][...] / 10_000
      del group[band]
      group[band] = values

  with pytest.raises(
    ValueError, match='reflectance itself; expected reflectance x 10,000'
  ):
    year(changed(raw[0], divide))


def test_truncated_file_raises(raw, tmp_path):
  content = raw[0].read_bytes()
  path = tmp_path / 'short.h5'
  path.write_bytes(content[: len(content) // 2])
  with pytest.raises(ValueError, match='short.h5 is truncated or no HDF5'):
    year(path)
  with pytest.raises(FileNotFoundError):
    year(tmp_path / 'none.h5')


def test_keys_are_sorted_and_told_from_other_groups(tmp_path):
  path = tmp_path / 'a.h5'
  with h5py.File(path, 'w') as file:
    file.create_group('about')
  with (
    sen4map.opened(path) as file,
    pytest.raises(
      ValueError, match=r"no group Lucas_Point_...; it has \['about'\]"
    ),
  ):
    sen4map.keys(file)
  with h5py.File(path, 'a') as file:
    file.create_group('Lucas_Point_50000000')
    file.create_group(KEY)
  with sen4map.opened(path) as file:
    assert sen4map.keys(file) == (KEY, 'Lucas_Point_50000000')
  assert sen4map.point_id(KEY) == 40683280
  with pytest.raises(ValueError, match="'Lucas_Point_7' is no key"):
    sen4map.point_id('Lucas_Point_7')


@pytest.fixture
def stored(tmp_path):
  """A file of one place of monthly composites [12, 10, 9, 9]."""
  values = np.random.default_rng(1).integers(1, 6000, (12, 10, 9, 9))
  path = tmp_path / 'test.h5'
  with h5py.File(path, 'w') as file:
    file.create_group(KEY)['image'] = values.astype(np.float32)
  return path, values


def replaced(path, values, **attributes):
  def replace(group):
    del group['image']
    group['image'] = values
    for name, value in attributes.items():
      group['image'].attrs[name] = value

  return changed(path, replace)


def test_stored_composites_are_cropped_and_kept(stored):
  path, values = stored
  pixels, valid = year(path, 5)
  np.testing.assert_array_equal(pixels, values[..., 2:7, 2:7])
  assert pixels.dtype == np.int16 and valid.all()
  pixels, _ = year(replaced(path, values + 0.5), 5)
  assert pixels.dtype == np.float32
  np.testing.assert_array_equal(pixels, values[..., 2:7, 2:7] + 0.5)


def test_named_bands_of_composites_are_put_in_order(stored):
  path, values = stored
  order = np.random.default_rng(0).permutation(10)
  names = [composites.BANDS[i] for i in order]
  replaced(path, values[:, order], bands=names)
  np.testing.assert_array_equal(year(path, 9).pixels, values)
  replaced(path, values[:, order[:-1]], bands=names[:-1])
  with pytest.raises(
    ValueError,
    match='has 9 bands, named .*it lacks '
    rf"\['{names[-1]}'\]",
  ):
    year(path)
  pixels, _ = year(path, 9, missing_bands=(names[-1],))
  assert np.isnan(pixels[:, order[-1]]).all()
  rest = np.delete(np.arange(10), order[-1])
  np.testing.assert_array_equal(pixels[:, rest], values[:, rest])


def test_unnamed_composites_of_nine_bands_raise_or_are_said_to_lack_one(stored):
  path = replaced(stored[0], np.delete(stored[1], 7, axis=1))
  with pytest.raises(
    ValueError, match='image has 9 bands without names; expected B2, B3'
  ):
    year(path)
  pixels, _ = year(path, 9, missing_bands=('B8A',))
  np.testing.assert_array_equal(pixels[:, 8], stored[1][:, 8])


def test_composites_of_eleven_months_or_too_few_pixels_raise(stored):
  path, values = stored
  with pytest.raises(
    ValueError, match='image has 9 x 9 pixels; expected 11 x 11'
  ):
    year(path, 11)
  with pytest.raises(
    ValueError,
    match=r'image is \(11, 10, 9, 9\); expected 12 months',
  ):
    year(replaced(path, values[:11]))


def test_missing_months_of_composites_are_not_valid(stored):
  path, values = stored
  values = values.astype(np.float32)
  values[3] = np.nan
  assert year(replaced(path, values)).valid.tolist() == [
    month != 3 for month in range(12)
  ]
  with pytest.raises(ValueError, match='all its months are missing'):
    year(replaced(path, values * np.nan))


def test_annual_composite_of_composites_raises(stored):
  with (
    sen4map.opened(stored[0]) as file,
    pytest.raises(ValueError, match='composites already'),
  ):
    sen4map.read_annual(file, KEY, 1)


@pytest.mark.parametrize('attribute', ['_FillValue', 'missing_value', 'nodata'])
def test_fill_values_of_composites_are_missing(stored, attribute):
  path, values = stored
  values = values.astype(np.float32)
  values[0] = -9999
  values[1, 3] = np.inf  # One band.
  replaced(path, values, **{attribute: np.float32(-9999)})
  result = year(path)
  assert not result.valid[:2].any() and result.valid[2:].all()
  assert np.isnan(result.pixels[:2]).all()


def test_a_fill_value_that_is_not_declared_raises(stored, raw):
  raw, _ = raw
  path, values = stored
  values[0] = -9999
  replaced(path, values)
  with pytest.raises(ValueError, match=f'{KEY}: its values reach -9999.*_Fill'):
    year(path)

  def change(group):
    counts = group['B2'][:].astype(np.int16)
    counts[0] = -9999
    del group['B2']
    group['B2'] = counts

  changed(raw, change)
  with pytest.raises(ValueError, match='reach -9999'):
    year(raw)
  changed(raw, lambda group: group['B2'].attrs.update(_FillValue=-9999))
  assert year(raw).pixels.min() >= 0


def test_a_fill_value_of_0_does_not_hide_a_missing_band(stored, raw):
  path, values = stored
  replaced(path, values[:, :9], _FillValue=0)
  result = year(path, missing_bands=['B12'])
  assert result.valid.all() and np.isnan(result.pixels[:, 9]).all()
  path, _ = raw
  before = year(path, missing_bands=['B12']).pixels

  def change(group):
    del group['B12']
    for band in composites.BANDS[:9]:
      group[band].attrs['nodata'] = 'None'
      group[band].attrs['_FillValue'] = 0

  changed(path, change)
  np.testing.assert_array_equal(
    year(path, missing_bands=['B12']).pixels, before
  )


def test_the_offset_of_newer_baselines_is_asked_for(raw):
  raw, _ = raw
  before = year(raw).pixels

  def newer(group):
    group.attrs['Image_ID'] = [
      product.replace('_N0206', '_N0500_R051')
      for product in group.attrs['Image_ID']
    ]
    for band in composites.BANDS:
      counts = group[band][:].astype(np.uint16)
      group[band][...] = np.where(counts, counts + 1000, 0)

  changed(raw, newer)
  with pytest.raises(ValueError, match='of baseline 05.00.*BOA_ADD_OFFSET'):
    year(raw)
  changed(raw, lambda group: group.attrs.update(BOA_ADD_OFFSET=-1000))
  np.testing.assert_array_equal(year(raw).pixels, before)
  changed(raw, lambda group: group.attrs.update(BOA_ADD_OFFSET=0))
  assert (year(raw).pixels >= before).all()


def test_a_file_that_another_program_locks_is_named_so(raw):
  raw, _ = raw
  program = (
    f"import h5py, sys; file = h5py.File({str(raw)!r}, 'a'); "
    "print('open', flush=True); sys.stdin.read()"
  )
  with subprocess.Popen(
    [sys.executable, '-c', program],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  ) as writer:
    writer.stdout.readline()
    with pytest.raises(ValueError, match='is open in another program'):
      with sen4map.opened(raw):
        pass
