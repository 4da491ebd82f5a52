"""The task of series tokenizers, from configuration to a loaded model."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

import fusion_jax
from fusion_jax import modalities, runs
from fusion_jax.assembly import series_tokenizer as series_assembly
from fusion_jax.configs import series_tokenizer as config_lib
from fusion_jax.data import records
from fusion_jax.tasks import series_tokenizer
from fusion_jax.train import step

ROOT = pathlib.Path(__file__).parents[2]
SIX_DAYS = ROOT / 'tests/testdata/weather/era5-2mt-2019-03-01-to-06-uk.grib'
BLOCKS = {
  'train': dict(
    start='2019-03-01',
    end='2019-03-04',
    lat=(50.0, 51.0),
    lon=(-10.0, -9.0),
    every_h=4,
  ),
  'val': dict(
    start='2019-03-04',
    end='2019-03-07',
    lat=(54.0, 54.0),
    lon=(-4.0, -3.0),
    every_h=12,
  ),
  'test': dict(
    start='2019-03-04',
    end='2019-03-07',
    lat=(57.5, 58.0),
    lon=(1.5, 2.0),
    every_h=12,
  ),
}
STATISTICS = {
  'series': {
    't2m_hourly': dict(count=9, mean=280.0, std=3.0),
    't2m_min_daily': dict(count=9, mean=275.0, std=0.0),
    't2m_max_daily': dict(count=0, mean=None, std=None),
  }
}


def make_config(tmp_path, arg='levels=4-4-4,smoke'):
  config = config_lib.get_config(arg)
  config.model.update(dict(width=8, num_waves=2, dilations=(1,)))
  config.data.prepare.update(dict(weather=(str(SIX_DAYS),)))
  config.data.prepare.blocks = BLOCKS
  config.data.dir = str(tmp_path / 'data')
  return config


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run of a few steps: its configuration and work directory."""
  path = tmp_path_factory.mktemp('series')
  config = make_config(path)
  config.num_steps = 4
  runs.run(config, path / 'run')
  return config, path / 'run'


@pytest.fixture(scope='module')
def task(run):
  config, _ = run
  return series_tokenizer.SeriesTokenizer(config, pathlib.Path(config.data.dir))


@pytest.fixture(scope='module')
def batch(task):
  return next(task.batches('train'))


@pytest.fixture(scope='module')
def params(task, batch):
  return jax.jit(task.init)(jax.random.key(0), batch)[0]


def evaluate(task, params, batch):
  return jax.jit(lambda p, b: task.loss(p, {}, task.weigh(b), None))(
    params, batch
  )


@pytest.mark.parametrize('data', sorted(config_lib.DATA))
@pytest.mark.parametrize('levels', config_lib.LEVELS)
def test_every_configuration_describes_a_model(levels, data):
  config = config_lib.get_config(f'levels={levels},data={data}')
  model = series_assembly.make_model(config.model)
  assert '-'.join(map(str, model.fsq.levels)) == levels
  assert config.loss.commitment == 0.1 and config.model.stride == 1
  assert series_assembly.check_names(config.series) == tuple(config.series)
  if data != 'own':
    assert set(config.data.prepare.blocks) == {'train', 'val', 'test'}


def test_bad_arguments_of_the_configuration_are_named():
  with pytest.raises(ValueError, match='levels=8x8 are not numbers'):
    config_lib.get_config('levels=8x8')
  with pytest.raises(ValueError, match="data=mars is not one of.*'era5'"):
    config_lib.get_config('data=mars')
  with pytest.raises(ValueError, match='config.series=.*out of'):
    series_assembly.check_names(['t2m_hurly'])


def test_a_run_ends_with_every_figure(run):
  config, workdir = run
  numbers = json.loads((workdir / 'metrics.json').read_text())
  for approach in 'uniform_fixed', 'uniform', 'quantile', 'fsq':
    for score in 'mse', 'mae', 'r2', 'used', 'perplexity', 'clipped':
      assert numbers[f'test/t2m_hourly/{approach}/{score}'] is not None
  assert numbers['val/loss'] > 0 and numbers['duration_s'] > 0
  report = (workdir / 'report.md').read_text()
  assert 'FSQ 4-4-4' in report and 'uniform, 225 .. 318 K' in report
  for name in 'reconstruction_t2m_hourly', 'tokens_t2m_hourly':
    assert (workdir / 'pictures' / f'{name}.png').exists()


@pytest.mark.slow
def test_a_data_set_of_ones_own_is_trained_on_as_it_is(run, tmp_path):
  config = config_lib.get_config('data=own,levels=4-4,smoke')
  config.model.update(dict(width=8, num_waves=2, dilations=(1,)))
  with pytest.raises(ValueError, match='config.data.dir is not set'):
    runs.prepare_data(config.data, tmp_path)
  config.data.dir = run[0].data.dir
  runs.run(config, tmp_path / 'run')
  numbers = json.loads((tmp_path / 'run/metrics.json').read_text())
  assert numbers['val/t2m_hourly/fsq/mse'] > 0


def test_a_loaded_tokenizer_carries_its_normalisation(run, tmp_path):
  config, workdir = run
  moved = tmp_path / 'elsewhere'
  shutil.copytree(workdir, moved)
  codec = fusion_jax.load(moved)
  values = records.Examples(config.data.dir, 'test')[0]['t2m_hourly'].copy()
  ids = codec.encode(values)
  assert ids.shape == (60,) and ids.dtype == np.int32
  assert modalities.VALUE_OFFSET <= ids.min() <= ids.max() < codec.vocab_size
  restored = codec.decode(ids)
  assert np.isfinite(restored).all() and abs(restored.mean() - 280) < 20
  many = np.stack([values, values + 1])
  np.testing.assert_array_equal(codec.encode(many)[0], ids)
  np.testing.assert_array_equal(codec.decode(codec.encode(many))[0], restored)


def test_missing_hours_become_null_and_come_back_missing(run):
  _, workdir = run
  codec = fusion_jax.load(workdir)
  values = np.full(60, 280.0, np.float32)
  values[7:12] = np.nan
  ids = codec.encode(values)
  np.testing.assert_array_equal(ids == modalities.NULL, np.isnan(values))
  np.testing.assert_array_equal(np.isnan(codec.decode(ids)), np.isnan(values))
  assert (codec.encode(values * np.nan) == modalities.NULL).all()
  assert np.isfinite(codec.decode(codec.encode(np.full(60, 280.0)))).all()


def test_bad_series_and_ids_are_named(run):
  codec = fusion_jax.load(run[1])
  with pytest.raises(
    ValueError, match='has 60 time steps; the values have the shape .40,'
  ):
    codec.encode(np.zeros(40))
  with pytest.raises(ValueError, match='Ids run from -1'):
    codec.decode(np.full(60, -1))
  with pytest.raises(ValueError, match='ids 0 to 269'):
    codec.decode(np.full(60, 270))
  with pytest.raises(ValueError, match="knows .'t2m_hourly'., not 'tp_hourly"):
    codec.encode(np.zeros(60), 'tp_hourly')


def test_the_loss_is_the_error_in_kelvin_plus_a_tenth_of_the_commitment(
  task, params, batch
):
  loss, (metrics, _) = evaluate(task, params, batch)
  result = task.model.apply(
    {'params': params},
    *(batch[name] for name in ('values', 'present', 'inside')),
  )
  std = task.statistics['series']['t2m_hourly']['std']
  mse = np.mean(np.square(result['values'] - batch['values'])) * std**2
  committed = np.mean(np.square(np.tanh(result['latents']) - result['codes']))
  assert float(loss) == pytest.approx(mse + 0.1 * committed, rel=1e-4)
  total, count = metrics['loss/t2m_hourly']
  assert float(total / count) == pytest.approx(mse, rel=1e-4)


def test_missing_hours_count_nowhere(task, params, batch):
  present = batch['present'].copy()
  present[:, 10:20] = False
  one, two = (
    batch
    | {
      'present': present,
      'values': np.where(present, batch['values'], x).astype(np.float32),
    }
    for x in (0, 50)
  )
  for a, b in zip(
    *(jax.tree.leaves(evaluate(task, params, x)) for x in (one, two))
  ):
    np.testing.assert_allclose(a, b, rtol=1e-6)
  _, (metrics, _) = evaluate(task, params, one)
  assert metrics['loss/t2m_hourly'][1] == present.sum()


def test_micro_batches_add_up_to_one_batch(task, params, batch):
  whole, parts = (
    jax.jit(
      lambda p, k=k: step.gradients(
        task, p, {}, batch, jax.random.key(0), accumulate=k
      )
    )(params)
    for k in (1, 2)
  )
  assert float(whole[1]) == pytest.approx(float(parts[1]), rel=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), whole[0], parts[0]
  )


def test_normalisation_comes_from_the_training_split(task, run):
  train = records.Examples(run[0].data.dir, 'train')
  values = np.stack([train[i]['t2m_hourly'] for i in range(len(train))])
  mean, std = task.standards
  np.testing.assert_allclose(
    [mean[0], std[0]], [values.mean(), values.std()], rtol=1e-5
  )


def test_series_that_share_a_tokenizer_keep_their_own_normalisation():
  names = 't2m_hourly', 't2m_min_daily'
  statistics = {
    'series': {
      name: dict(count=9, mean=280.0 - 5 * i, std=2.0 + i)
      for i, name in enumerate(names)
    }
  }
  mean, std = series_assembly.make_standards(names, statistics)
  np.testing.assert_array_equal([mean, std], [[280, 275], [2, 3]])


@pytest.mark.parametrize(
  'name, message',
  [
    ('t2m_min_daily', 't2m_min_daily is 275 throughout.*nothing to learn'),
    ('t2m_max_daily', 't2m_max_daily has no value in the training split'),
    ('tp_hourly', 'no statistics of tp_hourly, only of'),
  ],
)
def test_constant_and_missing_series_raise_before_training(name, message):
  with pytest.raises(ValueError, match=message):
    series_assembly.make_standards(('t2m_hourly', name), STATISTICS)
