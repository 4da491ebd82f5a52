"""What a run leaves behind can be read by people and by programs."""

import json
import pathlib

from fusion_jax.evals import report


def write(tmp_path, **kwargs):
  sections = [('Results', ['| a |', (tmp_path / 'plots/a.png', 'A picture.')])]
  path = report.write(
    tmp_path,
    'A run',
    {'eval/b': 2, 'eval/a': 0.5, 'eval/c': float('nan')},
    sections=sections,
    duration_s=125,
    **kwargs,
  )
  return path.read_text()


def test_a_report_names_command_versions_devices_and_duration(tmp_path):
  text = write(tmp_path, command='python -m fusion_jax.main')
  for fact in ('`python -m fusion_jax.main`', 'jax ', '8 x cpu', '2 min 5 s'):
    assert fact in text


def test_pictures_are_linked_relative_to_the_report(tmp_path):
  assert '![A picture.](plots/a.png)' in write(tmp_path)


def test_pictures_of_a_relative_work_directory_are_found(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  path = report.write(
    'runs/one',
    'Title',
    {},
    sections=[('Part', [(pathlib.Path('runs/one/pictures/x.png'), 'An x')])],
  )
  assert '![An x](pictures/x.png)' in path.read_text()


def test_only_simulated_figures_are_called_simulated(tmp_path):
  assert 'simulated Earth' in write(tmp_path, simulated=True)
  assert 'simulated' not in write(tmp_path)


def test_metrics_are_flat_sorted_json(tmp_path):
  write(tmp_path)
  text = (tmp_path / 'metrics.json').read_text()
  assert json.loads(text) == {'eval/a': 0.5, 'eval/b': 2.0, 'eval/c': None}
  assert text.index('eval/a') < text.index('eval/b')
