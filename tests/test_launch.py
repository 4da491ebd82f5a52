"""The launch scripts build the command they promise."""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import time

import pytest
import yaml

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


@pytest.mark.parametrize('script', ['slurm.sh', 'tpu_pod.sh', 'local.sh'])
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


def test_scripts_are_clean():
  scripts = sorted(LAUNCH.glob('*.sh')) + [LAUNCH.parent / '.ci' / 'run']
  shellcheck = shutil.which(
    'shellcheck', path=pathlib.Path(sys.executable).parent
  )
  result = subprocess.run(
    [shellcheck, *scripts], text=True, capture_output=True, check=False
  )
  assert not result.stdout and not result.returncode, result.stdout


def test_a_dry_run_prints_the_commands_and_runs_nothing(programs, tmp_path):
  for name in ('python', 'srun', 'gcloud'):
    fake(programs, name, f'touch {tmp_path}/ran')
  folder = tmp_path / 'run'
  dry = dict(path=programs, DRY_RUN='1')
  command = f'-m fusion_jax.main {{}}--config {ARGUMENTS[0]} --workdir {folder}'
  result = run('slurm.sh', str(folder), *ARGUMENTS, **dry)
  assert command.format('--distributed ') in result.stdout
  result = run('tpu_pod.sh', str(folder), *ARGUMENTS, TPU='t', ZONE='z', **dry)
  assert command.format('--distributed ') in result.stdout
  result = run(
    'local.sh', str(folder), *ARGUMENTS, PROCESSES='3', PORT='12', **dry
  )
  lines = result.stdout.splitlines()
  assert [line.split('--process_id=')[1][0] for line in lines] == list('012')
  assert all(command.format('') in line for line in lines)
  assert '--coordinator_address=localhost:12 --num_processes=3' in lines[0]
  assert not folder.exists() and not (tmp_path / 'ran').exists()


def test_one_process_that_fails_ends_all_on_this_machine(programs, tmp_path):
  fake(
    programs,
    'python',
    'for a; do last=$a; done\n'
    '[[ "$*" == *process_id=1* ]] && exit 3\n'
    'exec sleep 300',
  )
  start = time.monotonic()
  result = run('local.sh', str(tmp_path), *ARGUMENTS, path=programs, PORT='12')
  assert result.returncode == 3
  assert 'ended with status 3; the others are stopped' in result.stderr
  assert time.monotonic() - start < 60


@pytest.mark.slow
@pytest.mark.multi_device
def test_two_processes_train_on_this_machine(tmp_path):
  result = subprocess.run(
    [LAUNCH / 'local.sh', tmp_path, 'pretrain:smoke'],
    text=True,
    capture_output=True,
    check=False,
    cwd=LAUNCH.parent,
    env=os.environ
    | {
      'PATH': f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}',
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '',
    },
  )
  assert not result.returncode, result.stdout[-4000:]
  assert (tmp_path / 'metrics.json').exists()
  assert {line[:3] for line in result.stdout.splitlines()} == {'[0]', '[1]'}


def test_kubernetes_gives_every_pod_its_number():
  service, job = yaml.safe_load_all((LAUNCH / 'k8s.yaml').read_text())
  spec = job['spec']
  (container,) = spec['template']['spec']['containers']
  environment = {x['name']: x['value'] for x in container['env']}
  assert spec['completionMode'] == 'Indexed'
  assert spec['completions'] == spec['parallelism']
  assert environment['NUM_PROCESSES'] == str(spec['completions'])
  command = container['command'][-1]
  assert '--process_id="$JOB_COMPLETION_INDEX"' in command
  host = f'{job["metadata"]["name"]}-0.{service["metadata"]["name"]}'
  port = container['ports'][0]['containerPort']
  assert f'--coordinator_address={host}:{port} ' in command
  assert service['spec']['selector'] == {'job-name': job['metadata']['name']}


@pytest.mark.parametrize(
  'body, complete, status',
  [
    ('exit 0', True, 0),
    ('exit 0', False, 1),  # Told to stop: the Pod is started again.
    ('exit 3', True, 3),
  ],
)
def test_a_pod_ends_well_only_when_the_run_is_complete(
  programs, tmp_path, body, complete, status
):
  _, job = yaml.safe_load_all((LAUNCH / 'k8s.yaml').read_text())
  (container,) = job['spec']['template']['spec']['containers']
  fake(programs, 'python', body)
  if complete:
    (tmp_path / 'metrics.json').touch()
  result = subprocess.run(
    container['command'],
    check=False,
    env={
      'PATH': f'{programs}:{os.environ["PATH"]}',
      'WORKDIR': str(tmp_path),
      'NUM_PROCESSES': '4',
      'JOB_COMPLETION_INDEX': '1',
    },
  )
  assert result.returncode == status


def test_a_pod_that_is_told_to_stop_lets_the_run_save(programs, tmp_path):
  _, job = yaml.safe_load_all((LAUNCH / 'k8s.yaml').read_text())
  (container,) = job['spec']['template']['spec']['containers']
  fake(
    programs,
    'python',
    f'trap "touch {tmp_path}/saved; exit 0" TERM\n'
    f'touch {tmp_path}/ready\nwhile :; do sleep 0.1; done',
  )
  with subprocess.Popen(
    container['command'],
    env={'PATH': f'{programs}:{os.environ["PATH"]}', 'WORKDIR': str(tmp_path)},
  ) as process:
    while not (tmp_path / 'ready').exists():
      time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 1
  assert (tmp_path / 'saved').exists()


@pytest.mark.parametrize(
  'first, second, status', [(0, 5, 5), (4, 0, 4), (0, 0, 0)]
)
def test_no_failure_of_a_process_is_lost(
  programs, tmp_path, first, second, status
):
  fake(
    programs,
    'python',
    f'[[ "$*" == *process_id=1* ]] && exit {second}\nexit {first}',
  )
  result = run('local.sh', str(tmp_path), *ARGUMENTS, path=programs, PORT='12')
  assert result.returncode == status


def test_a_signal_reaches_every_process_on_this_machine(programs, tmp_path):
  fake(
    programs,
    'python',
    f'trap "touch {tmp_path}/saved_$BASHPID; exit 0" TERM\n'
    f'touch {tmp_path}/ready_$BASHPID\nwhile :; do sleep 0.1; done',
  )
  with subprocess.Popen(
    ['bash', LAUNCH / 'local.sh', tmp_path, *ARGUMENTS],
    env={'PATH': f'{programs}:{os.environ["PATH"]}', 'PORT': '12'},
  ) as process:
    while len(list(tmp_path.glob('ready_*'))) < 2:
      time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 0
  assert len(list(tmp_path.glob('saved_*'))) == 2
