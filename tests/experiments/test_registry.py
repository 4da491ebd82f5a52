"""Every entry can be loaded, and its shipped page follows from its CSV."""

import dataclasses
import pathlib

import pytest

from fusion_jax.experiments import pages, registry

RESULTS = pathlib.Path(__file__).parents[2] / 'docs' / 'results'
NAMES = sorted(registry.EXPERIMENTS)


@pytest.mark.parametrize('name', NAMES)
def test_every_entry_has_a_study_with_described_arguments(name):
  study = registry.get(name).load_study()
  assert dataclasses.is_dataclass(study) and callable(study.run)
  for field in dataclasses.fields(study):
    assert f'{field.name}:' in study.__doc__


@pytest.mark.parametrize('name', NAMES)
def test_the_shipped_page_is_printed_from_its_csv(name, tmp_path):
  result = registry.get(name).result
  (tmp_path / f'{result}.csv').write_text(
    (RESULTS / f'{result}.csv').read_text()
  )
  page = registry.print_page(name, tmp_path)
  assert page.read_text() == (RESULTS / f'{result}.md').read_text()


@pytest.mark.parametrize('name', NAMES)
def test_every_metric_is_in_the_shipped_results(name):
  experiment = registry.get(name)
  tables = pages.read_csv(RESULTS / f'{experiment.result}.csv')
  for metric in experiment.metrics:
    value = pages.look_up(tables, metric.table, metric.row, metric.column)
    assert value is not None, metric


def test_a_misspelt_name_suggests_the_nearest():
  with pytest.raises(ValueError, match="did you mean 'pixel-alignment'"):
    registry.get('pixel-aligment')


def test_a_study_ends_with_its_csv_and_its_page(tmp_path):
  table = pages.Table('Scores', ('data and method', 'value'), (('a', 0.5),))

  class Study:
    def run(self):
      return [table]

  page = registry.run('labelled-pixels', Study(), tmp_path / 'new')
  assert '| a | 0.5 |' in page.read_text()
  tables = pages.read_csv(page.with_suffix('.csv'))
  assert [t.title for t in tables] == ['This run', 'Scores']
