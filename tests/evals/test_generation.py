"""Generation from an image alone, scored beside its yardsticks."""

import types

import jax
import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.data import normalize, transforms
from fusion_jax.evals import forecasts, generation
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.ops import quantize
from fusion_jax.train import sharding

RAW, TARGET = 'untok_sen2l2a@224', 't2m_hourly'
MODEL = modalities.select([RAW, TARGET], image_size=32)
LEADS = modalities.HOURLY_LEADS


def make_example(i):
  rng = np.random.default_rng(i)
  warmth = rng.normal()
  image = 2_000 + 500 * warmth + 100 * rng.normal(size=(36, 36, 12))
  series = 280 + 5 * warmth + rng.normal(size=60)
  return {'key': f'place_{i:03d}', 'lat': np.float64(10 + i),
          'lon': np.float64(-20), 'time': np.int64(1_577_836_800),
          'S2L2A': image.astype(np.int16), TARGET: series.astype(np.float32)}


@pytest.fixture(scope='module')
def source():
  return [make_example(i) for i in range(11)]


@pytest.fixture(scope='module')
def model():
  backbone = backbone_lib.Backbone(
      MODEL, width=16, encoder_depth=1, decoder_depth=1, num_heads=2,
      image_size=32)
  slots = {'modality': np.zeros((1, 4), np.int32)}
  slots |= {name: slots['modality'] for name in (
      'position', 'code', 'attention')}
  patches = {RAW: np.zeros((1, 4, 256 * 12), np.float32)}
  params = jax.jit(backbone.init)(
      jax.random.key(0),
      {'encoder': slots | {'patches': patches}, 'decoder': slots})['params']
  return backbone, types.SimpleNamespace(eval_params=params)


def make_eval(model, source, **kwargs):
  showing = transforms.showing(
      MODEL, [RAW], image_size=32, quantizers={}, tokenizer=None,
      standards=normalize.standards(MODEL))
  settings = dict(
      batch_size=8, num_samples=3, oracle=lambda example: example[TARGET],
      yardsticks=generation.fit_yardsticks(source, image_size=32))
  return generation.Generation(
      model[0], source, [NoPlace(), *showing], quantize.uniform(260, 300),
      **settings | kwargs)


class NoPlace(transforms.grain.transforms.Map):
  """Leaves the coordinates out, which no model here knows."""

  def map(self, example):
    return {**example, 'lat': np.float64('nan'), 'lon': np.float64('nan')}


@pytest.fixture(scope='module')
def run(model, source):
  evaluate = make_eval(model, source)
  return evaluate(model[1], 0), evaluate.forecast


def test_every_place_is_generated_once_in_the_series_unit(run, source):
  forecast = run[1]
  assert forecast.samples.shape == (11, 3, 60)
  np.testing.assert_array_equal(
      forecast.truth, [example[TARGET] for example in source])
  assert 260 <= forecast.samples.min() <= forecast.samples.max() <= 300
  assert forecast.pictures.shape == (11, 32, 32, 3)


def test_metrics_have_a_path_for_the_model_and_each_yardstick(run):
  scores = run[0]
  for name in ('', 'oracle/', 'climatology/', 'linear_regression/', 'greedy/',
               'one_sample/'):
    for lead in (0, -47, 12):
      assert np.isfinite(scores[f'eval/t2m_hourly/{name}r2_lead_{lead}'])
  assert scores['eval/t2m_hourly/oracle/r2_lead_0'] == 1
  assert scores['eval/t2m_hourly/linear_regression/r2_lead_0'] > 0.5
  assert abs(scores['eval/t2m_hourly/climatology/r2_lead_0']) < 0.1
  assert 0 <= scores['eval/t2m_hourly/coverage_90'] <= 1
  assert scores['eval/t2m_hourly/num_places'] == 11


@pytest.mark.multi_device
def test_a_mesh_generates_the_same_series(model, source, run):
  mesh = sharding.make_mesh()
  with jax.set_mesh(mesh):
    evaluate = make_eval(
        model, source, place=lambda batch: sharding.place(batch, mesh))
    scores = evaluate(model[1], 0)
  np.testing.assert_allclose(
      evaluate.forecast.samples, run[1].samples, atol=1e-3)
  assert scores.keys() == run[0].keys()


def test_the_table_and_the_figures_show_every_prediction(run, tmp_path):
  table = forecasts.table(run[1])
  for name in ('model', 'oracle', 'climatology', 'linear regression',
               'greedy decoding', 'one sample'):
    assert f'| {name}' in table
  figures = forecasts.figures(run[1], tmp_path, num_places=3)
  assert len(figures) == 3
  assert all(path.stat().st_size > 10_000 for path, _ in figures)


def test_the_table_by_lead_holds_all_leads(run, tmp_path):
  path = forecasts.write_by_lead(run[1], tmp_path)
  header, *rows = path.read_text().splitlines()
  assert header.startswith('lead,model_r2,model_rmse')
  assert [int(row.split(',')[0]) for row in rows] == list(LEADS)
