"""The simulated Earth in real file formats, read back by the real readers."""

import numpy as np
import pytest

pytest.importorskip('zarr')
pytest.importorskip('rasterio')
pytest.importorskip('h5netcdf')

from fusion_jax import simulation
from fusion_jax.data import examples
from fusion_jax.data.sources import gridded, terramesh
from fusion_jax.simulation import archive

COUNT = 12


@pytest.fixture(scope='module')
def earth():
  return simulation.SimulatedEarth(seed=2, image_size=32, splits={'val': COUNT})


@pytest.fixture(scope='module')
def folder(earth, tmp_path_factory):
  root = tmp_path_factory.mktemp('archive')
  archive.write_terramesh(earth, root / 'terramesh', 'val')
  return root


def test_terramesh_shards_give_back_the_example(earth, folder):
  source = terramesh.TerraMesh(str(folder / 'terramesh'))
  read = {
    example['key']: example
    for part in source.parts()['val']
    for example in source.read('val', part)
  }
  assert len(read) == COUNT
  assert {'S1GRD', 'S1RTC'} == {
    name for example in read.values() for name in example if 'S1' in name
  }
  for i in range(COUNT):
    expected = earth.example('val', i)
    result = read[expected['key']]
    assert result['time'] == expected['time']
    np.testing.assert_allclose(
      [result['lat'], result['lon']],
      [expected['lat'], expected['lon']],
      rtol=0,
      atol=1e-9,
    )
    for name in simulation.FIELDS:
      if not expected[name].size:
        assert name not in result
        continue
      stored = expected[name].astype(examples.IMAGE_TYPES[name])
      np.testing.assert_array_equal(result[name], stored, err_msg=name)


def test_gridded_weather_gives_back_the_series(earth, folder):
  keys = [('val', 5), ('val', 6)]
  path = folder / 'weather.nc'
  archive.write_weather(earth, path, keys)
  expected = [earth.example(*key) for key in keys]
  result = gridded.Weather((path,), 'bilinear').series(
    *(
      [example[name] for example in expected] for name in ('lat', 'lon', 'time')
    )
  )
  assert max(example['tp_hourly'].max() for example in expected) > 0
  for name in examples.SERIES:
    np.testing.assert_allclose(
      result[name],
      [example[name] for example in expected],
      rtol=1e-6,
      err_msg=name,
    )


def test_too_many_places_for_a_grid_raise(earth, tmp_path):
  with pytest.raises(ValueError, match='at most 32'):
    archive.write_weather(earth, tmp_path / 'weather.nc', [('val', 0)] * 33)
