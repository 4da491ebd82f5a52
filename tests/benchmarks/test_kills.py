"""Three of the random rounds of `benchmarks/kills.py`, and its page."""

import pathlib
import subprocess
import sys

import pytest

from benchmarks import kills

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(kills.WORK))
def test_a_command_killed_at_random_leaves_what_nobody_killed(name, tmp_path):
  # In a process of its own: those that it kills are forked from it.
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'benchmarks.kills', '--rounds', '3'),
      *('--only', name, '--out', tmp_path / 'kills.md'),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert not done.returncode, done.stderr[-3000:]
  assert f'| {name} | 3 |' in (tmp_path / 'kills.md').read_text()


def test_the_page_counts_the_kills_by_their_moment():
  early, late = kills.Kill('early'), kills.Kill('late')
  page = kills.report({'map': [[early, early], [late]]}, first=7, seconds=600)
  assert '--rounds 2 --first 7`' in page and '10 minutes' in page
  assert page.rstrip().endswith('| map | 2 | 3 | 2 | 0 | 1 |')
