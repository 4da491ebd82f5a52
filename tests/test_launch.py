"""The launch scripts build the command they promise."""

import os
import pathlib
import stat
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).parents[1] / 'launch'
ARGUMENTS = ['configs/pretrain.py:size=base', '--config.data.dir=/a b/c']


def run(script, *args, path, **env):
  return subprocess.run(
    ['bash', LAUNCH / script, *args],
    text=True,
    capture_output=True,
    check=False,
    env={'PATH': f'{path}:{os.environ["PATH"]}'} | env,
  )


def fake(folder, name, body):
  """A program that stands for one we do not have here."""
  path = folder / name
  path.write_text(f'#!/usr/bin/env bash\n{body}\n')
  path.chmod(path.stat().st_mode | stat.S_IEXEC)


@pytest.fixture
def programs(tmp_path):
  folder = tmp_path / 'bin'
  folder.mkdir()
  each = 'printf "%s\\n" "$(basename "$0")" "$@"'
  for name in ('srun', 'scontrol'):
    fake(folder, name, each)
  # As ssh does: what is one argument here is a command line there.
  fake(
    folder,
    'gcloud',
    'for a; do last=$a; done\n'
    'printf "%s\\n" "$@" >&2\ncd "$HOME"; bash -c "${last#--command=}"',
  )
  return folder


@pytest.mark.parametrize('script', ['slurm.sh', 'tpu_pod.sh'])
def test_scripts_parse_and_say_how_to_use_them(script, programs):
  subprocess.run(['bash', '-n', LAUNCH / script], check=True)
  result = run(script, path=programs)
  assert result.returncode == 2 and 'Usage' in result.stderr


def test_slurm_starts_main_and_queues_again_until_complete(programs, tmp_path):
  workdir = tmp_path / 'my run'
  kwargs = dict(path=programs, SLURM_JOB_ID='17')
  result = run('slurm.sh', str(workdir), *ARGUMENTS, **kwargs)
  assert result.stdout.splitlines() == [
    'srun',
    '--gpu-bind=none',
    '--kill-on-bad-exit=1',
    'python',
    '-m',
    'fusion_jax.main',
    '--distributed',
    '--config',
    ARGUMENTS[0],
    '--workdir',
    str(workdir),
    ARGUMENTS[1],
    'scontrol',
    'requeue',
    '17',
  ]
  (workdir / 'metrics.json').touch()
  result = run('slurm.sh', str(workdir), *ARGUMENTS, **kwargs)
  assert 'scontrol' not in result.stdout


def test_slurm_does_not_queue_a_failed_run_again(programs, tmp_path):
  fake(programs, 'srun', 'exit 3')
  result = run('slurm.sh', str(tmp_path / 'run'), *ARGUMENTS, path=programs)
  assert result.returncode == 3 and 'scontrol' not in result.stdout


def test_tpu_hosts_get_the_arguments_whole(programs, tmp_path):
  binaries = tmp_path / 'fusion_jax' / '.venv' / 'bin'
  binaries.mkdir(parents=True)
  fake(binaries, 'python', 'printf "%s\\n" "$@" "$JAX_COMPILATION_CACHE_DIR"')
  result = run(
    'tpu_pod.sh',
    '/mnt/my run',
    *ARGUMENTS,
    path=programs,
    HOME=str(tmp_path),
    TPU='slice',
    ZONE='z',
  )
  assert result.stdout.splitlines() == [
    '-m',
    'fusion_jax.main',
    '--distributed',
    '--config',
    ARGUMENTS[0],
    '--workdir',
    '/mnt/my run',
    ARGUMENTS[1],
    '/mnt/my run/cache',
  ]
  assert '--worker=all' in result.stderr and '--zone=z' in result.stderr


def test_tpu_needs_a_name(programs):
  result = run(
    'tpu_pod.sh', '/mnt/x', 'configs/pretrain.py', path=programs, ZONE='z'
  )
  assert result.returncode and 'TPU' in result.stderr
