import pytest

from fusion_jax import modalities


def test_ids_are_those_of_terramind():
  ids = {
    'untok_sen2l2a@224': 421,
    'untok_sen2l1c@224': 27295,
    'untok_sen2rgb@224': 16849,
    'untok_sen1grd@224': 12002,
    'untok_sen1rtc@224': 26488,
    'untok_dem@224': 21202,
    'tok_sen2l2a@224': 32014,
    'tok_sen1grd@224': 20262,
    'tok_sen1rtc@224': 11360,
    'tok_dem@224': 19072,
    'tok_ndvi@224': 1959,
    'tok_lulc@224': 24055,
    'coords': 30432,
  }
  assert {name: modalities.MODALITIES[name].id for name in ids} == ids


def test_every_modality_has_its_own_id():
  ids = [m.id for m in modalities.MODALITIES.values()]
  assert len(set(ids)) == len(ids) == 21


def test_images_have_one_statistic_per_band():
  for m in modalities.MODALITIES.values():
    if m.kind in ('image', 'tokens'):
      assert len(m.bands) == len(m.mean) == len(m.std)


def test_series_hold_their_leads_and_two_specials():
  assert modalities.MODALITIES['t2m_hourly'].max_tokens == 62
  assert modalities.MODALITIES['tp_sum_daily'].max_tokens == 42
  assert modalities.MODALITIES['t2m_hourly'].vocab_size == 706
  assert modalities.HOURLY_LEADS.index(0) == 47
  assert modalities.DAILY_LEADS.index(0) == 29


def test_friendly_names_depend_on_the_role():
  assert modalities.get('s2l2a').name == 'untok_sen2l2a@224'
  assert modalities.get('S2L2A', role='target').name == 'tok_sen2l2a@224'


def test_an_unknown_name_lists_the_choices():
  with pytest.raises(ValueError, match='t2m_hourly'):
    modalities.get('temperature')
  with pytest.raises(ValueError, match='S1GRD'):
    modalities.get('S2L1C', role='target')


def test_grid_sizes_follow_the_image():
  assert modalities.get('S2L2A').at(64).max_tokens == 16
  assert modalities.get('coords').at(64).max_tokens == 4
  with pytest.raises(ValueError, match='try 64'):
    modalities.get('S2L2A').at(60)
