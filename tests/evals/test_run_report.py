"""What the reports of all tasks share."""

import types

import numpy as np

from fusion_jax.evals import run_report

HISTORY = [
  {'step': 1, 'train/loss': 3.0},
  {'step': 2, 'train/loss': 2.0},
  {'step': 2, 'val/loss': 2.5},
]


def test_the_last_value_of_every_metric_counts():
  state = types.SimpleNamespace(step=np.int32(2))
  assert run_report.last_numbers(state, HISTORY) == {
    'train/loss': 2.0,
    'val/loss': 2.5,
    'train/steps': 2,
  }


def test_a_curve_has_the_steps_that_have_the_metric():
  steps, values = run_report.curve(HISTORY, 'train/loss')
  np.testing.assert_array_equal(steps, [1, 2])
  np.testing.assert_array_equal(values, [3.0, 2.0])
  steps, values = run_report.curve(HISTORY, 'val/accuracy')
  assert steps.shape == values.shape == (0,)


def test_the_learning_curve_is_drawn_in_the_pictures_folder(tmp_path):
  folder = run_report.make_pictures_folder(tmp_path)
  path, caption = run_report.learning_curve(
    HISTORY, folder, 'Losses', validation={'validation': 'val/loss'}
  )
  assert path == tmp_path / 'pictures' / 'learning_curve.png'
  assert path.stat().st_size > 5_000 and caption == 'Losses'


def test_a_report_is_current_for_its_step_and_configuration(tmp_path):
  def find(step=2, config='{}'):
    return run_report.find_current(tmp_path, step, config)

  assert find() is None
  folder = run_report.make_pictures_folder(tmp_path)
  (folder / 'a.png').write_text('picture')
  (tmp_path / 'report.md').write_text('report')
  (tmp_path / 'metrics.json').write_text('{}')
  run_report.seal(tmp_path, 2, '{}')
  assert find() == tmp_path / 'report.md'
  assert find(step=3) is None and find(config='{"a": 1}') is None
  for path in (folder / 'a.png', tmp_path / 'report.md'):
    content = path.read_text()
    path.write_text(f'{content} ')
    assert find() is None
    path.write_text(content)
    assert find() is not None
  (tmp_path / 'metrics.json').unlink()
  assert find() is None
