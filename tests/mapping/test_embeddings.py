import json

import numpy as np
import pytest
import xarray as xr
from pyarrow import parquet

from fusion_jax.mapping import classify, embeddings, open_cube, scene
from tests.mapping import cubes


@pytest.fixture(name='made', scope='module', params=['.zarr', '.parquet'])
def _made(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp('map')
  path = cubes.write_netcdf(folder / 'cube.nc', cubes.values())
  out = folder / f'vectors{request.param}'
  scene.write_map(
    open_cube.open_cube([path]),
    classify.Classifier(cubes.model(), cubes.classes(), batch_size=4),
    folder / 'map.tif',
    embeddings=out,
    block=4,
  )
  return out


def test_embeddings_are_those_of_the_model(made):
  lon, lat, vectors = (np.concatenate(x) for x in zip(*embeddings.read(made)))
  images = cubes.months(cubes.values()).transpose(2, 3, 0, 1)
  expected = cubes.model().encode(images.reshape(-1, 12, 10, 1, 1))
  rows, columns = (x.ravel() for x in np.indices(cubes.SHAPE))
  wanted_lon, wanted_lat = embeddings.centres(
    cubes.TRANSFORM, cubes.CRS, rows, columns
  )
  assert len(vectors) == len(expected) - 1  # The empty pixel has none.
  for i in range(len(vectors)):
    at = np.argmin(abs(wanted_lon - lon[i]) + abs(wanted_lat - lat[i]))
    np.testing.assert_allclose(vectors[i], expected[at], atol=1 / 250)
  assert abs(lat.mean() - 50.63) < 0.1 and abs(lon.mean() - 5.32) < 0.1


def test_embeddings_open_in_other_libraries(made):
  if made.suffix == '.zarr':
    data = xr.open_zarr(made, consolidated=False, mask_and_scale=False)
    assert data.embedding.dims == ('y', 'x', 'feature')
    assert data.embedding.dtype == np.int8
    assert data.y[0] > data.y[-1]
    assert (data.scale[0, 0] == 0) and (data.scale > 0).sum() == 62
  else:
    geo = json.loads(parquet.read_schema(made).metadata[b'geo'])
    assert geo['columns']['geometry']['geometry_types'] == ['Point']
    table = parquet.read_table(made)
    lon, lat = np.frombuffer(table['geometry'][0].as_py()[5:], '<f8')
    assert (lon, lat) == (table['lon'][0].as_py(), table['lat'][0].as_py())


def test_another_ending_raises():
  with pytest.raises(ValueError, match='.zarr or .parquet'):
    embeddings.check_path('vectors.csv')
