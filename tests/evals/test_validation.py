"""Losses of a split do not depend on how it is cut into batches."""

import types

import jax.numpy as jnp
import numpy as np

from fusion_jax.evals import validation


class Task:
  """Two modalities; the second has targets only where 'rare' is set."""

  def weigh(self, batch):
    return batch

  def loss(self, params, extra, batch, key):
    del key
    values, rare = batch['values'] * params, batch['rare']
    pairs = {
      'loss/often': (values.sum(), jnp.float32(values.size)),
      'loss/rare': ((values * rare).sum(), rare.sum()),
    }
    return values.sum(), (pairs, extra)


def evaluate(values, rare, sizes):
  cuts = np.cumsum(sizes)[:-1]
  batches = [
    {'values': v, 'rare': r}
    for v, r in zip(np.split(values, cuts), np.split(rare, cuts))
  ]
  run = validation.Validation(Task(), lambda: batches)
  return run(types.SimpleNamespace(eval_params=2.0, extra={}), 0)


def test_losses_are_means_over_the_split_however_it_is_cut():
  values = np.arange(6, dtype=np.float32)
  rare = np.array([0, 0, 0, 0, 0, 1], np.float32)
  expected = {'val/loss/often': 5, 'val/loss/rare': 10, 'val/loss': 7.5}
  for sizes in ([6], [3, 3], [1, 5]):
    assert evaluate(values, rare, sizes) == expected


def test_a_modality_without_targets_does_not_lower_the_mean():
  values = np.ones(4, np.float32)
  scores = evaluate(values, np.zeros(4, np.float32), [4])
  assert scores == {'val/loss/often': 2, 'val/loss': 2}
