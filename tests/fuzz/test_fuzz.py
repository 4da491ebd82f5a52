"""Damaged files are read, or refused by name; see `python -m tests.fuzz`."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tests.fuzz import mutations, trial


def run(*argv):
  return subprocess.run(
    [sys.executable, '-W', 'ignore', '-m', 'tests.fuzz', *argv],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': os.getcwd()},
    check=False,
  )


def test_damaged_files_are_told_by_name():
  done = run(
    '--rounds=3', '--seed=1', '-v', '--formats', 'weights.pt', 'prompts.npz'
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert '| all 6 |' in done.stdout


@pytest.mark.slow
def test_damaged_files_of_every_format_are_told_by_name():
  done = run('--rounds=1000', '--seconds=40', '--seed=2', '-v')
  assert done.returncode == 0, done.stdout + done.stderr


def test_damage_depends_on_the_seed_only():
  content = bytes(range(256)) * 8
  made = [
    mutations.mutate(content, np.random.default_rng([seed]))
    for seed in (1, 1, 2)
  ]
  assert made[0] == made[1] != made[2]


def test_damage_reaches_the_members_of_archives(tmp_path):
  np.savez(tmp_path / 'a.npz', a=np.arange(50), b=np.arange(50))
  content, intact = (tmp_path / 'a.npz').read_bytes(), 0
  for seed in range(40):
    damaged = mutations.mutate(content, np.random.default_rng([seed]))
    (tmp_path / 'b.npz').write_bytes(damaged)
    try:
      with zipfile.ZipFile(tmp_path / 'b.npz') as archive:
        intact += archive.testzip() is None
    except Exception:  # Whatever zipfile says of damage.
      pass
  assert 10 < intact < 40  # Their checksums are right, their content is not.


PROGRAM = """
import ctypes, pathlib, sys
from tests.fuzz import trial

def refuse(path): raise ValueError(f'{path} is damaged')
def hide(path): raise ValueError('it is damaged')
def stumble(path): return [][0]
def crash(path): ctypes.string_at(0)
def take(path): return bytearray(2**27)
def wait(path):
  while True: pass

trial._CPU_S, trial._GROWTH = 1, 2**26
for read in (print, refuse, hide, stumble, crash, take, wait):
  print(trial.run(read, pathlib.Path('/tmp/a.tif')).outcome.name)
"""


def test_every_outcome_is_recognised():
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': os.getcwd()},
    check=True,
  )
  expected = 'OK ERROR UNNAMED TRACEBACK CRASH MEMORY HANG'.split()
  assert done.stdout.split() == expected
  assert {trial.Outcome[name] for name in expected[:2]} == trial.GOOD
