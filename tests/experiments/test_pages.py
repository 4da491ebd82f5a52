"""Tables survive the way to CSV and back."""

import pytest

from fusion_jax.experiments import pages

TABLES = [
  pages.Table(
    'First', ('row', 'MSE (K^2)'), (('a, b', 0.25), ('c', 3)), 'Why.'
  ),
  pages.Table('Second', ('row', 'text'), (('a', '0.1 ± 0.2'),)),
]


def test_written_tables_are_read_as_text(tmp_path):
  path = tmp_path / 'results.csv'
  pages.write_csv(path, TABLES)
  first, second = pages.read_csv(path)
  assert first == pages.Table(
    'First', ('row', 'MSE (K^2)'), (('a, b', '0.25'), ('c', '3')), 'Why.'
  )
  assert second == TABLES[1]
  assert [t.blocks() for t in (first, second)] == [t.blocks() for t in TABLES]


def test_a_cell_is_found_by_table_row_and_column():
  assert pages.look_up(TABLES, 'First', 'c', 'MSE (K^2)') == 3
  assert pages.look_up(TABLES, 'First', 'd', 'MSE (K^2)') is None
  assert pages.look_up(TABLES, 'Third', 'c', 'MSE (K^2)') is None
  assert pages.look_up(TABLES, 'First', 'c', 'MAE') is None


def test_another_file_is_refused_with_its_columns(tmp_path):
  path = tmp_path / 'other.csv'
  path.write_text('lat,lon\n1,2\n')
  with pytest.raises(ValueError, match="'lat', 'lon'"):
    pages.read_csv(path)
