"""Real labelled pixels: by calendar month, missing as missing."""

import json
import pathlib

import numpy as np
import pandas
import pytest

from fusion_jax import datasets
from fusion_jax.data import composites, labels, normalize, records
from fusion_jax.data.sources import labelled_pixels

DATA = pathlib.Path(__file__).parents[1] / 'testdata/worldcereal'
LONG = DATA / 'flanders_10px_long.parquet'
WIDE = DATA / 'east_africa_16px_wide.parquet'
LEGEND = DATA / 'class_mappings.json'
JANUARY, OCTOBER, NOVEMBER, DECEMBER = 0, 9, 10, 11
B2, B8A, B11 = (composites.BANDS.index(b) for b in ('B2', 'B8A', 'B11'))


def test_months_of_long_files_are_placed_by_calendar():
  result = labelled_pixels.read_long(LONG, LEGEND)
  assert result.values.shape == (10, 12, 10)
  table = pandas.read_parquet(LONG).set_index(['sample_id', 'timestamp'])
  for i, key in enumerate(result.keys):
    for month, date in (
      (JANUARY, '2021-01-01'),
      (OCTOBER, '2021-10-01'),
      (NOVEMBER, '2020-11-01'),
      (DECEMBER, '2020-12-01'),
    ):
      row = table.loc[(key, pandas.Timestamp(date))]
      for band, name in ((B2, 'S2-L2A-B02'), (B11, 'S2-L2A-B11')):
        value = float(row[name])
        expected = np.nan if value == 65535 else value
        np.testing.assert_equal(float(result.values[i, month, band]), expected)
  assert np.isnan(result.values[:, :, B8A]).all()  # The file has none.
  np.testing.assert_array_equal(result.months, np.tile(np.arange(12), (10, 1)))


def test_legend_names_classes_and_ignored_pixels_have_no_label():
  result = labelled_pixels.read_long(LONG, LEGEND)
  assert result.classes == ('grasslands', 'temporary_crops', 'trees')
  np.testing.assert_array_equal(
    np.bincount(result.target - labels.NONE), [2, 3, 3, 2]
  )
  some = result.take(result.target == 2)
  assert len(some.keys) == len(some.lat) == 2
  assert set(some.cells()) <= set(result.cells())
  with pytest.raises(ValueError, match='no legend .X.; there are LANDCOVER10'):
    labelled_pixels.read_long(LONG, LEGEND, 'X')
  with pytest.raises(ValueError, match='no twelve months from 2021-06'):
    labelled_pixels.read_long(LONG, LEGEND, start='2021-06')


def test_wide_files_start_in_their_own_month():
  result = labelled_pixels.read_wide(WIDE, at_least=6)
  assert result.classes == ('maize', 'trees_mixed')
  np.testing.assert_array_equal(
    np.bincount(result.target - labels.NONE), [2, 8, 6]
  )
  table = pandas.read_parquet(WIDE)
  assert set(pandas.to_datetime(table.start_date).dt.month) == {12}
  for step, month in ((0, DECEMBER), (1, JANUARY), (11, NOVEMBER)):
    expected = table[f'OPTICAL-B02-ts{step}-10m'].to_numpy(float)
    expected[expected == 65535] = np.nan
    np.testing.assert_array_equal(result.values[:, month, B2], expected)


def test_missing_column_is_named(tmp_path):
  table = pandas.read_parquet(WIDE).drop(columns='OPTICAL-B11-ts3-20m')
  table.to_parquet(tmp_path / 'w.parquet')
  with pytest.raises(ValueError, match=r'w\.parquet lacks .*OPTICAL-B11-ts3'):
    labelled_pixels.read_wide(tmp_path / 'w.parquet')


def test_presto_keeps_its_steps_and_sites(tmp_path):
  series = np.arange(2 * 3 * 18.0).reshape(2, 3, 18)
  for name, x in (
    ('s1_s2_era5_srtm', series),
    ('target', np.array([1, 2])),
    ('latlon', np.array([[40.1, -100.3], [40.6, -100.3]])),
    ('month', np.array([[3, 4, 4], [11, 0, 1]])),
  ):
    np.save(tmp_path / f'{name}.npy', x)
  result = labelled_pixels.read_presto(tmp_path)
  np.testing.assert_array_equal(result.values, series)
  np.testing.assert_array_equal(result.months[1], [11, 0, 1])
  assert result.classes == () and result.target.dtype == float
  assert len(set(result.sites)) == 2  # Cells: there are no sites.
  np.save(tmp_path / 'site.npy', np.array(['a', 'a']))
  assert set(labelled_pixels.read_presto(tmp_path).sites) == {'a'}


def test_prepared_pixels_have_their_own_classes(tmp_path):
  datasets.prepare(
    datasets.WorldCereal(source=str(LONG)),
    tmp_path,
    datasets.BuildSettings(num_workers=1),
  )
  known = normalize.load_statistics(tmp_path)['classes']
  assert known == {'landcover10': ['grasslands', 'temporary_crops', 'trees']}
  splits = {
    split: records.Examples(tmp_path, split) for split in ('train', 'val')
  }
  assert sum(map(len, splits.values())) == 8  # Ignored ones are left out.
  example = splits['train'][0]
  assert example['pixels'].shape == (12, 10, 1, 1)
  assert np.isnan(example['pixels'][:, B8A]).all()
  assert 0 <= example['label/landcover10'] < 3
  note = json.loads((tmp_path / 'prepare.json').read_text())
  assert note['dataset'] == 'worldcereal'


def test_prepare_wants_a_file(tmp_path):
  with pytest.raises(ValueError, match='is no file; worldcereal needs'):
    datasets.prepare(datasets.WorldCereal(source=str(tmp_path)), tmp_path)


def test_a_file_that_is_missing_or_no_parquet_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='no file .*a.parquet; give'):
    labelled_pixels.read_long(tmp_path / 'a.parquet', tmp_path / 'legend.json')
  (tmp_path / 'a.parquet').touch()
  with pytest.raises(ValueError, match='a.parquet is cut short or no Parquet'):
    labelled_pixels.read_wide(tmp_path / 'a.parquet', tmp_path / 'legend.json')


def long_table(start, months, num_pixels=4):
  """A table of a row a month, of which the last pixel lacks one."""
  rows = []
  for p in range(num_pixels):
    count = months - (p == num_pixels - 1)
    for i, time in enumerate(
      pandas.date_range(start, periods=count, freq='MS')
    ):
      row = {f'S2-L2A-{band}': 100 * p + i + 1 for band in PADDED}
      rows.append(
        {
          'sample_id': f'p{p}',
          'timestamp': time,
          'ewoc_code': 1101000000,
          'ref_id': 'x',
          'lat': 50.0,
          'lon': 3.0 + p,
          **row,
        }
      )
  return pandas.DataFrame(rows)


PADDED = [
  f'B0{band[1]}' if len(band) == 2 else band for band in composites.BANDS
]


def read_table(tmp_path, table, **options):
  table.to_parquet(tmp_path / 'a.parquet')
  (tmp_path / 'legend.json').write_text(
    json.dumps({'LANDCOVER10': {'1101000000': 'temporary_crops'}})
  )
  return labelled_pixels.read_long(
    tmp_path / 'a.parquet', tmp_path / 'legend.json', **options
  )


@pytest.mark.parametrize(
  'start, months, first',
  [('2018-11', 13, 10), ('2020-11', 12, 10), ('2022-03', 12, 2)],
)
def test_months_are_those_of_the_file_and_missing_ones_masked(
  tmp_path, caplog, start, months, first
):
  result = read_table(tmp_path, long_table(start, months))
  assert len(result.keys) == 4
  expected = np.roll(np.arange(1.0, 13), first)
  np.testing.assert_array_equal(result.values[0, :, 0], expected)
  last = np.where(expected < months, 300 + expected, np.nan)
  np.testing.assert_array_equal(result.values[3, :, 0], last)
  assert ('1 months of the others are missing' in caplog.text) == (months == 12)


def test_a_stated_year_is_taken_or_refused(tmp_path):
  table = long_table('2018-11', 24)
  result = read_table(tmp_path, table, start='2019-03')
  np.testing.assert_array_equal(
    result.values[0, :, 0], np.roll(np.arange(5.0, 17), 2)
  )
  with pytest.raises(ValueError, match='runs from 2018-11 to 2020-10'):
    read_table(tmp_path, table, start='2020-03')
  with pytest.raises(ValueError, match='a.parquet has the pixel p0 twice'):
    read_table(tmp_path, pandas.concat([table, table[:1]]))
