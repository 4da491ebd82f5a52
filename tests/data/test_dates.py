"""Dates in names, paths and axes of time."""

import numpy as np
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
    ('12/13/B02.tif', 'NaT'),
  ],
)
def test_dates_in_paths(path, expected):
  np.testing.assert_array_equal(
    dates.find_in_path(path), np.datetime64(expected, 'D')
  )


def test_what_is_no_date_is_shown():
  for values in ([1.5], [0, 1], ['June'], [20201305], [b'x']):
    with pytest.raises(ValueError, match='a.nc: t holds .*, which is no date'):
      dates.read(np.array(values), 'a.nc: t')
  result = dates.read(np.array(['NaT', '2020-01-15'], 'M8[ns]'), 'a.nc: t')
  np.testing.assert_array_equal(np.isnat(result), [True, False])
