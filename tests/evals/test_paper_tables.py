"""The paper's numbers, and tables of ours beside them."""

import math

import pytest

from fusion_jax.evals import alignment_tables, paper_tables


def test_numbers_are_found_by_model_setting_and_label():
  assert paper_tables.zero_shot(
    'tsdrop', 'crops', 'desc', 'monthly'
  ) == pytest.approx(0.4111)
  assert (
    paper_tables.recall('tsmixaug', 'land_cover', 's2g', 'quarterly') == 0.683
  )
  assert (
    paper_tables.scenicness('tsdrop', 'late_min5', 'kendall_tau', 'single')
    == 0.231
  )
  assert paper_tables.ablation(5, 'tsmixaug', 'bioregion') == 33.52
  assert paper_tables.value(7, 'gmac', model='CLIP') == 16.69


def test_what_the_paper_does_not_give_is_not_a_number():
  assert math.isnan(
    paper_tables.zero_shot('supervised', 'crops', 'desc', 'single')
  )
  assert math.isnan(paper_tables.zero_shot('msdrop', 'crops', 'desc', 'single'))
  # A column that repeats another by mistake.
  assert math.isnan(
    paper_tables.zero_shot('tsdrop', 'bioregion', 'gen', 'single')
  )
  assert paper_tables.zero_shot(
    'clip', 'bioregion', 'gen', 'single'
  ) == pytest.approx(0.168)
  assert math.isnan(paper_tables.ablation(5, 'tsdrop', 'crops'))


@pytest.mark.parametrize('number', range(2, 8))
def test_every_cell_is_a_number_or_empty(number):
  for row in paper_tables.read(number):
    for name, text in row.items():
      if name not in ('model', 'temporal', 'ms_drop', 'ts_drop') and text:
        assert math.isfinite(float(text)), (name, text)


def test_table_six_is_the_mean_of_table_three():
  for label in ('land_cover', 'eunis', 'crops', 'country'):
    mean = (
      sum(
        paper_tables.recall('tsmixaug', label, direction, setting)
        for direction in ('s2g', 'g2s')
        for setting in paper_tables.SETTINGS
      )
      / 6
    )
    assert paper_tables.ablation(6, 'tsmixaug', label) == pytest.approx(
      100 * mean, abs=0.06
    )


def test_tables_put_the_paper_in_brackets():
  path = alignment_tables.zero_shot_path(
    'test', 'monthly', 'crops', 'descriptive'
  )
  text = alignment_tables.zero_shot(
    {path: 0.5}, 'test', ['crops'], ('descriptive',), 'tsdrop'
  )
  assert text.splitlines()[-1] == '| Monthly | 50.0 (41.1) |'
  assert text.splitlines()[2] == '| Single | – (12.2) |'
  path = alignment_tables.recall_path('test', 'single', 'country')
  text = alignment_tables.recall(
    {f'{path}_g2s@1': 0.25, f'{path}_s2g@1': 0.5}, 'test', ['country'], 'none'
  )
  assert '| Single | 0.250 | 0.500 |' in text
