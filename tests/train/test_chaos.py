"""Three of the random rounds of `benchmarks/chaos.py`, and its page."""

import signal

import pytest

from benchmarks import chaos


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The work directory of the run that nobody kills."""
  return chaos.run_whole(tmp_path_factory.mktemp('chaos') / 'whole')


@pytest.mark.slow
@pytest.mark.multi_device
@pytest.mark.parametrize('seed', [0, 1, 3])
def test_a_run_killed_at_random_ends_as_if_nobody_had(seed, whole, tmp_path):
  kills = chaos.run_round(tmp_path / 'run', whole, seed)
  assert not all(kill.missed for kill in kills)


def test_every_example_is_expected_about_as_often():
  counts = chaos.expected_counts()
  assert counts.sum() == chaos.NUM_STEPS * 16
  assert set(counts) == {3, 4}


def test_the_page_counts_every_kill_once():
  both = chaos.Kill((0, 1), signal.SIGKILL, 'save', in_save=True)
  one = chaos.Kill((1,), signal.SIGTERM, 'step', survived_s=1.25, missed=True)
  page = chaos.report([[both], [one, one]], first=7, seconds=600)
  assert '2 rounds of 24 steps' in page and '3 kills, 10 minutes' in page
  assert page.rstrip().endswith(
    '| KILL | both | save | 1 | 0 | 1 | 0.0 |\n'
    '| TERM | one | step | 2 | 2 | 0 | 1.2 |'
  )
