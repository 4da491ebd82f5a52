"""A loaded pixel encoder: dates, settings, batches, xarray, bad input."""

import functools

import ml_collections
import numpy as np
import pytest
import xarray

from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.inference import pixel_model
from tests import golden_timesenclip as golden

MIDDLES = (16, 45.5, 75, 105.5, 136, 166.5, 197, 228, 258.5, 289, 319.5, 350)
near = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5)


@functools.cache
def model():
  """A `PixelModel` of 1 x 1 pixels with fresh weights, but positions."""
  settings = dict(
    width=32,
    depth=2,
    num_heads=4,
    hidden=16,
    output_width=24,
    factored_first_layer='auto',
    dtype='float32',
  )
  config = ml_collections.ConfigDict(
    dict(
      task='pixel_encoder',
      model=settings,
      scaling='published',
      missing_bands=(),
    )
  )
  params = golden.init(golden.tiny_encoder())
  positions = np.random.default_rng(1).normal(size=(12, 32))  # Else all 0.
  params = params | {'positions': positions.astype(np.float32)}
  return pixel_model.PixelModel(config, {'encoder': params}, {})


def year():
  """Reflectance x 10,000 of five places, [5, 12, 10, 1, 1]."""
  share = np.random.default_rng(0).random((5, 12, 10, 1, 1), np.float32)
  return (
    pixel_transforms.LOW[:, None, None]
    + share * pixel_transforms.HIGH[:, None, None]
  )


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
  marked = model().encode(values, valid)
  values[:, 4] = np.nan
  near(model().encode(values), marked)
  assert np.abs(marked - model().encode(year())).max() > 1e-4


def test_places_without_any_month_have_no_vector():
  values, valid = year(), np.ones((5, 12), bool)
  values[1], valid[3] = np.nan, False
  for setting in ('monthly', 'single'):
    result = model().encode(values, valid, setting=setting)
    np.testing.assert_array_equal(
      np.isnan(result).all(axis=1), [False, True, False, True, False]
    )
    assert np.isfinite(result[::2]).all()


def test_axes_of_xarray_may_stand_in_any_order():
  array = xarray.DataArray(year(), dims=('place', 'time', 'band', 'y', 'x'))
  near(
    model().encode(array.transpose('y', 'x', 'band', 'place', 'time')),
    model().encode(year()),
  )
  with pytest.raises(ValueError, match=r"not \['time'\]; rename them"):
    model().encode(array.rename(time='when'))


def dated(dates, values=None, names=pixel_transforms.BANDS):
  """An xarray of the first place with dates and names of bands."""
  return xarray.DataArray(
    year()[0] if values is None else values,
    dims=('time', 'band', 'y', 'x'),
    coords={'time': np.array(dates, 'datetime64[ns]'), 'band': list(names)},
  )


MONTHS = [f'2018-{month:02d}-01' for month in range(1, 13)]


def test_bands_are_taken_by_their_names():
  names = [
    f'B{int(x[1:]):02d}' if x[1:].isdigit() else x
    for x in pixel_transforms.BANDS
  ]
  turned = dated(MONTHS, names=names).isel(band=slice(None, None, -1))
  extra = xarray.concat(
    [turned, turned[:, :1].assign_coords(band=['B09'])], 'band'
  )
  near(model().encode(turned), model().encode(year()[0]))
  near(model().encode(extra), model().encode(year()[0]))


def test_missing_bands_are_named_or_nan():
  incomplete = dated(MONTHS).drop_sel(band='B8A')
  with pytest.raises(ValueError, match='lacks the bands B8A; it has B2, .*NaN'):
    model().encode(incomplete)
  values = year()[0].copy()
  values[:, 7] = np.nan
  near(
    model().encode(incomplete.reindex(band=list(pixel_transforms.BANDS))),
    model().encode(values),
  )


def test_months_are_placed_by_their_dates():
  dates = np.array(MONTHS, 'datetime64[M]') + np.where(
    np.arange(12) < 10, 12, 0
  )  # November to October.
  order = np.argsort(dates)
  array = dated(dates).isel(time=order)
  valid = np.arange(12) != 4
  near(model().encode(array), model().encode(year()[0]))
  near(
    model().encode(array, valid[order], setting='quarterly'),
    model().encode(year()[0], valid, setting='quarterly'),
  )


def test_other_dates_are_days_of_the_year():
  dates = np.datetime64('2018-01-16') + np.arange(0, 360, 30)
  dates[0] += np.timedelta64(20, 'D')  # Two of February, none of January.
  result = model().encode(dated(dates))
  near(
    result, model().encode(year()[0], days=np.array([36, *range(46, 376, 30)]))
  )
  assert np.abs(result - model().encode(year()[0])).max() > 1e-4
  with pytest.raises(ValueError, match="setting='quarterly' is made of"):
    model().encode(dated(dates), setting='quarterly')


def test_bad_pixels_are_errors():
  with pytest.raises(ValueError, match=r'pixels is \(12, 10\); expected'):
    model().encode(year()[0, :, :, 0, 0])
  with pytest.raises(ValueError, match='reflectance x 10,000'):
    model().encode(year() / 1e4)
  with pytest.raises(ValueError, match='has 9 bands'):
    model().encode(year()[:, :, :9])


@pytest.mark.parametrize(
  'times',
  [
    [f'2020-{month:02d}-15' for month in range(12, 0, -1)],
    [int(f'2020{month:02d}15') for month in range(12, 0, -1)],
    list(range(12, 0, -1)),
  ],
  ids=['text', 'integers', 'months'],
)
def test_months_are_ordered_by_dates_in_every_spelling(times):
  array = xarray.DataArray(
    year()[:, ::-1],
    dims=('place', 'time', 'band', 'y', 'x'),
    coords={'time': times},
  )
  near(model().encode(array), model().encode(year()))


def test_quarters_are_ordered_and_other_numbers_refused():
  months = [f'2020-{month:02d}-01' for month in (10, 7, 4, 1)]
  quarters = xarray.DataArray(
    year()[:, 9::-3],
    dims=('place', 'time', 'band', 'y', 'x'),
    coords={'time': np.array(months, 'M8[ns]')},
  )
  near(model().encode(quarters), model().encode(year()[:, 0::3]))
  for times in ([3, 1, 2, 0], ['a', 'b', 'c', 'd']):
    with pytest.raises(ValueError, match="The coordinate 'time' holds"):
      model().encode(quarters.assign_coords(time=times))


def test_what_is_no_reflectance_is_refused_or_warned_about(caplog):
  with pytest.raises(ValueError, match='pixels is 0 in every pixel and band'):
    model().encode(0 * year())
  rng = np.random.default_rng(0)
  leaves = np.array([300, 600, 400, 900, 3000, 3800, 4000, 4200, 2000, 900])
  places = leaves[:, None, None] * rng.uniform(0.8, 1.2, (100, 12, 1, 1, 1))
  model().encode(places)
  assert not caplog.messages
  model().encode(places[:, :, ::-1])
  assert 'Perhaps the bands do not stand in the order B2, B3' in caplog.text
  caplog.clear()
  model().encode(places + 1000)
  assert 'carries the offset' in caplog.text and 'subtract 1000' in caplog.text


def test_integers_of_xarray_are_read_as_in_maps():
  values = np.nan_to_num(year()[0]).astype('uint16')
  values[2] = 0  # No data, as in the products themselves.
  expected = np.where(values == 0, np.nan, values)
  near(model().encode(dated(MONTHS, values)), model().encode(expected))
  scaled = dated(MONTHS, values + np.uint16(1000) * (values > 0))
  scaled.attrs.update(scale_factor=1e-4, add_offset=-0.1)
  near(model().encode(scaled), model().encode(expected))
