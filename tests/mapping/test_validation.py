"""A map states the score that its run measured, and no other."""

import json
import types

import pytest

from fusion_jax.evals import run_report
from fusion_jax.mapping import validation

SCORE = {
  'test/accuracy': 0.9,
  'test/accuracy_low': 0.85,
  'test/accuracy_high': 0.95,
  'test/zero_shot/land_cover': 0.7,
  'test/zero_shot/land_cover_low': 0.6,
  'test/zero_shot/land_cover_high': 0.8,
}


def model(classes=()):
  evals = types.SimpleNamespace(split='test')
  return types.SimpleNamespace(
    config=types.SimpleNamespace(evals=evals),
    classes=classes,
    label='land_cover',
    setting='monthly',
  )


@pytest.fixture(name='run')
def _run(tmp_path):
  (tmp_path / 'metrics.json').write_text(json.dumps(SCORE | {'x': None}))
  (tmp_path / 'statistics.json').write_text(
    json.dumps({'classes': {'land_cover': ['Water', 'Bare_Land']}})
  )
  return tmp_path


def test_a_classifier_has_the_score_of_its_own_setting(run):
  text = validation.describe(run, model(('a', 'b')), ('a', 'b'), 'monthly')
  assert text.startswith('accuracy 0.900 [0.850, 0.950] (95 % interval) for')
  other = validation.describe(run, model(('a', 'b')), ('a', 'b'), 'single')
  assert other == validation.NONE


def test_prompts_have_the_score_of_the_label_with_their_classes(run):
  text = validation.describe(run, model(), ('bare land', 'Water'), 'monthly')
  assert text.startswith('accuracy 0.700 [0.600, 0.800]')
  for classes in (('Water',), ('Water', 'Snow')):
    assert validation.describe(run, model(), classes, 'monthly') == (
      validation.NONE
    )


def test_no_score_without_numbers(tmp_path):
  text = validation.describe(tmp_path, model(), ('a',), 'monthly')
  assert text == validation.NONE


@pytest.mark.parametrize('content', ['[]', 'null', '5', '{"a": "b"}', '{'])
def test_other_content_is_named(run, content):
  (run / 'metrics.json').write_text(content)
  with pytest.raises(ValueError, match='metrics.json is'):
    validation.describe(run, model(), ('a',), 'monthly')


def test_a_number_that_was_changed_after_the_run_is_named(run):
  (run / 'report.md').write_text('report')
  run_report.seal(run, 3, '{}')
  classifier = model(('a', 'b'))
  assert 'accuracy 0.900' in validation.describe(
    run, classifier, ('a', 'b'), 'monthly'
  )
  text = (run / 'metrics.json').read_text().replace('0.9,', '0.8,')
  (run / 'metrics.json').write_text(text)
  with pytest.raises(ValueError, match='metrics.json is not what was saved'):
    validation.describe(run, classifier, ('a', 'b'), 'monthly')
