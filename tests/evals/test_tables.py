"""Markdown as a reader sees it."""

import pytest

from fusion_jax.evals import tables


def test_numbers_stand_right_and_text_left():
  table = tables.markdown(('model', 'R2'), [('ours', 0.91234), ('linear', 0.5)])
  assert table.splitlines() == [
    '| model | R2 |',
    '| --- | ---: |',
    '| ours | 0.912 |',
    '| linear | 0.500 |',
  ]


def test_numbers_are_as_long_as_they_are_useful():
  assert [tables.number(x) for x in (3, 12_345, 1234.5, 0.5, float('nan'))] == [
    '3',
    '12,345',
    '1,234',
    '0.500',
    'n/a',
  ]


def test_an_interval_stands_behind_its_value():
  assert tables.with_interval(0.9, (0.8, 0.95), 2) == '0.90 [0.80, 0.95]'


def test_a_short_row_raises():
  with pytest.raises(ValueError, match='1 cells for 2 columns'):
    tables.markdown(('a', 'b'), [('x',)])
