"""The supervised upper bound: labels that are missing, settings, a run."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

import fusion_jax
from fusion_jax import datasets, runs
from fusion_jax.configs import worldcereal
from fusion_jax.evals import supervised
from fusion_jax.tasks import classify_pixels
from tests import pixel_data
from tests.tasks import pixels_runner

KEY = jax.random.key(0)
CEREAL = pathlib.Path(__file__).parents[1] / 'testdata/worldcereal'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  return pixel_data.write(tmp_path_factory.mktemp('pixels'))


def make(data, argument):
  config = pixels_runner.config(data, argument)
  return classify_pixels.ClassifyPixels(config, data)


@pytest.mark.parametrize('setting', ['monthly', 'quarterly', 'single'])
def test_places_without_a_label_do_not_count(data, setting):
  task = make(data, f'supervised=crops,setting={setting}')
  batch = next(iter(task.batches('val')))
  params, extra = jax.jit(task.init)(KEY, batch)
  weighed = task.weigh(batch)
  np.testing.assert_allclose(weighed['weight'].sum(), 1, rtol=1e-6)
  known = batch['valid'] & (batch['label'] >= 0)
  assert 0 < known.sum() < batch['valid'].sum()
  loss, (metrics, _) = jax.jit(task.loss)(params, extra, weighed, KEY)
  logits = jax.jit(task.logits)(params, batch)
  by_hand = (
    jax.nn.logsumexp(logits, axis=1)
    - logits[np.arange(len(logits)), batch['label']]
  )
  np.testing.assert_allclose(loss, by_hand[known].mean(), rtol=1e-5)
  assert metrics['top1'][1] == known.sum()
  assert logits.shape == (8, 40)


def test_bad_choices_are_errors_at_the_start(data):
  with pytest.raises(ValueError, match="setting='weekly' is not one of"):
    make(data, 'supervised=crops,setting=weekly')
  with pytest.raises(ValueError, match="'none', unless it is 'monthly'"):
    make(data, 'supervised=crops,setting=single,augment=tsdrop')
  with pytest.raises(ValueError, match='The data set has no label .soil'):
    make(data, 'supervised=soil')
  task = make(data, 'supervised=eunis')
  with pytest.raises(
    ValueError,
    match=r'no label/eunis; set config.label to on'
    r"e of \['crops', 'land_cover'\]",
  ):
    task.batches('train')


@pytest.mark.slow
def test_run_learns_and_ends_with_a_model_that_predicts(data, tmp_path):
  config = pixels_runner.config(
    data,
    'supervised=land_cover',
    num_steps=60,
    checkpoint=dict(every=60),
    evals=dict(every=60),
  )
  config.optimizer.peak_lr = 3e-3
  runs.run(config, tmp_path)
  model = fusion_jax.load(tmp_path, 'best')
  examples = [pixel_data.example('val', i, 1) for i in range(10)]
  pixels = np.stack([x['pixels'] for x in examples])
  shares = model.predict(pixels, np.stack([x['valid'] for x in examples]))
  np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
  truth = [int(x['label/land_cover']) for x in examples]
  assert np.mean(shares.argmax(axis=1) == truth) >= 0.8
  assert model.classes[1] == 'Cropland'
  assert model.predict(pixels[0]).shape == (8,)


@pytest.mark.slow
def test_report_has_the_accuracy_of_the_judged_split(data, tmp_path):
  config = pixels_runner.config(data, 'supervised=crops', num_steps=2)
  runs.run(config, tmp_path)
  numbers = json.loads((tmp_path / 'metrics.json').read_text())
  assert (
    0
    <= numbers['val/accuracy_low']
    <= numbers['val/accuracy']
    <= (numbers['val/accuracy_high'])
    <= 1
  )
  report = (tmp_path / 'report.md').read_text()
  assert 'The paper, on Sen4Map: 0.646' in report


@pytest.mark.slow
def test_a_finished_run_is_not_evaluated_again(
  data, tmp_path, monkeypatch, caplog
):
  data = shutil.copytree(data, tmp_path / 'data')
  config = pixels_runner.config(data, 'supervised=crops', num_steps=2)
  workdir, calls = tmp_path / 'run', []
  caplog.set_level('INFO')
  evaluate = supervised.Supervised.write

  def count(self, *args, **kwargs):
    calls.append(args)
    evaluate(self, *args, **kwargs)

  monkeypatch.setattr(supervised.Supervised, 'write', count)
  state = runs.run(config, workdir)
  again = runs.run(config, workdir)
  assert len(calls) == 1
  jax.tree.map(np.testing.assert_array_equal, state.params, again.params)
  assert 'The run is complete: 2 steps.' in caplog.text
  assert f'Its report is {workdir}/report.md' in caplog.text
  (workdir / 'metrics.json').write_text('{}')  # Not what was written.
  runs.run(config, workdir)
  assert len(calls) == 2
  first, second = (next(data.glob(f'{x}*_record')) for x in ('train', 'val'))
  shutil.copyfile(second, first)
  with pytest.raises(ValueError, match=f'have changed .*{first.name}'):
    runs.run(config, workdir)


@pytest.mark.slow
def test_recipe_of_real_pixels_ends_with_a_model_of_their_classes(tmp_path):
  datasets.prepare(
    datasets.WorldCereal(source=str(CEREAL / 'flanders_10px_long.parquet')),
    tmp_path / 'data',
    datasets.BuildSettings(num_workers=1),
  )
  config = worldcereal.get_config('smoke')
  config.data.dir = str(tmp_path / 'data')
  runs.run(config, tmp_path)
  model = fusion_jax.load(tmp_path)
  assert model.classes == ('grasslands', 'temporary_crops', 'trees')
  pixels = np.full((2, 12, 10, 1, 1), 900, np.float32)
  shares = model.predict(pixels)
  assert shares.shape == (2, 3)
  pixels[:, :, 7] = 3_000  # B8A: not read.
  np.testing.assert_array_equal(model.predict(pixels), shares)
