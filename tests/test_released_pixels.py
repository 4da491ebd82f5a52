"""A loaded pixel encoder: dates, settings, batches, xarray, bad input."""

import functools

import ml_collections
import numpy as np
import pytest
import xarray

from fusion_jax import released_pixels
from fusion_jax.data import pixels
from tests import golden_timesenclip as golden

MIDDLES = (16, 45, 75, 105.5, 136, 166.5, 197, 228, 258.5, 289, 319.5, 350)
near = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5)


@functools.cache
def model():
  """A `PixelModel` of 1 x 1 pixels with fresh weights."""
  settings = dict(width=32, depth=2, num_heads=4, hidden=16, output_width=24,
                  dtype='float32')
  config = ml_collections.ConfigDict(dict(
      model=settings, scaling='published', missing_bands=()))
  params = {'encoder': golden.init(golden.tiny_encoder())}
  return released_pixels.PixelModel(config, params, {})


def year():
  """Reflectance x 10,000 of five places, [5, 12, 10, 1, 1]."""
  share = np.random.default_rng(0).random((5, 12, 10, 1, 1), np.float32)
  return pixels.LOW[:, None, None] + share * pixels.HIGH[:, None, None]


def test_batches_do_not_change_the_vectors():
  whole = model().encode(year())
  near(model().encode(year(), batch_size=2), whole)
  near(model().encode(year()[3]), whole[3])
  near(np.linalg.norm(whole, axis=1), 1)


def test_dates_in_the_middle_of_the_months_are_the_months():
  near(model().encode(year(), days=np.array(MIDDLES)), model().encode(year()))


def test_quarters_can_be_made_or_given():
  medians = np.sort(year().reshape(5, 4, 3, 10, 1, 1), axis=2)[:, :, 1]
  near(model().encode(medians), model().encode(year(), setting='quarterly'))


def test_missing_months_are_those_told_or_without_values():
  values, valid = year(), np.ones((5, 12), bool)
  valid[:, 4] = False
  told = model().encode(values, valid)
  values[:, 4] = np.nan
  near(model().encode(values), told)
  assert np.abs(told - model().encode(year())).max() > 1e-4


def test_axes_of_xarray_may_stand_in_any_order():
  array = xarray.DataArray(year(), dims=('place', 'time', 'band', 'y', 'x'))
  near(model().encode(array.transpose('y', 'x', 'band', 'place', 'time')),
       model().encode(year()))
  with pytest.raises(ValueError, match=r"not \['time'\]; rename them"):
    model().encode(array.rename(time='month'))


def test_bad_pixels_are_errors():
  with pytest.raises(ValueError, match=r'pixels is \(12, 10\); wanted is'):
    model().encode(year()[0, :, :, 0, 0])
  with pytest.raises(ValueError, match='reflectance x 10,000'):
    model().encode(year() / 1e4)
  with pytest.raises(ValueError, match='has 9 bands'):
    model().encode(year()[:, :, :9])
