"""Models tell what they were trained on, and what is unlike it."""

import json

import ml_collections
import numpy as np
import pytest

from fusion_jax.assembly import kept_files, provenance
from fusion_jax.inference import trained
from tests import trained as trained_run

RANGES = trained.TrainingRanges(
  {
    'mean_ranges': {
      'S2L2A': {'low': [100.0, None], 'high': [900.0, None]},
      't2m_hourly': {'low': [250.0], 'high': [300.0]},
    }
  }
)


def test_the_input_furthest_outside_is_named_with_its_value():
  means = np.array([[500.0, 1e9], [950.0, 0.0], [1_700.0, 0.0]])
  (line,) = RANGES.describe('S2L2A', means, ('B02', 'B03'))
  assert line.startswith(
    'S2L2A is unlike the training data in 2 of 3 input(s): the mean of B02 '
    '(place 2) is 1700, and nearly all training examples have 100 to 900.'
  )


@pytest.mark.parametrize(
  'field, means',
  [
    ('S2L2A', [[100.0, 0.0], [900.0, 0.0]]),  # The ends belong to it.
    ('S2L2A', [[np.nan, np.nan]]),
    ('DEM', [[1e9]]),  # Nothing is known of it.
  ],
)
def test_what_is_usual_or_not_known_is_no_warning(field, means):
  assert not RANGES.describe(field, np.array(means), ('B02', 'B03'))


def test_means_leave_gaps_out():
  image = np.arange(12.0).reshape(1, 2, 3, 2)
  image[0, 0, 0, 0] = np.nan
  np.testing.assert_allclose(trained.means_of(image, 3), [[6.0, 6.0]])
  series = np.array([[1.0, np.nan, 4.0], [np.nan] * 3])
  np.testing.assert_array_equal(trained.means_of(series, 1), [[2.5], [np.nan]])


@pytest.mark.parametrize(
  'prepared, expected',
  [
    (
      {'dataset': 'simulated'},
      'trained on the simulated Earth (no measured data), 1,200 examples of '
      '2026-11-28',
    ),
    ({'dataset': 'samples'}, "trained on samples 'mine', 1,200 examples"),
    (None, 'trained on terramesh, 1,200 examples'),
  ],
)
def test_a_run_writes_down_what_it_is_trained_on(tmp_path, prepared, expected):
  data = tmp_path / 'mine'
  data.mkdir()
  (data / 'statistics.json').write_text(
    json.dumps(
      {'num_examples': {'train': 1200}, 'created': '2026-11-28T10:00:00'}
    )
  )
  if prepared:
    (data / 'prepare.json').write_text(json.dumps(prepared))
  config = ml_collections.ConfigDict(
    {'data': {'name': 'terramesh', 'parts': {}}, 'init_from': ''}
  )
  provenance.write(tmp_path, config, data)
  assert provenance.describe(tmp_path, config, {}).startswith(expected)
  (tmp_path / provenance.FILE).write_text('{')
  with pytest.raises(ValueError, match='trained_on.json is damaged'):
    provenance.describe(tmp_path, config, {})


def test_a_mixture_names_its_parts_and_a_warm_start_its_weights(tmp_path):
  for name, dataset in ('a', 'simulated'), ('b', 'terramesh'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'prepare.json').write_text(
      json.dumps({'dataset': dataset})
    )
  mixture = {name: [str(tmp_path / name), 1.0] for name in ('a', 'b')}
  (tmp_path / 'mixture.json').write_text(json.dumps(mixture))
  (tmp_path / 'statistics.json').write_text('{}')
  parts = {'a': {'weight': 1.0}, 'b': {'weight': 1.0}, 'c': {'weight': 0.0}}
  base = tmp_path / 'base'
  base.mkdir()
  trained_run.write_workdir(base)
  config = ml_collections.ConfigDict(
    {'data': {'name': 'x', 'parts': parts}, 'init_from': str(base)}
  )
  provenance.write(tmp_path, config, tmp_path)
  # What the base was trained on is not lost.
  assert provenance.describe(tmp_path, config, {}) == (
    'trained on the simulated Earth (no measured data), terramesh; from the '
    'weights base, trained on the simulated Earth (no measured data)'
  )


def test_an_earlier_run_on_own_data_is_not_said_to_be_of_terramesh(tmp_path):
  config = ml_collections.ConfigDict(
    {'data': {'name': 'terramesh', 'dir': 'data/mine', 'parts': {}}}
  )
  assert provenance.describe(tmp_path, config, {}) == (
    'trained on data that its configuration calls terramesh'
  )


def test_a_converted_model_names_its_source():
  source = {'source': 'org/model', 'file': 'model.pt'}
  config = ml_collections.ConfigDict({'task': 'encoder'})
  words = provenance.describe('x', config, {'source': source})
  assert words == 'converted from org/model, model.pt'
  source = {'source': '/home/me/model.pt', 'file': 'model.pt'}
  words = provenance.describe('x', config, {'source': source})
  assert words == 'converted from model.pt'


def test_data_prepared_again_by_another_version_are_the_same(tmp_path):
  old, new = tmp_path / 'old.json', tmp_path / 'new.json'
  old.write_text(json.dumps({'images': {'DEM': {'mean': [1.0]}}}))
  new.write_text(
    json.dumps({'images': {'DEM': {'mean': [1.0]}}, 'mean_ranges': {}})
  )
  assert kept_files._agree(old, new)
  new.write_text(json.dumps({'images': {'DEM': {'mean': [1.1]}}}))
  assert not kept_files._agree(old, new)
