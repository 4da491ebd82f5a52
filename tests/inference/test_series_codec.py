"""A series tokenizer in use: what its ids mean, and what is refused."""

import numpy as np
import pytest
import xarray as xr

from fusion_jax import modalities
from fusion_jax.inference import series_inputs
from tests import trained_series


@pytest.fixture(scope='module')
def codec():
  return trained_series.make_codec(('t2m_hourly', 'tp_hourly'))


def test_a_dry_hour_is_0_mm_but_no_temperature(codec):
  ids = codec.encode(np.full((2, 60), 280.0), 't2m_hourly')
  ids[1, 3:5] = modalities.ZERO
  rain, kelvin = (
    codec.decode(ids, name) for name in ('tp_hourly', 't2m_hourly')
  )
  np.testing.assert_array_equal(rain[1, 3:5], 0)
  assert np.isnan(kelvin[1, 3:5]).all() and np.isfinite(kelvin[0]).all()
  assert np.isfinite(rain).all() and (rain[0] != 0).all()


def test_ids_are_integers(codec):
  with pytest.raises(ValueError, match='are float64, not integers'):
    codec.decode(np.full(60, 206.0), 't2m_hourly')


def test_no_series_have_no_ids(codec):
  ids = codec.encode(np.zeros((0, 3, 60)), 'tp_hourly')
  assert ids.shape == (0, 3, 60) and ids.dtype == np.int32
  assert codec.decode(ids, 'tp_hourly').shape == (0, 3, 60)


KELVIN = 280 + np.random.default_rng(0).normal(size=(3, 60))
RAIN = np.maximum(np.random.default_rng(1).normal(size=(3, 60)), 0)


@pytest.mark.parametrize(
  'name, values, unit, message',
  [
    (
      't2m_hourly',
      KELVIN - 273.15,
      'degC',
      r"at \[0, 0\] .100.0% .* like degrees Celsius. Pass unit='degC', or",
    ),
    (
      't2m_hourly',
      (KELVIN - 273.15) * 9 / 5 + 32,
      'degF',
      "outside 150 .. 350 K.* unit='degF'",
    ),
    ('tp_hourly', RAIN / 1000, 'm', "are these metres.*or unit='m'"),
  ],
)
def test_series_in_another_unit_are_refused_and_read_when_it_is_said(
  codec, name, values, unit, message
):
  expected = codec.encode(KELVIN if name == 't2m_hourly' else RAIN, name)
  with pytest.raises(ValueError, match=f'{name}.*{message}'):
    codec.encode(values, name)
  np.testing.assert_array_equal(codec.encode(values, name, unit=unit), expected)
  array = xr.DataArray(values.T, dims=('lead', 'place'), attrs={'units': unit})
  np.testing.assert_array_equal(codec.encode(array, name), expected)


def test_values_that_no_unit_explains_are_shown(codec):
  values = KELVIN.copy()
  values[1, 7] = -9999
  with pytest.raises(ValueError, match=r'-9999.00 at \[1, 7\] .0.6% .*NaN'):
    codec.encode(values, 't2m_hourly')
  rain = RAIN.copy()
  rain[2, 5] = -1
  with pytest.raises(
    ValueError, match=r'-1 mm at \[2, 5\] .* no amount is neg'
  ):
    codec.encode(rain, 'tp_hourly')
  with pytest.raises(ValueError, match='293.15|553.*outside 150'):
    codec.encode(KELVIN, 't2m_hourly', unit='degC')
  with pytest.raises(ValueError, match="cannot have the unit 'C/h'; give one"):
    codec.encode(KELVIN, 't2m_hourly', unit='C/h')


def test_traces_of_rain_are_read_when_their_unit_is_said(codec):
  ids = codec.encode(RAIN / 1000, 'tp_hourly', unit='mm')
  assert ids.shape[0] == 3
  codec.encode(np.zeros(60), 'tp_hourly')  # It is dry.
  codec.encode(np.full(60, np.nan), 'tp_hourly')


@pytest.mark.parametrize(
  'name, values, message, mended',
  [
    ('t2m_hourly', KELVIN - 273.15, 'Add 273.15', lambda x: x + 273.15),
    ('tp_hourly', RAIN / 1000, 'multiply them by 1000', lambda x: x * 1000),
  ],
)
def test_advice_to_callers_without_a_unit_is_right(
  name, values, message, mended
):
  with pytest.raises(ValueError, match=message):
    series_inputs.read(values, name)
  expected = KELVIN if name == 't2m_hourly' else RAIN
  result = series_inputs.read(mended(values), name)
  np.testing.assert_allclose(result, expected)


@pytest.mark.parametrize('number', [1, 9])
@pytest.mark.parametrize(
  'name, steps, amount', [('tp_hourly', 7, 0.02), ('tp_sum_daily', 5, 0.15)]
)
def test_drizzle_is_rain_of_a_dry_place(name, steps, amount, number, caplog):
  values = np.zeros((number, 60 if name == 'tp_hourly' else 40))
  values[:, 3 : 3 + steps] = amount
  np.testing.assert_array_equal(series_inputs.read(values, name), values)
  assert not caplog.text


def test_a_trace_of_one_series_is_asked_for_and_kept(caplog):
  values = RAIN[0] / 1000
  np.testing.assert_array_equal(series_inputs.read(values, 'tp_hourly'), values)
  assert 'or are these metres? If they are mm, pass an xarray' in caplog.text
