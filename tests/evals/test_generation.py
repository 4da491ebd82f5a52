"""Generation from an image alone, scored beside its yardsticks."""

import jax
import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.evals import forecasts, generation
from fusion_jax.train import sharding
from tests.evals import places
from tests.train import harness


@pytest.fixture(scope='module')
def model():
  return places.make_model()


@pytest.fixture(scope='module')
def run(model):
  evaluate = places.make_eval(model[0])
  return evaluate(model[1], 0), evaluate.forecast


def test_every_place_is_generated_once_in_the_series_unit(run):
  forecast = run[1]
  assert forecast.samples.shape == (11, 3, 60)
  np.testing.assert_array_equal(
    forecast.truth, [example[places.TARGET] for example in places.SOURCE]
  )
  assert 260 <= forecast.samples.min() <= forecast.samples.max() <= 300
  assert forecast.pictures.shape == (11, 32, 32, 3)


def test_metrics_have_a_path_for_the_model_and_each_yardstick(run):
  scores = run[0]
  for name in (
    '',
    'oracle/',
    'climatology/',
    'linear_regression/',
    'greedy/',
    'one_sample/',
  ):
    for lead in (0, -47, 12):
      assert np.isfinite(scores[f'eval/t2m_hourly/{name}r2_lead_{lead}'])
  assert scores['eval/t2m_hourly/oracle/r2_lead_0'] == 1
  assert scores['eval/t2m_hourly/linear_regression/r2_lead_0'] > 0.5
  assert abs(scores['eval/t2m_hourly/climatology/r2_lead_0']) < 0.1
  assert 0 <= scores['eval/t2m_hourly/coverage_90'] <= 1
  assert scores['eval/t2m_hourly/num_places'] == 11


def without(example, *fields):
  """The example with some of its fields missing, as on disk."""
  lost = {
    name: example[name][:0]
    if example[name].ndim == 3
    else np.full_like(example[name], np.nan)
    for name in fields
  }
  return example | lost


def test_places_without_image_or_series_are_left_out(model, run, tmp_path):
  source = list(places.SOURCE)
  source[1] = without(source[1], 'S2L2A')
  source[4] = without(source[4], places.TARGET)
  evaluate = places.make_eval(model[0], source=source)
  assert evaluate(model[1], 0)['eval/t2m_hourly/num_places'] == 9
  np.testing.assert_allclose(
    evaluate.forecast.samples, np.delete(run[1].samples, [1, 4], 0), atol=1e-3
  )


def test_a_single_place_with_some_hours_is_scored_and_drawn(model, tmp_path):
  example = dict(places.SOURCE[0])
  example[places.TARGET] = np.where(np.arange(60) < 5, 280, np.nan)
  evaluate = places.make_eval(model[0], source=[example])
  assert np.isfinite(evaluate(model[1], 0)['eval/t2m_hourly/mae'])
  assert 'n/a' in forecasts.table(evaluate.forecast)
  assert len(forecasts.figures(evaluate.forecast, tmp_path)) == 2


def test_without_any_measurement_nothing_is_scored(model):
  source = [without(example, places.TARGET) for example in places.SOURCE]
  evaluate = places.make_eval(
    model[0],
    source=source,
    yardsticks=generation.fit_yardsticks(source, image_size=32),
  )
  assert evaluate(model[1], 0) == {} and evaluate.forecast is None


def test_yardsticks_read_some_examples_out_of_all_of_a_large_archive():
  class Archive:
    shape = {
      'S2L2A': np.zeros((32, 32, 12), np.int16),
      places.TARGET: np.zeros(60, np.float32),
    }

    def __init__(self):
      self.read = []

    def __len__(self):
      return 9_000_000

    def __getitem__(self, i):
      self.read.append(i)
      assert len(self.read) <= 30_000
      return self.shape

  archive = Archive()
  generation.fit_yardsticks(archive, image_size=32)
  assert archive.read[0] == 0 and archive.read[-1] == 8_999_999


@pytest.mark.multi_device
def test_a_mesh_generates_the_same_series(model, run):
  mesh = sharding.make_mesh()
  with jax.set_mesh(mesh):
    evaluate = places.make_eval(
      model[0], place=lambda batch: sharding.place(batch, mesh)
    )
    scores = evaluate(model[1], 0)
  np.testing.assert_allclose(
    evaluate.forecast.samples, run[1].samples, atol=1e-3
  )
  assert scores.keys() == run[0].keys()


def test_a_place_draws_the_same_in_any_batch(model, run):
  evaluate = places.make_eval(model[0], batch_size=4, num_examples=6)
  evaluate(model[1], 0)
  np.testing.assert_allclose(
    evaluate.forecast.samples, run[1].samples[:6], atol=1e-3
  )


@pytest.mark.slow
@pytest.mark.multi_device
def test_two_processes_generate_the_same_series(run, tmp_path):
  harness.run_processes(places.__file__, '--workdir', tmp_path)
  first, second = (np.load(tmp_path / f'{i}.npz') for i in range(2))
  order = np.argsort(first['truth'][:, 0])
  expected = np.argsort(run[1].truth[:, 0])
  for name in ('samples', 'truth', 'greedy', 'regression'):
    np.testing.assert_array_equal(first[name], second[name])
  for name in ('samples', 'truth', 'greedy'):
    np.testing.assert_allclose(
      first[name][order], getattr(run[1], name)[expected], atol=1e-3
    )


def test_the_table_and_the_figures_show_every_prediction(run, tmp_path):
  table = forecasts.table(run[1])
  for name in (
    'model',
    'oracle',
    'climatology',
    'linear regression',
    'greedy decoding',
    'one sample',
  ):
    assert f'| {name}' in table
  figures = forecasts.figures(run[1], tmp_path, num_places=3)
  assert len(figures) == 3
  assert all(path.stat().st_size > 10_000 for path, _ in figures)


def test_the_table_by_lead_holds_all_leads(run, tmp_path):
  path = forecasts.write_by_lead(run[1], tmp_path)
  header, *rows = path.read_text().splitlines()
  assert header.startswith('lead,model_r2,model_rmse')
  assert [int(row.split(',')[0]) for row in rows] == list(
    modalities.HOURLY_LEADS
  )
