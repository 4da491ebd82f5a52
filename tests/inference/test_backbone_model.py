"""A loaded model works on plain arrays and xarray objects alike."""

import subprocess
import sys

import numpy as np
import pytest
import xarray

import fusion_jax
from fusion_jax import modalities
from fusion_jax.train import checkpoint
from tests import trained


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  trained.write_workdir(workdir)
  return fusion_jax.load(workdir)


@pytest.fixture(scope='module')
def images():
  rng = np.random.default_rng(0)
  return (2_000 + 1_000 * rng.normal(size=(2, 40, 40, 12))).astype(np.int16)


def test_a_model_carries_config_tokenizers_and_statistics(model):
  assert model.config.image_size == model.image_size == 32
  assert model.quantizers.keys() == {'t2m_hourly', 'tp_sum_daily'}
  assert model.tokenizer.decode(model.tokenizer.encode(10.1, -20.4)) == (
    10,
    -20.5,
  )
  assert 'series' in model.statistics


def test_samples_are_in_the_unit_of_the_series(model, images):
  samples = model.generate({'S2L2A': images}, 't2m_hourly', num_samples=3)
  assert samples.shape == (2, 3, 60)
  assert 250 <= samples.min() <= samples.max() <= 310
  rain = model.generate({'S2L2A': images}, 'tp_sum_daily', num_samples=3)
  assert rain.shape == (2, 3, 40) and rain.min() >= 0


def test_one_place_needs_no_leading_axis(model, images):
  one = model.generate({'S2L2A': images[0]}, num_samples=2, temperature=0)
  both = model.generate({'S2L2A': images}, num_samples=2, temperature=0)
  assert one.shape == (2, 60)
  np.testing.assert_array_equal(one[0], one[1])  # Temperature 0: greedy.
  np.testing.assert_array_equal(one, both[0])


def test_the_prediction_is_the_mean_of_the_samples(model, images):
  samples = model.generate({'S2L2A': images}, num_samples=4, seed=3)
  predicted = model.predict({'S2L2A': images}, num_samples=4, seed=3)
  np.testing.assert_allclose(predicted, samples.mean(1))


def test_only_the_centre_of_a_larger_image_is_seen(model, images):
  tokens = model.encode({'S2L2A': images})
  assert tokens.shape == (2, 4, 16)
  np.testing.assert_array_equal(
    tokens, model.encode({'S2L2A': images[:, 4:36, 4:36]})
  )


def test_place_and_series_can_be_conditions(model, images):
  place = {'lat': np.array([10.0, 50.0]), 'lon': np.array([20.0, -120.0])}
  assert model.encode(place).shape == (2, 3, 16)  # lat, lon, [EOS].
  series = {'t2m_hourly': np.full((2, 60), 280.0)}
  assert model.encode({'S2L2A': images, **place, **series}).shape == (
    2,
    4 + 3 + 61,
    16,
  )


def test_places_can_be_generated(model, images):
  places = model.generate({'S2L2A': images}, 'coords', num_samples=2)
  assert places.shape == (2, 2, 2)


def test_xarray_in_any_order_of_axes_gives_xarray(model, images):
  image = xarray.DataArray(images, dims=('place', 'y', 'x', 'band'))
  turned = xarray.Dataset({'S2L2A': image.transpose('place', 'band', 'y', 'x')})
  samples = model.generate(turned, num_samples=2, temperature=0)
  assert samples.dims == ('place', 'sample', 'lead')
  assert samples.attrs['units'] == 'K'
  np.testing.assert_array_equal(
    samples, model.generate({'S2L2A': images}, num_samples=2, temperature=0)
  )
  # Bands in another order are taken by their names.
  names = [f'{band}_10m' for band in modalities.S2L2A_BANDS]
  named = turned.assign_coords(band=names).isel(band=slice(None, None, -1))
  np.testing.assert_array_equal(
    samples, model.generate(named, num_samples=2, temperature=0)
  )
  with pytest.raises(ValueError, match='S2L2A lacks the bands B01; it has B12'):
    model.encode({'S2L2A': named.S2L2A.isel(band=slice(0, 11))})
  at_acquisition = model.predict(turned, num_samples=2).sel(lead=0)
  assert at_acquisition.dims == ('place',)


@pytest.mark.parametrize(
  'inputs, message',
  [
    ({'S2L2A': np.ones((40, 40, 13))}, 'with the bands B01'),
    ({'S2L2A': np.ones((20, 20, 12))}, 'at least 32'),
    ({'S1GRD': np.zeros((32, 32, 2))}, 'cannot see'),
    (
      {'t2m_hourly': np.zeros((2, 40))},
      't2m_hourly has 60 time steps; .* .2, 40.',
    ),
    ({'t2m_hourly': np.full((2, 60), 7.0)}, 'degrees Celsius. Add 273.15'),
    ({'lat': 148.0, 'lon': -35.0}, r'lat=148.0 .* within .-90, 90'),
    ({'lat': 1.0}, 'Nothing was given'),
    (
      {
        'S2L2A': np.ones((2, 32, 32, 12)),
        'lat': np.zeros(3),
        'lon': np.zeros(3),
      },
      'different numbers of places',
    ),
  ],
)
def test_wrong_inputs_raise(model, inputs, message):
  with pytest.raises(ValueError, match=message):
    model.generate(inputs)


def test_an_unknown_target_raises(model, images):
  with pytest.raises(ValueError, match="it can .*'t2m_hourly'"):
    model.generate({'S2L2A': images}, 'tp_hourly')


def test_no_samples_are_refused(model, images):
  with pytest.raises(ValueError, match='num_samples=0: give 1 sample or more'):
    model.generate({'S2L2A': images}, num_samples=0)


def test_a_folder_without_a_run_raises(tmp_path):
  with pytest.raises(checkpoint.CheckpointError, match='no checkpoint'):
    fusion_jax.load(tmp_path)


def test_importing_the_package_imports_no_jax():
  code = 'import sys, fusion_jax; assert "jax" not in sys.modules'
  subprocess.run([sys.executable, '-c', code], check=True)
