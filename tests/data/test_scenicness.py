"""Files of rated prompts and of votes, real and simulated."""

import numpy as np
import pytest

from fusion_jax.data.sources import scenicness
from fusion_jax.simulation import pixels
from fusion_jax.simulation import scenicness as simulated

PROMPTS = """,user_index,have_been,confidence,values_in_order,prompts_in_order
0,3,,,8,a made-up lake
1,4,Yes,3.0,2,"a road, a lorry "
"""
VOTES = (
  'ID\tLat\tLon\tAverage\tVariance\tVotes\tGeograph URI\n'
  '1\t51.5\t-2.0\t4.75\t3\t4,5\tx\n2\t51.6\t-2.0\t6.5\t0\t6,7\ty\n'
)


def test_prompts_are_read_with_raters_and_values(tmp_path):
  path = tmp_path / 'prompts.csv'
  path.write_text(PROMPTS)
  result = scenicness.read_prompts(path)
  assert result.texts == ('a made-up lake', 'a road, a lorry')
  np.testing.assert_array_equal(result.values, [8, 2])
  np.testing.assert_array_equal(result.raters, [3, 4])
  assert result.vectors is None


def test_prompts_with_vectors_come_back(tmp_path):
  provided = scenicness.RatedPrompts(
    ('a', 'b'),
    np.array([1.0, 10.0]),
    np.array([0, 0]),
    np.ones((2, 3), np.float32),
  )
  scenicness.write_prompts(tmp_path / 'p.npz', provided)
  result = scenicness.read_prompts(tmp_path / 'p.npz')
  assert result.texts == provided.texts
  np.testing.assert_array_equal(result.vectors, provided.vectors)


def test_vectors_of_other_prompts_are_an_error(tmp_path):
  scenicness.write_prompts(
    tmp_path / 'p.npz',
    scenicness.RatedPrompts(
      ('a', 'b'), np.array([1.0, 10.0]), np.array([0, 0]), np.ones((3, 4))
    ),
  )
  with pytest.raises(ValueError, match='p.npz has 2 texts, .* and 3 vectors'):
    scenicness.read_prompts(tmp_path / 'p.npz')


def test_score_off_the_scale_or_column_missing_is_an_error(tmp_path):
  path = tmp_path / 'prompts.csv'
  path.write_text(PROMPTS.replace(',8,', ',11,'))
  with pytest.raises(ValueError, match='1 to 10; here are 2 to 11'):
    scenicness.read_prompts(path)
  path.write_text(PROMPTS.replace('user_index', 'user'))
  with pytest.raises(ValueError, match=r"prompts.csv lacks \['user_index'\]"):
    scenicness.read_prompts(path)


def test_swapped_votes_are_noticed(tmp_path):
  path = tmp_path / 'votes.tsv'
  path.write_text(
    VOTES.replace('Lat', 'L').replace('Lon', 'Lat').replace('L\t', 'Lon\t')
  )
  with pytest.raises(
    ValueError,
    match='votes.tsv: latitudes from -2 to -2 degr'
    'ees, longitudes from 51.5 to 51.6; are Lat and Lon swap',
  ):
    scenicness.read_votes(path)
  path.write_text(VOTES.replace('51.6', '151.6'))
  with pytest.raises(ValueError, match='are Lat and Lon swapped'):
    scenicness.read_votes(path)


def test_places_find_the_nearest_votes_within_reach(tmp_path):
  path = tmp_path / 'votes.tsv'
  path.write_text(VOTES)
  votes = scenicness.read_votes(path)
  one_km = 1_000 / scenicness.EARTH_RADIUS_M * 180 / np.pi
  lat = np.array([51.5, 51.5 + 0.9 * one_km, 51.5 + 1.1 * one_km, 51.6001])
  result = scenicness.match(lat, np.full(4, -2.0), votes)
  np.testing.assert_array_equal(result, [0, 0, -1, 1])
  # A degree of longitude is shorter up north.
  east = -2 + 1.1 * one_km
  assert scenicness.match([51.5], [east], votes) == [0]


def test_simulated_votes_and_prompts_are_read_by_the_readers(tmp_path):
  earth = pixels.SimulatedPixels(seed=0, splits={'train': 4, 'test': 40})
  simulated.write(earth, tmp_path)
  votes = scenicness.read_votes(tmp_path / 'votes.tsv')
  prompts = scenicness.read_prompts(tmp_path / 'prompts.npz')
  assert prompts.vectors.shape == (137, 512)
  _, counts = np.unique(prompts.raters, return_counts=True)
  assert [(counts >= n).sum() for n in (2, 5, 8, 10)] == [19, 13, 8, 6]
  place = earth.example('test', 7)
  assert scenicness.match([place['lat']], [place['lon']], votes) == [7]
  assert votes.mean.std() > 0.8


@pytest.mark.parametrize(
  'value, message',
  [
    ('', "row 2: Average='' is no number"),
    ('NULL', "row 2: Average='NULL'"),
    ('nan', "row 2: Average='nan'"),
    ('4,75', 'A decimal point is expected'),
    ('47.5', 'row 2: Average=47.5; votes go from 1 to 10, which 1 of 2'),
    ('0', 'row 2: Average=0; votes'),
  ],
)
def test_impossible_votes_name_file_and_row(tmp_path, value, message):
  path = tmp_path / 'votes.tsv'
  path.write_text(
    f'ID\tLat\tLon\tAverage\n1\t52\t-1\t4.5\n2\t53\t-2\t{value}\n'
  )
  with pytest.raises(ValueError, match=f'votes.tsv, {message}|{message}'):
    scenicness.read_votes(path)


def test_votes_in_another_encoding_raise(tmp_path):
  path = tmp_path / 'votes.tsv'
  path.write_bytes(
    'Lat\tLon\tAverage\tName\n52\t-1\t4.5\tCafé\n'.encode('latin-1')
  )
  with pytest.raises(ValueError, match='is not in UTF-8 .*iconv'):
    scenicness.read_votes(path)
