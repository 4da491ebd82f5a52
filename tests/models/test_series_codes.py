"""Learned codes of a series: kept as a file, told apart."""

import numpy as np
import pytest

from fusion_jax.models import series_codes
from tests import trained_series


@pytest.fixture(scope='module')
def codec():
  return trained_series.make_codec(('t2m_min_daily', 't2m_max_daily'))


def test_a_kept_tokenizer_is_the_same(codec, tmp_path):
  kept = codec.codes['t2m_max_daily']
  kept.save(tmp_path)
  again = series_codes.load(tmp_path, 't2m_max_daily')
  assert again.fingerprint == kept.fingerprint
  assert (again.vocab_size, again.stride) == (206 + 64, 1)
  values = 280 + np.random.default_rng(0).normal(size=(2, 40)) * 9
  values[0, 3] = np.nan
  ids = codec.encode(values, 't2m_max_daily')
  np.testing.assert_array_equal(again.encode(values), ids)
  np.testing.assert_array_equal(
    again.decode(ids), codec.decode(ids, 't2m_max_daily')
  )
  assert [x.name for x in tmp_path.rglob('*.*')] == ['t2m_max_daily.msgpack']


def test_a_fingerprint_stands_for_a_tokenizer_and_a_series(codec):
  others = [
    trained_series.make_codec(**settings).codes['t2m_min_daily']
    for settings in (
      dict(names=('t2m_min_daily',), seed=1),
      dict(names=('t2m_min_daily',), levels='8-8'),
    )
  ]
  prints = {x.fingerprint for x in (*codec.codes.values(), *others)}
  assert len(prints) == 4


def test_a_folder_without_codes_says_how_to_make_them(tmp_path):
  with pytest.raises(
    FileNotFoundError, match='no learned codes of tp_hourly.*prepare tokenize'
  ):
    series_codes.load(tmp_path, 'tp_hourly')
