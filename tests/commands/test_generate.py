"""A user's own scene becomes a series as CSV, NetCDF and a plot."""

import csv

import numpy as np
import pytest
import rasterio
import xarray

from fusion_jax import modalities
from fusion_jax.commands import app
from fusion_jax.data.sources import geotiff
from fusion_jax.mapping import scene_series
from tests import trained


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  trained.write_workdir(workdir)
  return workdir


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
  path = tmp_path_factory.mktemp('scenes') / 'field.tif'
  pixels = np.random.default_rng(0).integers(0, 8_000, (12, 70, 100))
  with rasterio.open(
    path,
    'w',
    driver='GTiff',
    count=12,
    height=70,
    width=100,
    dtype='int16',
    crs='EPSG:32633',
    transform=rasterio.Affine(10, 0, 500_000, 0, -10, 5e6),
  ) as raster:
    raster.write(pixels.astype(np.int16))
    raster.update_tags(datetime='2020-04-08T14:37:29')
  return path


def run(workdir, scene, out, *more):
  app.main(
    ['generate', '--checkpoint', workdir, '--inputs', scene, '--out', out]
    + ['--num_samples', '6', *more]
  )


def test_a_scene_gives_csv_netcdf_and_plot(workdir, scene, tmp_path):
  run(workdir, scene, tmp_path)
  with (tmp_path / 'field_t2m_hourly.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [int(row['lead']) for row in rows] == list(modalities.HOURLY_LEADS)
  assert rows[47]['time_utc'] == '2020-04-08T15:00:00Z'  # 14:37 is nearer 15.
  for row in rows:
    low, *middle, high = (
      float(row[f'q{q}']) for q in ('05', '25', '50', '75', '95')
    )
    assert 250 <= low <= min(middle) <= max(middle) <= high <= 310
    assert low <= float(row['mean']) <= high
  with xarray.open_dataset(
    tmp_path / 'field_t2m_hourly.nc', engine='h5netcdf'
  ) as dataset:
    assert dataset['t2m_hourly'].shape == (6, 60)
    assert dataset['t2m_hourly'].attrs['units'] == 'K'
    np.testing.assert_allclose(
      dataset['t2m_hourly_mean'],
      [float(row['mean']) for row in rows],
      atol=1e-3,
    )
    assert dataset.attrs['latitude'] == pytest.approx(45.15, abs=0.1)
    simulated = 'trained on the simulated Earth (no measured data)'
    assert dataset.attrs['trained_on'].startswith(simulated)
    assert rows[0]['model'] == dataset.attrs['trained_on']
  assert (tmp_path / 'field_t2m_hourly.png').stat().st_size > 10_000


def test_scenes_of_one_name_would_overwrite_each_other(
  workdir, tmp_path, capsys
):
  with pytest.raises(SystemExit):
    run(workdir, 'a/scene.tif', tmp_path, '--inputs', 'a/b.tif', 'b/b.tif')
  assert 'same name' in capsys.readouterr().err


class Recorder:
  """Stands in for a model; keeps what it was asked."""

  image_size = 32
  trained_on = 'trained on nothing'
  modalities = tuple(modalities.MODALITIES.values())

  def generate(self, inputs, target, *, num_samples, **settings):
    self.inputs, self.settings = inputs, settings
    return np.zeros((len(inputs['S2L2A']), num_samples, 60))


def test_the_centre_or_all_tiles_are_used(scene):
  field = geotiff.read_scene(scene)
  centre = scene_series.generate_series(Recorder(), field, num_samples=3)
  assert centre.samples.shape == (3, 60)
  assert centre.picture.shape == (32, 32, 3)
  tiles = scene_series.generate_series(
    Recorder(), field, num_samples=12, tiles=True
  )
  assert tiles.samples.shape == (12, 60)  # 2 x 3 tiles, two samples each.
  assert tiles.picture.shape == (64, 96, 3)


def test_the_place_is_shown_only_if_asked_for(scene):
  model, field = Recorder(), geotiff.read_scene(scene)
  scene_series.generate_series(model, field)
  assert model.inputs.keys() == {'S2L2A'}
  scene_series.generate_series(
    model, field, with_place=True, temperature=0.5, seed=4
  )
  assert model.inputs['lat'] == pytest.approx(field.lat)
  assert model.settings['temperature'] == 0.5 and model.settings['seed'] == 4


def test_tiles_lie_around_the_centre():
  image = np.arange(5 * 7).reshape(5, 7, 1)
  assert scene_series.cut(image, 2).ravel().tolist() == [9, 10, 16, 17]
  tiles = scene_series.cut(image, 2, tiles=True)
  assert tiles.shape == (6, 2, 2, 1)
  assert tiles[0].ravel().tolist() == [0, 1, 7, 8]


def test_daily_leads_are_days():
  time = scene_series.valid_time(
    modalities.MODALITIES['tp_sum_daily'], 1_586_356_649
  )
  assert str(time[29]) == '2020-04-08T00:00:00'
  assert str(time[0]) == '2020-03-10T00:00:00'


def test_too_small_a_scene_raises():
  with pytest.raises(ValueError, match='10 x 40 pixels, but .* 32 x 32'):
    scene_series.cut(np.zeros((10, 40, 12)), 32)


def test_a_target_that_is_no_series_raises(scene):
  with pytest.raises(ValueError, match='no weather series'):
    scene_series.generate_series(
      Recorder(), geotiff.read_scene(scene), 'coords'
    )


def test_a_time_that_is_none_is_refused(scene):
  with pytest.raises(ValueError, match="'soon' is no time in UTC such as"):
    geotiff.read_scene(scene, time='soon')
