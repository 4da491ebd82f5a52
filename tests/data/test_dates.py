"""Dates in names, paths and axes of time."""

import numpy as np
import pandas
import pytest

from fusion_jax.data import dates


@pytest.mark.parametrize(
  'text, expected',
  [
    ('S2_20200115.tif', '2020-01-15'),
    ('2020-01', '2020-01-01'),
    ('T31UFS_20201105T105231_B02_10m', '2020-11-05'),
    ('PDMC_20170101T104721_R122_V20160215T100608', '2016-02-15'),
    ('2020/07/09', '2020-07-09'),
    ('1577836800', 'NaT'),
    ('20201305', 'NaT'),
    ('B02', 'NaT'),
    ('20200431', 'NaT'),
  ],
)
def test_dates_in_texts(text, expected):
  np.testing.assert_array_equal(dates.find(text), np.datetime64(expected, 'D'))


@pytest.mark.parametrize(
  'path, expected',
  [
    ('a/2019/7/9/0/B02.jp2', '2019-07-09'),
    ('a/2019/07/B02.jp2', '2019-07-01'),
    ('2019/2020-07-09/B02.jp2', '2020-07-09'),
    ('S2_20200115/20210115_B02.tif', '2021-01-15'),
    ('S2_20200115/B02.tif', '2020-01-15'),
    ('12/13/B02.tif', '2023-03-01'),
  ],
)
def test_dates_in_paths(path, expected):
  root = '/data/run-20230301'
  np.testing.assert_array_equal(
    dates.find_in_path(f'{root}/{path}', root), np.datetime64(expected, 'D')
  )


def test_folders_above_the_named_one_say_nothing():
  assert np.isnat(dates.find_in_path('/scratch/20240301/run/B02.tif'))
  product = 'S2A_MSIL2A_20230510T104621_N0509.SAFE'
  path = f'/scratch/20240301/{product}/GRANULE/B02.jp2'
  assert str(dates.find_in_path(path)) == '2023-05-10'


def test_months_and_missing_times_are_read():
  times = np.array(['2020-01', '2020-02'])
  expected = np.array(['2020-01-01', '2020-02-01'], 'M8[D]')
  np.testing.assert_array_equal(dates.read(times, 'a.nc: t'), expected)
  mixed = np.array([pandas.Timestamp('2020-01-01'), pandas.NaT, None], object)
  result = dates.read(mixed, 'a.nc: t')
  np.testing.assert_array_equal(np.isnat(result), [False, True, True])
  result = dates.read(np.array([20200115.0]), 'a.nc: t')
  np.testing.assert_array_equal(result, np.array(['2020-01-15'], 'M8[D]'))


def test_what_is_no_date_is_shown():
  for values in ([1.5], [0, 1], ['June'], [20201305], [b'x']):
    with pytest.raises(ValueError, match='a.nc: t holds .*, which is no date'):
      dates.read(np.array(values), 'a.nc: t')
  result = dates.read(np.array(['NaT', '2020-01-15'], 'M8[ns]'), 'a.nc: t')
  np.testing.assert_array_equal(np.isnat(result), [True, False])
