"""Locks: who is kept out, by whom, and until when."""

import fcntl
import os
import resource
import subprocess
import sys
import threading

import pytest

from fusion_jax import locks

HOLDER = """
import sys, time
from fusion_jax import locks
with locks.hold(sys.argv[1], 'the map', 'Choose another name.'):
  print('held', flush=True)
  time.sleep(600)
"""


TAKER = """
import sys
from fusion_jax import locks
try:
  with locks.hold(sys.argv[1], 'the map', 'Choose another name.'):
    print('taken')
except locks.InUseError as error:
  print(error)
"""


def hold(path, rivals=''):
  return locks.hold(path, 'the map', 'Choose another name.', rivals)


def test_a_holder_is_named_until_it_is_killed(tmp_path):
  path = tmp_path / 'map.lock'
  process = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(path)], stdout=subprocess.PIPE, text=True
  )
  try:
    assert process.stdout is not None
    assert process.stdout.readline() == 'held\n'
    with pytest.raises(
      locks.InUseError,
      match=rf'^the map is in use by process {process.pid} on \S+ since 20\S+ '
      r'\S+\. Wait for its end or stop it, or choose another name\.$',
    ):
      with hold(path):
        pass
    with pytest.raises(locks.InUseError, match=f'process {process.pid} on'):
      with hold(tmp_path / 'map.lock-0-of-2', 'map.lock'):
        pass
  finally:
    process.kill()
    process.communicate()
  with hold(tmp_path / 'map.lock-0-of-2', 'map.lock'):
    assert not path.exists()  # What a crash left is removed by a rival, too.


def test_rivals_keep_each_other_out_and_others_do_not(tmp_path):
  with hold(tmp_path / '.lock-0-of-2', '.lock'):
    with hold(tmp_path / '.lock-1-of-2', '.lock'):
      with pytest.raises(locks.InUseError, match='the map is in use'):
        with hold(tmp_path / '.lock', '.lock*'):
          pass
    with pytest.raises(locks.InUseError, match='the map is in use'):
      with hold(tmp_path / '.lock-0-of-2', '.lock'):
        pass
  with hold(tmp_path / '.lock', '.lock*'):
    with pytest.raises(locks.InUseError):
      with hold(tmp_path / '.lock-0-of-2', '.lock'):
        pass
  assert not list(tmp_path.iterdir())


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path, monkeypatch):
  """The holder ends between the opening of its file and the lock on it."""
  lockf, calls = fcntl.lockf, []

  def end_before(*args):
    calls.append(args)
    if len(calls) == 1:
      (tmp_path / 'x.lock').unlink()
    lockf(*args)

  monkeypatch.setattr(fcntl, 'lockf', end_before)
  with hold(tmp_path / 'x.lock'):
    assert len(calls) == 2
    assert (tmp_path / 'x.lock').exists()


def test_threads_keep_each_other_out(tmp_path):
  held, errors = threading.Event(), []
  done = threading.Event()

  def other():
    with hold(tmp_path / 'x.lock'):
      held.set()
      done.wait(10)

  thread = threading.Thread(target=other)
  thread.start()
  held.wait(10)
  try:
    with hold(tmp_path / 'x.lock'):
      pass
  except locks.InUseError as error:
    errors.append(error)
  done.set()
  thread.join()
  assert len(errors) == 1


@pytest.mark.parametrize(
  ('mine', 'again', 'rivals'),
  [
    ('folder/x.lock', 'folder/x.lock', ''),
    ('folder/x.lock', 'link/x.lock', ''),
    ('link/x.lock', 'folder/x.lock-0', 'x.lock'),
    ('folder/x.lock', 'link/x.lock-0', 'x.lock'),
  ],
)
def test_a_refused_call_leaves_the_lock_to_its_holder(
  tmp_path, mine, again, rivals
):
  """Another process is kept out, too, also behind another path."""
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'link').symlink_to(tmp_path / 'folder')
  with hold(tmp_path / mine):
    with pytest.raises(
      locks.InUseError, match=f'in use by process {os.getpid()} on'
    ):
      with hold(tmp_path / again, rivals):
        pass
    other = subprocess.run(
      [sys.executable, '-c', TAKER, str(tmp_path / 'link/x.lock')],
      stdout=subprocess.PIPE,
      text=True,
      check=True,
    )
    assert f'in use by process {os.getpid()} on' in other.stdout
    assert (tmp_path / mine).exists()
  assert not list((tmp_path / 'folder').iterdir())


def test_a_full_disk_is_told_and_leaves_no_lock(tmp_path):
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
  try:
    with pytest.raises(
      locks.InUseError, match='^the map cannot be written: File too large. Ch'
    ):
      with hold(tmp_path / 'x.lock'):
        pass
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert not list(tmp_path.iterdir())
  with hold(tmp_path / 'x.lock'):
    pass
