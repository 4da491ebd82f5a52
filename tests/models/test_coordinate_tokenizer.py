"""The coordinate vocabulary, ours and the reference's."""

import json
import pathlib
import resource

import numpy as np
import pytest
import tokenizers

from fusion_jax.models import coordinate_tokenizer

DATA = pathlib.Path(__file__).parents[1] / 'testdata' / 'masking'


@pytest.fixture(name='golden', scope='module')
def _golden():
  return json.loads((DATA / 'coords_text.json').read_text())


@pytest.fixture(name='ours', scope='module')
def _ours():
  return coordinate_tokenizer.build()


def test_ids_equal_the_reference_except_for_minus_zero(golden, ours):
  lon, lat = np.array(golden['coords_lon_lat']).T
  ids = ours.encode(lat, lon)
  whole = [i for i, t in enumerate(golden['text']) if '-0.00' not in t]
  assert len(whole) == len(ids) - 2
  for i in whole:
    np.testing.assert_array_equal(ids[i], golden['token_ids_synthetic'][i])


def test_places_read_back_equal_the_reference(golden, ours):
  for ids, place in zip(
    golden['token_ids_synthetic'], golden['decoded_lon_lat']
  ):
    lat, lon = ours.decode(np.array(ids))
    np.testing.assert_array_equal([lon, lat], np.array(place, float))


def test_the_file_tokenizes_the_text_of_the_reference(golden, ours, tmp_path):
  ours.save(tmp_path / 'coords.json')
  plain = tokenizers.Tokenizer.from_file(str(tmp_path / 'coords.json'))
  lon, lat = np.array(golden['coords_lon_lat']).T
  for text, ids in zip(golden['text'], ours.encode(lat, lon)):
    text = text.replace('-0.00', '0.00')
    np.testing.assert_array_equal(plain.encode(text).ids, ids)


def test_a_reference_file_replaces_ours():
  small = coordinate_tokenizer.load(DATA / 'small.coords_tokenizer.json')
  np.testing.assert_array_equal(small.encode(-2, 3), [24, 65, 3])
  np.testing.assert_array_equal(small.encode(0, 0), [32, 53, 3])
  with pytest.raises(ValueError, match='lat=2.25 is not in the vocabulary'):
    small.encode(2.25, 0)


def test_minus_zero_is_zero_unless_the_vocabulary_knows_it(ours):
  np.testing.assert_array_equal(ours.encode(-0.1, -0.1), ours.encode(0, 0))
  words = json.loads(ours.to_json())
  words['model']['vocab']['lat=-0.00'] = 5_000
  other = coordinate_tokenizer.CoordinateTokenizer(
    tokenizers.Tokenizer.from_str(json.dumps(words))
  )
  assert other.encode(-0.1, -0.1)[0] == 5_000
  assert other.encode(0.1, -0.1)[0] == ours.encode(0, 0)[0]


def test_every_grid_point_survives_the_round_trip(ours):
  lat = np.arange(-90, 90.25, 0.25)
  lon = np.linspace(-180, 180, 1441)[: len(lat)]
  ids = ours.encode(lat, lon)
  np.testing.assert_array_equal(np.stack(ours.decode(ids)), [lat, lon])
  assert ids.min() == ours.eos == 3 and ids.max() < 30_000


def test_ids_of_the_wrong_axis_decode_to_nan(ours):
  lat, lon, _ = ours.encode(10, 20)
  assert np.isnan(ours.decode([lon, lat])).all()
  assert np.isnan(ours.decode([29_999, -1])).all()


def test_places_that_are_none_raise(ours):
  for lat, lon in ((91, 0), (0, 181), (np.nan, 0)):
    with pytest.raises(ValueError, match='within'):
      ours.encode(lat, lon)


def test_another_kind_of_vocabulary_raises():
  words = tokenizers.Tokenizer(
    tokenizers.models.WordLevel({'[UNK]': 0, 'sea': 1}, unk_token='[UNK]')
  )
  with pytest.raises(ValueError, match='coordinate tokenizer'):
    coordinate_tokenizer.CoordinateTokenizer(words)


def test_a_full_disk_leaves_the_file_that_is_there(tmp_path):
  """A run that resumes saves its vocabulary again."""
  ours = coordinate_tokenizer.build()
  path = tmp_path / 'coords.json'
  ours.save(path)
  before = path.read_bytes()
  small = coordinate_tokenizer.load(DATA / 'small.coords_tokenizer.json')
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
  try:
    ours.save(path)  # It is there already.
    with pytest.raises(OSError, match='File too large'):
      small.save(path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert path.read_bytes() == before
  assert [x.name for x in tmp_path.iterdir()] == ['coords.json']
