"""A work directory belongs to one run at a time, until that one ends."""

import signal
import subprocess
import sys

import pytest

from fusion_jax.train import workdir

HOLDER = """
import sys, time
from fusion_jax.train import workdir
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
  with workdir.hold(tmp_path):
    assert (tmp_path / workdir.FILE).read_text().startswith('process ')
  assert not (tmp_path / workdir.FILE).read_text()
