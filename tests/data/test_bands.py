import pytest

from fusion_jax.data import bands


@pytest.mark.parametrize(
  'text, band',
  [
    ('B02', 'B2'),
    ('b2', 'B2'),
    ('S2-L2A-B8A', 'B8A'),
    ('B08', 'B8'),
    ('B12 (SWIR)', 'B12'),
    ('T31UFS_20201105T105231_B02_10m', 'B2'),
    ('nir08', 'B8A'),
    ('rededge3', 'B7'),
    ('SCL', 'SCL'),
    ('B10', 'B10'),
    ('VH', ''),
    ('B022', ''),
    ('AB02', ''),
    ('', ''),
  ],
)
def test_bands_are_found_in_names(text, band):
  assert bands.find(text) == band


def test_missing_bands_are_named_with_the_flag():
  available = [band for band in bands.BANDS if band not in ('B8A', 'B5')]
  with pytest.raises(
    ValueError,
    match='lacks the bands B5, B8A.*--missing-bands B5 B8A',
  ):
    bands.sources(available)


def test_the_other_near_infrared_stands_in():
  available = [band for band in bands.BANDS if band not in ('B8A', 'B5')]
  result = bands.sources(available, ['B8A', 'B5'])
  assert result['B8A'] == 'B8' and result['B5'] == bands.ZERO
  assert list(result) == list(bands.BANDS)


def test_a_stand_in_can_be_chosen():
  available = [band for band in bands.BANDS if band != 'B8A']
  assert bands.sources(available, ['B8A=B07'])['B8A'] == 'B7'
  assert bands.sources(available, ['b8a=0'])['B8A'] == bands.ZERO


def test_a_band_that_the_model_does_not_read_needs_no_flag():
  available = [band for band in bands.BANDS if band != 'B8A']
  assert bands.sources(available, unread=('B8A',))['B8A'] == bands.ZERO


def test_a_missing_stand_in_raises():
  available = [band for band in bands.BANDS if band not in ('B8', 'B8A')]
  with pytest.raises(ValueError, match='lacks B8A, too'):
    bands.sources(available, ['B8', 'B8A=0'])


@pytest.mark.parametrize('text', ['B13', 'B8A=VV', 'B1'])
def test_unknown_bands_raise(text):
  with pytest.raises(ValueError, match='none of the bands'):
    bands.stand_ins([text])
