"""Methods on a small problem whose answer is known."""

import numpy as np
import pytest
from sklearn import metrics

from fusion_jax.configs import worldcereal as config_lib
from fusion_jax.experiments import labelled_methods as methods
from fusion_jax.experiments import labelled_problems as problems_lib


def make_problem(classes=('low', 'high')):
  """40 places in 8 groups; the first band says the class, or the value."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(40, 12, 3)).astype(np.float32)
  values[:, :, 0] += np.where(np.arange(40) % 2, 4, -4)[:, None]
  target = np.arange(40) % 2
  inputs = np.tanh(values)[..., None, None]
  return problems_lib.Problem(
    'toy',
    values,
    lambda known: inputs,
    np.ones((40, 12), bool),
    np.broadcast_to(np.arange(12), (40, 12)),
    target if classes else values[:, :, 0].mean(axis=1),
    classes,
    np.arange(40) // 5,
    'cell',
  )


def test_folds_hold_out_whole_groups():
  problem = make_problem()
  folds = problems_lib.make_folds(problem)
  assert sorted(np.concatenate([held for _, held in folds])) == [*range(40)]
  for known, held_out in folds:
    assert not set(problem.groups[known]) & set(problem.groups[held_out])


def test_the_score_is_that_of_scikit_learn():
  problem = make_problem()
  chances = np.random.default_rng(1).random((40, 2))
  expected = metrics.f1_score(
    problem.target, chances.argmax(axis=1), average='macro'
  )
  assert problems_lib.score(problem, chances, np.arange(40)) == expected


@pytest.mark.parametrize('classes', [('low', 'high'), ()])
def test_the_forest_solves_what_one_band_says_and_the_naive_does_not(
  classes, monkeypatch
):
  monkeypatch.setattr(methods, '_NUM_TREES', 20)
  problem = make_problem(classes)
  folds, everyone = problems_lib.make_folds(problem), np.arange(40)
  config = config_lib.get_config('data=east_africa')
  scores = {
    name: problems_lib.score(
      problem, methods.METHODS[name](problem, folds, config, 1), everyone
    )
    for name in ('random forest', 'majority or mean')
  }
  assert scores['random forest'] > 0.95
  assert scores['majority or mean'] < 0.6


@pytest.mark.slow
def test_the_encoder_solves_what_one_band_says():
  problem = make_problem()
  config = config_lib.get_config('data=east_africa')
  config.num_steps, config.batch_size = 60, 16
  config.optimizer.warmup_steps = 5
  config.model.update(depth=1, width=32, num_heads=2)
  folds = problems_lib.make_folds(problem)[:2]
  predicted = methods.encoder_predictions(problem, folds, config, 1)
  held_out = np.concatenate([held for _, held in folds])
  assert problems_lib.score(problem, predicted, held_out) > 0.9


def test_pieces_and_ranks_depend_on_known_places_alone():
  problem = make_problem()
  known = np.arange(30)
  changed = problem.values.copy()
  changed[30:] *= 100
  for kind, width in (('pieces', 48), ('normal', 3)):
    spread = problems_lib.transformed(problem.values, known, kind)
    assert spread.shape == (40, 12, width)
    again = problems_lib.transformed(changed, known, kind)
    np.testing.assert_array_equal(spread[:30], again[:30])
  with pytest.raises(ValueError, match='squares'):
    problems_lib.transformed(problem.values, known, 'squares')


def test_an_unknown_problem_lists_the_choices():
  with pytest.raises(ValueError, match='flanders'):
    problems_lib.read('.', '.', ('flandres',))
