"""A work directory belongs to one run at a time, until that one ends."""

import os
import signal
import subprocess
import sys

import pytest

from fusion_jax.train import workdir
from tests.train import agreeing, harness

HOLDER = """
import sys, time
from fusion_jax.train import workdir
from tests.train import agreeing, harness
with workdir.hold(sys.argv[1]):
  print('held', flush=True)
  time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
  process = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path)],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'held\n'
  yield process
  process.kill()
  process.wait()
  process.stdout.close()


def test_a_second_run_is_told_who_uses_the_work_directory(tmp_path, holder):
  with pytest.raises(
    workdir.InUseError,
    match=f'^{tmp_path} is in use by process {holder.pid} on .* since 20.*'
    'name another --workdir',
  ):
    with workdir.hold(tmp_path):
      pass


def test_a_lock_does_not_outlive_a_crash(tmp_path, holder):
  holder.send_signal(signal.SIGKILL)
  holder.wait()
  assert str(holder.pid) in (tmp_path / workdir.FILE).read_text()
  with workdir.hold(tmp_path):
    assert f'process {os.getpid()} on' in (tmp_path / workdir.FILE).read_text()
  assert not (tmp_path / workdir.FILE).exists()


def test_a_second_run_in_the_same_process_is_refused(tmp_path):
  with workdir.hold(tmp_path):
    with pytest.raises(workdir.InUseError, match='is in use by process'):
      with workdir.hold(tmp_path):
        pass
  with workdir.hold(tmp_path):  # It is free again.
    pass


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(workdir.InUseError, match='Name another --workdir'):
    with workdir.hold(tmp_path / 'file' / 'run'):
      pass
  with workdir.hold(tmp_path / 'absent'):
    assert (tmp_path / 'absent').is_dir()


@pytest.mark.slow
@pytest.mark.multi_device
def test_every_process_of_a_run_is_told(tmp_path, holder):
  outputs = harness.run_processes(
    agreeing.__file__, '--hold', tmp_path, devices=1
  )
  for output in outputs:
    assert f'{tmp_path} is in use by process {holder.pid} on ' in output
