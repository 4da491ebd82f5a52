"""Schedules of tokens and temperatures, against the recorded reference."""

import json
import pathlib

import numpy as np
import pytest

from fusion_jax.generation import schedules

RECORD = json.loads(
  (
    pathlib.Path(__file__).parents[1] / 'testdata/generation/schedules.json'
  ).read_text()
)


def sizes(name):
  """Steps and tokens of a recorded schedule, 'steps8_tokens196'."""
  steps, tokens = name.split('_')[-2:]
  return int(tokens.removeprefix('tokens')), int(steps.removeprefix('steps'))


@pytest.mark.parametrize('kind', ['linear', 'cosine'])
def test_numbers_of_tokens_are_the_references(kind):
  for name, counts in RECORD[kind].items():
    ours = schedules.SCHEDULES[kind](*sizes(name))
    np.testing.assert_array_equal(ours, counts, err_msg=name)


@pytest.mark.parametrize(
  'name, schedule, temperature, tokens',
  [
    ('linear_t2.0_steps8_tokens196_linear', 'linear', 2.0, 'linear'),
    ('linear_t1.0_steps8_tokens196_cosine', 'linear', 1.0, 'cosine'),
    (
      'onex_max5_min0.5_p0.5_steps8_tokens196_linear',
      'onex:0.5:0.5',
      5.0,
      'linear',
    ),
  ],
)
def test_temperatures_are_the_references(name, schedule, temperature, tokens):
  counts, degrees = schedules.plan(tokens, 196, 8, temperature, schedule)
  assert counts.sum() == 196
  np.testing.assert_allclose(degrees, RECORD['temperature'][name], rtol=1e-14)


def test_a_chained_schedule_has_the_recorded_steps():
  # 4M lists every step of every target; ours are those of each target.
  steps = RECORD['chained_example']
  roar = [s for s in steps if s['scheme'] == 'roar']
  counts, degrees = schedules.plan('linear', 196, 5, 1.0)
  assert counts.tolist() == [s['num_tokens'] for s in roar]
  assert degrees.tolist() == [s['temperature'] for s in roar]
  maskgit = [s for s in steps if s['scheme'] == 'maskgit']
  counts, degrees = schedules.plan('cosine', 196, 4, 2.0, 'linear')
  assert counts.tolist() == [s['num_tokens'] for s in maskgit]
  np.testing.assert_allclose(degrees, [s['temperature'] for s in maskgit])


def test_maskgits_schedule_is_slow_at_the_start_only():
  # Hidden after step i: floor(196 cos(pi i / 16)).
  hidden = [196, 192, 181, 162, 138, 108, 75, 38, 0]
  np.testing.assert_array_equal(schedules.maskgit(196, 8), -np.diff(hidden))
  assert schedules.maskgit(3, 8).tolist() == [1, 1, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize('schedule', sorted(schedules.SCHEDULES))
def test_every_plan_draws_each_token_once(schedule):
  for tokens in (1, 2, 6, 196):
    for steps in (1, 2, 3, 49, 196, 300):
      counts, degrees = schedules.plan(schedule, tokens, steps)
      assert counts.min() >= 1 and counts.sum() == tokens
      assert len(counts) == len(degrees) <= steps


def test_impossible_schedules_raise_in_one_line():
  for arguments, message in (
    (('quadratic', 16, 4), "'quadratic' is unknown; choose one of"),
    (('linear', 16, 0), 'num_steps=0: give a whole number'),
    (('linear', 16, 4, 1.0, 'onex'), "'onex' is unknown"),
    (('linear', 16, 4, 1.0, 'onex:-1:1'), "'onex:-1:1' is unknown"),
    (('linear', 16, 4, 1.0, 'warm'), "'warm' is unknown"),
  ):
    with pytest.raises(ValueError, match=message) as error:
      schedules.plan(*arguments)
    assert '\n' not in str(error.value)
