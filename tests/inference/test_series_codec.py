"""A series tokenizer in use: what its ids mean, and what is refused."""

import numpy as np
import pytest

from fusion_jax import modalities
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
