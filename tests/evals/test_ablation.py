"""Tables over runs: means over prompts, directions, settings and seeds."""

import numpy as np
import pytest
from PIL import Image

from fusion_jax.evals import ablation, alignment_tables, spatial_context

KINDS = ('class_names', 'paper', 'descriptive')
SETTINGS = ('single', 'quarterly', 'monthly')


def numbers(offset=0.0):
  """A run: accuracy 0.1 x kind + setting; recall 0.5 and 0.7."""
  result = {}
  for i, setting in enumerate(SETTINGS):
    path = alignment_tables.zero_shot_path('test', setting, 'crops')
    result[path] = 0.2 * i + offset
    for j, kind in enumerate(KINDS):
      result[f'{path}.{kind}'] = 0.1 * j + 0.2 * i + offset
    recall = alignment_tables.recall_path('test', setting, 'crops')
    result |= {f'{recall}_s2g@1': 0.5, f'{recall}_g2s@1': 0.7}
  return result


def test_means_are_over_prompts_and_settings():
  assert ablation.zero_shot_mean(numbers(), 'test', 'crops') == pytest.approx(
    0.3
  )
  assert ablation.zero_shot_mean(
    numbers(), 'test', 'crops', settings=('single',)
  ) == pytest.approx(0.1)
  assert ablation.recall_mean(numbers(), 'test', 'crops') == pytest.approx(0.6)
  assert np.isnan(ablation.recall_mean(numbers(), 'val', 'crops'))


def test_tables_have_a_row_an_augmentation_and_the_paper_beside():
  runs = {'tsmixaug': [numbers(), numbers(0.02)], 'none': [numbers()]}
  text = ablation.table(runs, 'test', ['crops'], 5)
  rows = text.splitlines()[2:]
  assert rows[0] == '| none | 30.0 (17.1) |'
  assert rows[1] == '| TSMixAug (TS) | 31.0 ± 1.4 (21.6) |'
  text = ablation.table(runs, 'test', ['crops'], 6)
  assert '| none | 60.0 (25.2) |' in text


def test_context_has_a_row_a_side_and_setting(tmp_path):
  runs = {9: [numbers(0.1)], 1: [numbers(), numbers(0.2)]}
  rows = spatial_context.table(runs, 'test', ['crops']).splitlines()[2:]
  assert rows[0].startswith('| 1 x 1 | Single | 0.100 ± 0.141')
  assert rows[-1].startswith('| 9 x 9 | Monthly | 0.500')
  recall = spatial_context.values(runs, 'test', 'crops', 's2g')
  assert recall[1, 'monthly'] == [0.5, 0.5]
  path = tmp_path / 'sides.png'
  spatial_context.picture(path, runs, 'test', ['crops', 'eunis'])
  with Image.open(path) as image:
    assert np.asarray(image).std() > 20
