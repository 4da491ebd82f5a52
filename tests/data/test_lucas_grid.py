"""A LUCAS identifier is a place."""

import numpy as np
import pytest

from fusion_jax.data import lucas_grid


def test_coordinates_agree_with_the_published_ones():
  lat, lon = lucas_grid.coordinates(
    ['40683280', '55082360', '30041976', '38863060']
  )
  np.testing.assert_allclose(
    lat, [52.5707323724, 43.297697324, 39.671052469, 50.487792576], atol=3e-6
  )
  np.testing.assert_allclose(
    lon, [6.2666913063, 24.694622029, -5.382264285, 3.862541317], atol=5e-6
  )


def test_coordinates_agree_with_proj():
  warp = pytest.importorskip('rasterio.warp')
  east = np.array([1000, 2500, 4321, 5000, 6500]) * 1000.0
  north = np.array([1000, 5400, 3210, 4000, 1600]) * 1000.0
  lon, lat = warp.transform('EPSG:3035', 'EPSG:4326', east, north)
  np.testing.assert_allclose(
    lucas_grid.inverse(east, north), [lat, lon], rtol=0, atol=1e-7
  )


def test_forward_undoes_inverse():
  ids = np.array([40683280, 43213210, 26541776, 51005300])
  np.testing.assert_array_equal(
    lucas_grid.identify(*lucas_grid.coordinates(ids)), ids
  )


@pytest.mark.parametrize('point', ['abc', 123, '4068328'])
def test_no_identifier_raises(point):
  with pytest.raises(ValueError, match='no LUCAS point; .* has eight digits'):
    lucas_grid.coordinates(point)
