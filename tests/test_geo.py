import numpy as np
import pytest

from fusion_jax import geo

GLOBE = np.arange(90, -90.1, -2.5), np.arange(0, 360, 2.5)
REGION = np.arange(41, 51.1, 0.5), np.arange(355, 369.1, 0.5) % 360


def field(lats, lons):
  """A field [Y, X] that bilinear weights reproduce away from the seam."""
  return np.asarray(lats)[:, None] * 3 + np.asarray(lons)[None]


def at(grid, values, lat, lon, alignment):
  cells = grid.cells(np.atleast_1d(lat), np.atleast_1d(lon), alignment)
  return geo.interpolate(values.ravel(), *cells)


def brute_force(lats, lons, values, lat, lon):
  """Bilinear by trying every cell of the grid, one place at a time."""
  for i in range(len(lats) - 1):
    for j in range(len(lons)):
      south, north = sorted([lats[i], lats[i + 1]])
      width = (lons[(j + 1) % len(lons)] - lons[j]) % 360
      east = (lon - lons[j]) % 360
      if south <= lat <= north and east <= width:
        v = (lat - lats[i]) / (lats[i + 1] - lats[i])
        u = east / width
        right = (j + 1) % len(lons)
        return (1 - v) * ((1 - u) * values[i, j] + u * values[i, right]) + v * (
          (1 - u) * values[i + 1, j] + u * values[i + 1, right]
        )
  raise AssertionError('no cell found')


@pytest.mark.parametrize('flip_lat', [False, True])
@pytest.mark.parametrize('shift', [0, 180, -180])
def test_bilinear_equals_brute_force(flip_lat, shift):
  rng = np.random.default_rng(0)
  lats, lons = GLOBE[0][:: -1 if flip_lat else 1], GLOBE[1] - shift
  values = rng.normal(size=(len(lats), len(lons)))
  lat, lon = rng.uniform(-90, 90, 25), rng.uniform(-180, 180, 25)
  ours = at(geo.Grid(lats, lons), values, lat, lon, 'bilinear')
  theirs = [brute_force(lats, lons, values, y, x) for y, x in zip(lat, lon)]
  np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize('flip_lat', [False, True])
def test_nearest_equals_brute_force(flip_lat):
  rng = np.random.default_rng(1)
  lats, lons = GLOBE[0][:: -1 if flip_lat else 1], GLOBE[1]
  values = rng.normal(size=(len(lats), len(lons)))
  lat, lon = rng.uniform(-90, 90, 50), rng.uniform(-180, 180, 50)
  row = np.abs(lats[None] - lat[:, None]).argmin(1)
  col = np.abs(geo.wrap_longitude(lons[None] - lon[:, None])).argmin(1)
  np.testing.assert_array_equal(
    at(geo.Grid(lats, lons), values, lat, lon, 'nearest'), values[row, col]
  )


def test_grid_closes_between_its_last_and_first_column():
  grid = geo.Grid(GLOBE[0], np.arange(0, 360, 0.25))
  values = np.zeros((len(GLOBE[0]), 1440))
  values[:, 0], values[:, -1] = 10, 20  # 0 and 359.75 degrees.
  np.testing.assert_allclose(
    at(grid, values, [0, 0, 0], [-0.125, 359.875, -0.0625], 'bilinear'),
    [15, 15, 12.5],
  )
  np.testing.assert_allclose(at(grid, values, 0, -0.1, 'nearest'), [10])


def test_grid_that_repeats_its_first_column_is_closed_too():
  lons = np.arange(0, 360.1, 2.5)
  values = np.cos(np.radians(lons))[None] * np.ones((len(GLOBE[0]), 1))
  result = at(geo.Grid(GLOBE[0], lons), values, 3, -1.25, 'bilinear')
  np.testing.assert_allclose(result, values[0, [0, -2]].mean(), rtol=1e-12)


def test_date_line_is_no_seam():
  lons = np.arange(-180, 180, 2.5)
  values = np.zeros((len(GLOBE[0]), len(lons)))
  values[:, 0], values[:, -1] = 4, 8  # -180 and 177.5.
  np.testing.assert_allclose(
    at(
      geo.Grid(GLOBE[0], lons), values, [10, 10], [178.75, -181.25], 'bilinear'
    ),
    [6, 6],
  )


def test_regional_grid_across_greenwich():
  values = field(REGION[0], np.arange(-5, 9.1, 0.5))
  grid = geo.Grid(*REGION)
  lat, lon = np.array([45.2, 41.3, 50.9]), np.array([-0.3, -4.9, 8.8])
  np.testing.assert_allclose(
    at(grid, values, lat, lon, 'bilinear'), lat * 3 + lon, rtol=1e-12
  )


@pytest.mark.parametrize('alignment', ['nearest', 'bilinear'])
@pytest.mark.parametrize('place', [(45, 12), (45, -7), (39, 0), (53, 0)])
def test_place_outside_a_regional_grid_raises(alignment, place):
  grid = geo.Grid(*REGION)
  lat, lon = np.array([45.0, place[0]]), np.array([0.0, place[1]])
  with pytest.raises(geo.OutsideGridError, match='1 of 2 places.*region.grib'):
    geo.check_inside({'region.grib': grid}, lat, lon, alignment)


def test_nearest_reaches_half_a_cell_beyond_the_edge_and_bilinear_does_not():
  grid = geo.Grid(*REGION)
  for alignment, inside in (('nearest', True), ('bilinear', False)):
    _, weights = grid.cells(
      np.array([51.2, 50.8]), np.array([9.2, -5.2]), alignment
    )
    assert np.isfinite(weights).all(-1).tolist() == [inside, inside]


def test_a_single_cell_reaches_half_a_degree_to_every_side():
  grid = geo.Grid(np.array([10.0]), np.array([20.0]))
  lat, lon = np.array(
    [
      [10.4, 9.6, 10, 10, 11.2, 8.8, 10, 10],
      [20, 20, 20.4, 19.6, 20, 20, 21.2, 18.8],
    ]
  )
  _, weights = grid.cells(lat, lon)
  assert np.isfinite(weights[:, 0]).tolist() == [True] * 4 + [False] * 4


def test_columns_may_run_westwards():
  lons = np.arange(20.0, 10.0, -0.5)
  values = field(REGION[0], lons)
  np.testing.assert_allclose(
    at(geo.Grid(REGION[0], lons), values, [45.1], [17.3], 'bilinear'),
    [45.1 * 3 + 17.3],
    rtol=1e-12,
  )


def test_poles_belong_to_the_rows_around_them():
  lats = np.arange(-88.75, 89, 2.5)
  values = field(lats, GLOBE[1]) * 0 + lats[:, None]
  np.testing.assert_allclose(
    at(geo.Grid(lats, GLOBE[1]), values, [90, -90], [0, 0], 'bilinear'),
    [88.75, -88.75],
  )


def test_missing_cell_counts_only_if_it_has_weight():
  grid = geo.Grid(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
  values = np.array([[1.0, np.nan], [3.0, 4.0]])
  result = at(grid, values, [0.5, 0.5], [0, 0.5], 'bilinear')
  np.testing.assert_array_equal(result, [2, np.nan])


def test_station_is_the_nearest_one_within_reach():
  points = geo.Points(np.array([44.6, 45.5]), np.array([-63.6, -73.6]))
  index, weights = points.cells(np.array([45.4, 48.0]), np.array([286.5, 2.0]))
  assert index[0, 0] == 1 and weights[0, 0] == 1
  assert np.isnan(weights[1, 0])


def test_longitudes_wrap_into_half_open_range():
  np.testing.assert_allclose(
    geo.wrap_longitude([180, -180, 359.75, 540, 0]),
    [-180, -180, -0.25, -180, 0],
  )
