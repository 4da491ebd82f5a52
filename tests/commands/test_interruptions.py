"""Ctrl-C and second calls, with real processes in a terminal's group."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fusion_jax.train import checkpoint
from tests.train import harness

pytestmark = pytest.mark.slow


def start(*arguments):
  """Starts a command in a process group of its own, as a terminal does."""
  return subprocess.Popen(
    [sys.executable, '-m', 'fusion_jax.commands.app', *map(str, arguments)],
    cwd=harness.ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )


def interrupt(process, condition):
  """Presses Ctrl-C when a condition holds; returns what was said."""
  end = time.monotonic() + 200
  while not condition() and process.poll() is None and time.monotonic() < end:
    time.sleep(0.01)
  if process.poll() is None:
    os.killpg(process.pid, signal.SIGINT)
  return process.communicate(timeout=200)[1]


def finish(process):
  errors = process.communicate(timeout=300)[1]
  assert process.returncode == 0, errors[-3000:]
  return errors


def test_a_run_is_saved_and_says_how_it_goes_on(tmp_path):
  process = start(
    *('train', '--config', 'configs/pretrain.py:smoke'),
    *('--workdir', tmp_path / 'a run', '--config.num_steps=400'),
    *('--config.evals.every=0', '--config.checkpoint.every=0'),
    '--config.log_every=1',
  )
  said = interrupt(process, harness.steps_logged(tmp_path / 'a run', 3))
  assert process.returncode == 130, said[-3000:]
  assert 'Traceback' not in said
  assert 'Ctrl-C again ends it at once' in said
  assert said.splitlines()[-1] == (
    'fusion-jax train: interrupted. It goes on where it stopped with: '
    "fusion-jax train --config configs/pretrain.py:smoke --workdir '"
    f"{tmp_path}/a run' --config.num_steps=400 --config.evals.every=0 "
    '--config.checkpoint.every=0 --config.log_every=1'
  )
  (step,) = checkpoint.list_steps(tmp_path / 'a run')
  assert f'Stopped at step {step} of 400' in said


def prepare(out, *more):
  return start(
    *('prepare', 'simulated', '--out', out, '--image-size', 16),
    *('--images', 'LULC', '--splits', 'train=160', '--num-workers', 2, *more),
  )


def contents(folder):
  return {p.name: p.read_bytes() for p in folder.glob('*.array_record')}


def test_a_data_set_goes_on_after_ctrl_c_and_has_one_writer(tmp_path):
  finish(prepare(tmp_path / 'whole'))
  out = tmp_path / 'data'
  process = prepare(out)
  while not list((out / '.notes').glob('*.json')):
    assert process.poll() is None
    time.sleep(0.01)
  os.killpg(process.pid, signal.SIGSTOP)
  second = prepare(out)
  said = second.communicate(timeout=200)[1]
  assert second.returncode == 1, said[-3000:]
  assert f'{out} is in use by process {process.pid} on ' in said
  assert 'Traceback' not in said
  os.killpg(process.pid, signal.SIGINT)  # Before it can end by itself.
  os.killpg(process.pid, signal.SIGCONT)
  said = process.communicate(timeout=200)[1]
  assert process.returncode == 130, said[-3000:]
  assert 'Traceback' not in said
  assert 'It goes on where it stopped with: fusion-jax prepare' in said
  finish(prepare(out))
  assert contents(out) == contents(tmp_path / 'whole')
