"""Pretraining on learned codes of a series, from storing to a loaded model."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import fusion_jax
from fusion_jax import datasets, modalities, runs
from fusion_jax.data import records
from fusion_jax.generation import sequences
from fusion_jax.tasks import pretrain
from tests import trained_series
from tests.tasks import runner

CODED = 't2m_hourly'


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  path = tmp_path_factory.mktemp('earth')
  (path / 'tokenizer').mkdir()
  run = trained_series.write_workdir(path / 'tokenizer', (CODED,))
  data = runner.prepare_data(path / 'data')
  step = datasets.Codes(data=str(data), tokenizers=(str(run),))
  assert datasets.write_codes(step)
  return data


def make_config(data_dir, **changes):
  return runner.config(
    data_dir, series_codes=(CODED,), num_series_codes=64, **changes
  )


@pytest.fixture(scope='module')
def task(data_dir):
  return pretrain.Pretrain(make_config(data_dir), data_dir)


def test_examples_show_the_stored_codes(task):
  for example in (task.source('train')[i] for i in range(2)):
    shown = example
    for step in task.showing((CODED,)):
      shown = step.map(shown)
    ids = shown['encoder']['code']
    np.testing.assert_array_equal(ids[:60], example[f'codes/{CODED}'])
    assert ids[60] == 3  # [EOS].
    raw = {k: v for k, v in example.items() if k != f'codes/{CODED}'}
    for step in task.showing((CODED,)):
      raw = step.map(raw)
    np.testing.assert_array_equal(raw['encoder']['code'], ids)


def test_codes_without_an_order_have_no_ordinal_term(task):
  head = next(head for head in task.heads if head.name == CODED)
  assert (head.vocab_size, head.num_values) == (206 + 64, 0)
  batch = next(task.batches('train'))
  weighed = task.weigh(batch)['decoder']
  assert np.sum(weighed['ce_weight']) > 0 and not np.any(weighed['emd_weight'])
  slots = batch['decoder']
  targets = slots['target'][slots['modality'] == head.index]
  assert 206 <= targets.max() < 206 + 64
  params = jax.jit(task.init)(jax.random.key(0), batch)[0]
  _, (metrics, _) = jax.jit(task.loss)(
    params, {}, task.weigh(batch), jax.random.key(0)
  )
  total, count = metrics[f'loss/{CODED}']
  assert float(total / count) == pytest.approx(np.log(270), abs=0.7)
  assert f'emd/{CODED}' not in metrics


def test_no_dry_hour_is_drawn_beside_learned_codes():
  bins = modalities.MODALITIES['tp_hourly']
  coded = dataclasses.replace(bins, ordered=False)
  assert sequences.series_codes(bins)[modalities.ZERO]
  assert not sequences.series_codes(coded)[modalities.ZERO]
  assert sequences.series_codes(coded)[206:].all()


@pytest.mark.slow
def test_a_run_ends_with_series_in_kelvin_and_loads(data_dir, tmp_path):
  config = make_config(data_dir, num_steps=2)
  config.evals.generate = (CODED,)
  runs.run(config, tmp_path / 'run')
  numbers = json.loads((tmp_path / 'run/metrics.json').read_text())
  assert numbers[f'val/loss/{CODED}'] > 0
  config.data.dir = ''
  model = fusion_jax.load(tmp_path / 'run')
  codec = model.quantizers[CODED]
  image = records.Examples(data_dir, 'val')[0]['S2L2A']
  result = model.generate({'S2L2A': image}, CODED, num_samples=3)
  assert result.shape == (3, 60) and np.isfinite(result).all()
  values = records.Examples(data_dir, 'val')[0][CODED]
  tokens = model.encode({CODED: values})
  assert tokens.shape == (61, 64)
  np.testing.assert_array_equal(
    codec.encode(values), records.Examples(data_dir, 'val')[0][f'codes/{CODED}']
  )


def test_a_run_stays_with_the_tokenizer_that_it_began_with(task, tmp_path):
  task.keep(tmp_path)
  task.keep(tmp_path)
  other = trained_series.make_codec((CODED,), seed=1).codes[CODED]
  other.save(tmp_path)
  with pytest.raises(ValueError, match='began with codes of t2m_hourly'):
    task.keep(tmp_path)


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(num_series_codes=4_096), 'has 64 codes.*=4096'),
    (dict(series_codes=('tp_hourly',)), "names 'tp_hourly'"),
    (dict(series_codes=('coords',)), "names 'coords'"),
  ],
)
def test_wrong_settings_are_named(data_dir, changes, message):
  config = make_config(data_dir)
  config.update(changes)
  with pytest.raises(ValueError, match=message):
    pretrain.Pretrain(config, data_dir)


def test_codes_of_another_tokenizer_are_refused(data_dir, task, monkeypatch):
  monkeypatch.setattr(task.assembly.codes[CODED], 'fingerprint', 'other')
  with pytest.raises(ValueError, match='t2m_hourly.* not of other'):
    task.source('train')
