"""Fixtures of the runs; they compile the same two small programs over again."""

import shutil
import subprocess

import jax
import pytest

jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


@pytest.fixture
def small_disk(tmp_path):
  """Megabytes -> a folder with so much room; called again, it gets that."""
  folder = tmp_path / 'small'
  folder.mkdir()

  def mount(megabytes):
    options = f'size={megabytes}m' + (',remount' * folder.is_mount())
    command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)]
    if (
      shutil.which('mount') is None
      or subprocess.run(command, capture_output=True, check=False).returncode
    ):
      pytest.skip('Mounting needs root.')
    return folder

  yield mount
  if folder.is_mount():
    subprocess.run(['umount', '-l', str(folder)], check=True)
