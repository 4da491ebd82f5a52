"""Maps read at LUCAS points."""

import json

import numpy as np
import pytest

rasterio = pytest.importorskip('rasterio')

from fusion_jax.data import labels, lucas_grid
from fusion_jax.data.sources import region_maps

POINT = 40683280


def square(west, south, side=4000, crs='EPSG:3035'):
  """A ring of metres around a corner, or of the same place in degrees."""
  ring = np.array([[0, 0], [side, 0], [side, side], [0, side], [0, 0]])
  ring = ring + [west, south]
  if crs == 'EPSG:4326':
    lat, lon = lucas_grid.inverse(
      ring[:, 0].astype(float), ring[:, 1].astype(float)
    )
    ring = np.stack([lon, lat], axis=1)
  return {'type': 'Polygon', 'coordinates': [ring.tolist()]}


def geojson(path, features, crs=''):
  collection = {
    'type': 'FeatureCollection',
    'features': [
      {'type': 'Feature', 'geometry': shape, 'properties': properties}
      for shape, properties in features
    ],
  }
  if crs:
    collection['crs'] = {'type': 'name', 'properties': {'name': crs}}
  path.write_text(json.dumps(collection))
  return path


@pytest.mark.parametrize('crs', ['EPSG:3035', 'EPSG:4326'])
def test_points_are_found_in_the_polygons_they_lie_in(tmp_path, crs):
  name = '' if crs == 'EPSG:4326' else 'urn:ogc:def:crs:EPSG::3035'
  path = geojson(
    tmp_path / 'regions.geojson',
    [
      (square(4_067_500, 3_279_500, crs=crs), {'short_name': 'atlantic'}),
      (
        square(4_080_500, 3_279_500, crs=crs),
        {'short_name': 'xyz', 'name': 'Black Sea'},
      ),
    ],
    name,
  )
  regions = region_maps.read(path, 'bioregion')
  result = regions([POINT, 40713283, 40723280, 40813280, 10002000])
  names = [labels.classes('bioregion')[i] if i >= 0 else '' for i in result]
  assert names == ['Atlantic', 'Atlantic', '', 'BlackSea', '']


@pytest.mark.parametrize(
  ('west', 'south', 'inside'),
  [
    (-50, -50, True),
    (-50, 10, False),
    (10, -50, False),
    (-50, -110, False),
    (-110, -50, False),
  ],
)
def test_point_is_in_a_polygon_of_100_m_or_not(tmp_path, west, south, inside):
  path = geojson(
    tmp_path / 'a.geojson',
    [(square(4_068_000 + west, 3_280_000 + south, 100), {'name': 'Atlantic'})],
    'EPSG:3035',
  )
  assert (region_maps.read(path, 'bioregion')([POINT])[0] >= 0) == inside


def test_polygons_without_a_class_raise(tmp_path):
  path = geojson(
    tmp_path / 'a.geojson',
    [(square(4_067_500, 3_279_500), {'name': 'Atlantis'})],
    'EPSG:3035',
  )
  with pytest.raises(ValueError, match="'Atlantis'} names no class of bioreg"):
    region_maps.read(path, 'bioregion')
  (tmp_path / 'b.geojson').write_text('{"type": "Point"}')
  with pytest.raises(ValueError, match='b.geojson is no GeoJSON of features'):
    region_maps.read(tmp_path / 'b.geojson', 'bioregion')


def test_polygons_that_are_none_or_nowhere(tmp_path):
  path, name = tmp_path / 'a.geojson', {'name': 'Atlantic'}
  shape = square(4_067_500, 3_279_500)
  for features in [], [(None, name)]:
    with pytest.raises(ValueError, match='a.geojson has no polygon'):
      region_maps.read(geojson(path, features), 'bioregion')
  with pytest.raises(ValueError, match='a.geojson .* 4.07.*e.06.* its `crs`'):
    region_maps.read(geojson(path, [(shape, name)]), 'bioregion')
  geojson(
    path, [(square(4_067_500, 3_279_500, crs='EPSG:4326'), name), (None, {})]
  )
  text = path.read_text().replace(
    '{"type": "FeatureC', '{"crs": null, "type": "FeatureC'
  )
  path.write_text(text)
  assert region_maps.read(path, 'bioregion')([POINT])[0] == 3


def raster(path, values, crs='EPSG:3035'):
  """Pixels of 100 m whose upper left corner is 50 m off a LUCAS point."""
  with rasterio.open(
    path,
    'w',
    driver='GTiff',
    height=values.shape[0],
    width=values.shape[1],
    count=1,
    dtype=values.dtype,
    crs=crs,
    nodata=255,
    transform=rasterio.Affine(100, 0, 4_067_950, 0, -100, 3_280_050),
  ) as file:
    file.write(values, 1)
  return path


def test_raster_is_read_at_the_point_by_table_or_by_index(tmp_path):
  values = np.full((20, 30), 7, np.uint8)
  values[0, 0], values[10, 20] = 3, 255
  path = raster(tmp_path / 'eunis.tif', values)
  points = [POINT, 40693280, 40703279, 50003000]
  assert region_maps.read(path, 'eunis')(points).tolist() == [3, 7, -1, -1]
  table = tmp_path / 'table.csv'
  table.write_text('value,name\n3,Coniferous woodland\n')
  assert region_maps.read(path, 'eunis', table)(points).tolist() == [
    4,
    -1,
    -1,
    -1,
  ]


def test_value_that_is_no_index_raises_without_a_table(tmp_path):
  path = raster(tmp_path / 'eunis.tif', np.full((2, 2), 107, np.uint8))
  with pytest.raises(
    ValueError, match='eunis.tif has the value 107, .*0 to 43.*--eunis-table'
  ):
    region_maps.read(path, 'eunis')([POINT])


def test_no_map_raises(tmp_path):
  (tmp_path / 'a.tif').write_bytes(b'no')
  with pytest.raises(
    ValueError, match='a.tif cannot be read as a raster.*are read as .geojson'
  ):
    region_maps.read(tmp_path / 'a.tif', 'eunis')
  path = raster(tmp_path / 'b.tif', np.zeros((2, 2), np.uint8), crs=None)
  with pytest.raises(ValueError, match='b.tif has no coordinate system'):
    region_maps.read(path, 'eunis')
  path = raster(tmp_path / 'c.tif', np.zeros((2, 2), np.uint8))
  (tmp_path / 't.csv').write_text('number,class\n3,Coniferous woodland\n')
  with pytest.raises(ValueError, match='expected value and name'):
    region_maps.read(path, 'eunis', tmp_path / 't.csv')


def test_degrees_with_exchanged_axes_raise(tmp_path):
  shape = square(4_067_500, 3_279_500, crs='EPSG:4326')
  ring = [[lat, lon] for lon, lat in shape['coordinates'][0]]
  shape['coordinates'] = [ring]
  path = geojson(tmp_path / 'a.geojson', [(shape, {'short_name': 'atlantic'})])
  with pytest.raises(
    ValueError, match='a.geojson: 1 of 1 polygons .*exchanged'
  ):
    region_maps.read(path, 'bioregion')


def test_metres_with_the_northing_first_raise(tmp_path, caplog):
  rng = np.random.default_rng(0)
  east, north = rng.integers(3200, 5200, 300), rng.integers(1900, 3400, 300)
  points = east * 10_000 + north
  name = {'short_name': 'atlantic'}
  europe = square(3_000_000, 1_700_000, 1)
  ring = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
  ring = ring * [2.4e6, 1.9e6] + [3e6, 1.7e6]
  for turn in (1, -1):
    europe['coordinates'] = [ring[:, ::turn].tolist()]
    path = geojson(tmp_path / 'a.geojson', [(europe, name)], 'EPSG:3035')
    regions = region_maps.read(path, 'bioregion')
    if turn == 1:
      assert (regions(points) == 3).all()
      continue
    assert (regions.classes_at(points) == 3).any()  # It is a guess otherwise.
    with pytest.raises(ValueError, match='of 300 points, and 300 with easting'):
      regions(points)
  part = geojson(
    tmp_path / 'b.geojson', [(square(4e6, 2e6, 1e4), name)], 'EPSG:3035'
  )
  classes = region_maps.read(part, 'bioregion')(points)
  assert (classes < 0).all()
  assert 'b.geojson has no class at any of 300 points' in caplog.text


def test_points_on_corners_of_pixels_have_the_class_to_the_right_and_below(
  tmp_path,
):
  rng = np.random.default_rng(0)
  for east, north in rng.integers([2700, 1700], [6300, 5200], (50, 2)):
    path = tmp_path / f'{east}{north}.tif'
    with rasterio.open(
      path,
      'w',
      driver='GTiff',
      count=1,
      height=2,
      width=2,
      dtype='uint8',
      crs='EPSG:3035',
      transform=rasterio.Affine(
        100, 0, 1000.0 * east - 100, 0, -100, 1000.0 * north + 100
      ),
    ) as file:
      file.write(np.array([[[0, 1], [2, 3]]], 'uint8'))
    point = int(east) * 10_000 + int(north)
    assert region_maps.read(path, 'eunis')([point]) == 3


def test_a_picture_of_a_map_is_no_map(tmp_path):
  path = tmp_path / 'picture.tif'
  with rasterio.open(
    path,
    'w',
    driver='GTiff',
    count=3,
    height=4,
    width=4,
    dtype='uint8',
    crs='EPSG:3035',
    transform=rasterio.Affine(100, 0, 4e6, 0, -100, 3e6),
  ) as file:
    file.write(np.ones((3, 4, 4), 'uint8'))
  with pytest.raises(ValueError, match='picture.tif has 3 bands'):
    region_maps.read(path, 'eunis')


def test_a_map_that_lies_nowhere_is_named(tmp_path):
  with rasterio.open(
    tmp_path / 'a.tif',
    'w',
    driver='GTiff',
    width=2,
    height=2,
    count=1,
    dtype='uint8',
    crs=rasterio.CRS.from_wkt('LOCAL_CS["of a site",UNIT["metre",1]]'),
    transform=rasterio.Affine(10, 0, 0, 0, -10, 0),
  ) as file:
    file.write(np.zeros((1, 2, 2), np.uint8))
  with pytest.raises(ValueError, match='a.tif .*set its coordinate system'):
    region_maps.read(tmp_path / 'a.tif', 'eunis')([40683280])
