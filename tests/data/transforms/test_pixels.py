"""Transforms of pixels: scaling by hand, what is missing, bad input."""

import numpy as np
import pytest

from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.data.transforms import steps as steps_lib
from tests import pixel_data


def example(side=1, **changes):
  return pixel_data.example('train', 1, side) | changes


def scaled(scaling='published', missing=(), **changes):
  return pixel_transforms.Scale(scaling, missing).map(example(**changes))


def test_scaling_is_that_of_the_code_and_clipped():
  values = np.zeros((12, 10, 1, 1), np.float32)
  values[0] = pixel_transforms.LOW[:, None, None]
  values[1] = (pixel_transforms.LOW + pixel_transforms.HIGH)[:, None, None]
  values[2] = pixel_transforms.HIGH[:, None, None]
  result = scaled(pixels=values)['pixels']
  np.testing.assert_array_equal(result[[0, 3]], 0)  # 0 is below the low value.
  np.testing.assert_allclose(result[1], 1, rtol=1e-6)
  np.testing.assert_allclose(
    result[2, :, 0, 0],
    1 - pixel_transforms.LOW / pixel_transforms.HIGH,
    rtol=1e-6,
  )
  result = scaled('range', pixels=values)['pixels']
  np.testing.assert_allclose(result[2], 1, rtol=1e-6)


def test_months_without_most_values_are_left_out():
  values = example()['pixels'].copy()
  values[3, :6] = np.nan
  values[4, :5] = np.nan
  valid = np.ones(12, bool)
  valid[7] = False
  result = scaled(pixels=values, valid=valid)
  np.testing.assert_array_equal(np.flatnonzero(~result['keep']), [3, 7])
  assert np.isfinite(result['pixels']).all()
  np.testing.assert_array_equal(result['pixels'][4, :5], 0)
  without = dict(example(pixels=values))
  del without['valid']
  np.testing.assert_array_equal(
    np.flatnonzero(~pixel_transforms.Scale().map(without)['keep']), [3]
  )


def test_missing_bands_are_zero_whatever_stands_there():
  result = scaled(missing=('B8A',), valid=np.ones(12, bool))
  np.testing.assert_array_equal(result['pixels'][:, 7], 0)
  assert result['pixels'][:, 6].all() and result['keep'].all()


@pytest.mark.parametrize('declared', [True, False])
def test_sensors_with_four_bands_keep_their_months(declared):
  bands = ('B5', 'B6', 'B7', 'B8A', 'B11', 'B12')
  values = example()['pixels'].astype(np.float32)
  values[:, [pixel_transforms.BANDS.index(band) for band in bands]] = np.nan
  values[2, :3] = np.nan
  result = scaled(
    missing=bands if declared else (), pixels=values, valid=np.ones(12, bool)
  )
  np.testing.assert_array_equal(np.flatnonzero(~result['keep']), [2])


def test_a_year_without_any_value_has_no_month():
  result = scaled(pixels=np.full((12, 10, 1, 1), np.nan))
  assert not result['keep'].any() and not result['pixels'].any()


def test_crop_is_around_the_centre():
  image = np.arange(12 * 10 * 64 * 64, dtype=np.int32).reshape(12, 10, 64, 64)
  for side, start in ((1, 32), (5, 30), (9, 28)):
    result = pixel_transforms.Crop(side).map(example(pixels=image))['pixels']
    np.testing.assert_array_equal(
      result, image[..., start : start + side, start : start + side]
    )


def test_bad_pixels_are_named():
  with pytest.raises(
    ValueError, match='train1 has 1 x 1 pixels, the model reads 5 x 5'
  ):
    pixel_transforms.Crop(5).map(example())
  with pytest.raises(ValueError, match='has 9 bands, but must have B2, B3'):
    scaled(pixels=np.ones((12, 9, 1, 1)))
  with pytest.raises(
    ValueError,
    match='train1 has reflectance up to 0.4, but must have reflectance x 10',
  ):
    scaled(pixels=np.full((12, 10, 1, 1), 0.4))
  with pytest.raises(ValueError, match=r"no band \['B9'\]"):
    scaled(missing=('B9',))
  with pytest.raises(ValueError, match="scaling='mean' is not one of"):
    scaled('mean')


def test_months_that_are_masked_whole_are_not_taken_for_another_scale():
  assert not scaled(pixels=np.ones((12, 10, 1, 1)))['pixels'].any()


def test_missing_photos_are_marked():
  views = np.ones((4, 8), np.float32)
  views[2, 3] = np.nan
  result = pixel_transforms.MarkViews().map(example(views=views))
  np.testing.assert_array_equal(result['has_photo'], [True, True, False, True])
  np.testing.assert_array_equal(result['views'][2], 0)
  views[:] = np.nan
  with pytest.raises(ValueError, match='train1 has no photo'):
    pixel_transforms.MarkViews().map(example(views=views))
  assert (
    not pixel_transforms.MarkViews(False)
    .map(example(views=views))['has_photo']
    .any()
  )


def test_ids_are_those_of_places():
  number = pixel_transforms.Number().map
  assert number(example())['id'] == number(example(side=3))['id']
  assert number(example())['id'] != number(example(key='other'))['id']
  assert number(example())['id'].dtype == np.int32


def test_classes_come_from_the_data_where_they_tell_them():
  assert pixel_transforms.class_names({}, 'land_cover')[1] == 'Cropland'
  known = {'classes': {'landcover10': ['a', 'b']}}
  assert pixel_transforms.class_names(known, 'landcover10') == ('a', 'b')
  with pytest.raises(ValueError, match="no label 'landcover10'.*land_cover"):
    pixel_transforms.class_names({}, 'landcover10')


def test_remembered_examples_are_read_once():
  class Source(list):
    reads = 0

    def __getitem__(self, i):
      Source.reads += 1
      return super().__getitem__(i)

  made = steps_lib.Remembered(
    Source([{'key': f'p{i}', 'pixels': i} for i in range(3)]),
    (pixel_transforms.Number(), steps_lib.Keep(('id', 'pixels'))),
  )
  assert len(made) == 3
  first, again = made[np.int64(2)], made[2]
  assert Source.reads == 1 and first is again
  assert first['pixels'] == 2 and set(first) == {'id', 'pixels'}
  assert made[0]['id'] != first['id']
