"""The command: configurations, bad arguments, a run from start to report."""

import json
import pathlib
import subprocess
import sys
import time

import jax
import ml_collections
import pytest

from fusion_jax import configurations, runs
from fusion_jax.assembly import backbone as backbone_assembly
from fusion_jax.commands import app, door
from fusion_jax.configs import common
from fusion_jax.configs import pretrain as pretrain_config
from fusion_jax.train import workdir
from tests.train import harness

ROOT = pathlib.Path(harness.ROOT)
SIZES = sorted(pretrain_config.SIZES)


@pytest.mark.parametrize('data', sorted(pretrain_config.DATA))
@pytest.mark.parametrize('size', SIZES)
def test_every_configuration_describes_a_model(size, data):
  config = pretrain_config.get_config(f'size={size},data={data}')
  backbone = backbone_assembly.make_model(config)
  mixture = backbone_assembly.make_mixture(config)
  assert {m.name for m in backbone.modalities} == set(mixture.input_alphas)
  assert mixture.num_components == 2


def test_the_base_size_is_the_papers():
  config = pretrain_config.get_config('size=base,data=terramesh')
  assert dict(config.slots) == {'encoder': 128, 'decoder': 128}
  assert config.num_steps * config.batch_size * 256 == pytest.approx(
    1e10, rel=0.03
  )
  assert config.optimizer.warmup_steps * config.batch_size * 256 == (
    pytest.approx(1e9, rel=1e-3)
  )


def test_an_unknown_argument_after_the_colon_lists_the_choices():
  with pytest.raises(ValueError, match='size'):
    pretrain_config.get_config('sise=base')
  with pytest.raises(ValueError, match='base'):
    pretrain_config.get_config('size=huge')
  with pytest.raises(ValueError, match='terramesh'):
    pretrain_config.get_config('data=mars')


def test_arguments_take_the_type_of_their_default():
  parsed = common.parse('size=base,smoke', size='demo', smoke=False, n=3)
  assert parsed.to_dict() == {'size': 'base', 'smoke': True, 'n': 3}


def test_a_batch_that_does_not_divide_names_the_nearest(tmp_path):
  config = pretrain_config.get_config('smoke')
  config.batch_size = 100
  assert jax.device_count() == 8
  with pytest.raises(ValueError, match='batch_size=100.*try 96'):
    runs.run(config, tmp_path)


def test_an_unknown_task_lists_the_choices(tmp_path):
  with pytest.raises(ValueError, match='pretrain'):
    runs.run(ml_collections.ConfigDict({'task': 'classify'}), tmp_path)


def run_command(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'fusion_jax.main', *map(str, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=400,
    check=False,
  )


@pytest.mark.parametrize(
  'text', ['pretrain', 'pretrain.py', 'configs/pretrain.py']
)
def test_a_shipped_configuration_is_found_anywhere(text, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  result = configurations.find(f'{text}:size=mini')
  assert result == f'{configurations.FOLDER / "pretrain.py"}:size=mini'
  assert configurations.load(f'{text}:size=mini').to_dict() == (
    pretrain_config.get_config('size=mini').to_dict()
  )


def test_a_file_of_ones_own_goes_before_a_shipped_one(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  own = tmp_path / 'configs' / 'pretrain.py'
  own.parent.mkdir()
  own.write_text(
    'import ml_collections\n'
    'def get_config(arg):\n'
    '  return ml_collections.ConfigDict({"arg": arg})\n'
  )
  assert configurations.find('configs/pretrain.py:a') == 'configs/pretrain.py:a'
  config = configurations.load('configs/pretrain.py:a')
  assert config.arg == 'a' and config.is_locked


def test_only_configurations_have_names():
  assert {'pretrain', 'align_pixels'} <= set(configurations.names())
  assert not {'common', '__init__'} & set(configurations.names())


@pytest.mark.parametrize(
  'argv, message',
  [
    ([], 'needs --config'),
    (['--config'], 'needs --config'),
    (['--workdir', 'x'], 'needs --config'),
    (
      ['--config', 'pretrian'],
      'no configuration pretrian. Did you mean pretrai',
    ),
    (['--config=configs/pretrian.py:smoke'], 'Did you mean pretrain'),
    (['--config=/no/such.py'], 'no configuration /no/such.py. Give the path'),
    (['--config', 'pretrain:size=huge'], 'size=huge is not one of'),
    (['--config', 'pretrain:sise=mini'], "Unknown argument 'sise'"),
  ],
)
def test_a_wrong_configuration_is_told_in_one_line(argv, message, capsys):
  with pytest.raises(SystemExit) as caught:
    app.main(['train', *argv])
  output = capsys.readouterr().err
  assert caught.value.code and message in output and output.count('\n') == 1


@pytest.mark.parametrize(
  'flag, message',
  [
    ('--config.num_step=5', 'no field num_step. Did you mean num_steps?'),
    (
      '--config.num_steps=many',
      "invalid literal for int() with base 10: 'many'",
    ),
    ('--wrkdir=x', 'Did you mean: workdir'),
    ('x', 'what should x mean'),
  ],
)
@pytest.mark.slow
def test_a_misspelt_field_or_flag_names_the_right_one(flag, message):
  done = run_command('--config', 'configs/pretrain.py', flag)
  assert done.returncode == 2
  assert message in done.stderr and done.stderr.count('\n') == 1


@pytest.mark.slow
def test_a_run_ends_with_a_report_and_goes_on_when_called_again(tmp_path):
  arguments = ('--config', 'configs/pretrain.py:smoke', '--workdir', tmp_path)
  done = run_command(*arguments)
  assert not done.returncode, done.stderr[-3000:]
  report = (tmp_path / 'report.md').read_text()
  assert 'simulated Earth' in report
  for picture in (tmp_path / 'pictures').iterdir():
    assert f'pictures/{picture.name}' in report
  numbers = json.loads((tmp_path / 'metrics.json').read_text())
  assert numbers['train/steps'] == 2
  for lead in (-47, 0, 12):
    for name in ('', 'climatology/', 'linear_regression/', 'oracle/'):
      assert f'eval/t2m_hourly/{name}r2_lead_{lead}' in numbers
  again = run_command(*arguments)
  assert not again.returncode, again.stderr[-3000:]
  assert 'The run is complete: 2 steps.' in again.stderr
  assert f'Its report is {tmp_path}/report.md' in again.stderr
  assert 'Evaluation' not in again.stderr
  assert json.loads((tmp_path / 'metrics.json').read_text()) == numbers


@pytest.mark.slow
def test_the_real_samples_train(tmp_path):
  done = run_command(
    '--config', 'configs/pretrain.py:data=samples,smoke', '--workdir', tmp_path
  )
  assert not done.returncode, done.stderr[-3000:]
  numbers = json.loads((tmp_path / 'metrics.json').read_text())
  assert 'train/loss/coords' in numbers and 'val/loss' in numbers


def two_processes(workdir, *arguments, devices):
  """Starts the smoke run of pretraining as two processes on this machine."""
  return harness.start_processes(
    '-m',
    'fusion_jax.main',
    *('--config', 'configs/pretrain.py:smoke', '--workdir', workdir),
    *arguments,
    devices=devices,
    coordinator='--coordinator_address',
  )


@pytest.mark.slow
@pytest.mark.multi_device
def test_a_failure_to_prepare_ends_every_process(tmp_path):
  with two_processes(
    tmp_path, '--config.data.prepare.compression=zip', devices=4
  ) as (first, second):
    outputs = [
      process.communicate(timeout=200)[0] for process in (first, second)
    ]
  assert first.returncode == second.returncode == 1
  assert "compression='zip'" in outputs[0], outputs[0][-3000:]
  message = 'fusion-jax train: Process 0 could not prepare'
  assert message in outputs[1], outputs[1][-3000:]
  for output in outputs:
    assert 'Traceback' not in output, output[-3000:]


@pytest.mark.slow
@pytest.mark.multi_device
def test_a_process_that_dies_ends_the_other_within_a_minute(
  tmp_path, monkeypatch
):
  monkeypatch.setenv('JAX_CPU_COLLECTIVES_IMPLEMENTATION', 'gloo')
  with two_processes(
    tmp_path,
    '--config.num_steps=1000000',
    '--config.checkpoint.every=0',
    '--config.evals.every=0',
    devices=1,
  ) as (first, second):
    assert harness.signal_when(harness.steps_logged(tmp_path, 2), second)
    start = time.monotonic()
    output, _ = first.communicate(timeout=200)
    seconds = time.monotonic() - start
  assert first.returncode
  assert 'another task died' in output, output[-3000:]
  assert seconds < 60


@pytest.mark.slow
@pytest.mark.parametrize('process_id', [0, 1])
def test_a_process_that_never_joins_ends_the_others_in_one_line(
  process_id, tmp_path
):
  address = harness.free_address()
  done = run_command(
    *('--config', 'configs/pretrain.py:smoke', '--workdir', tmp_path / 'run'),
    f'--coordinator_address={address}',
    *('--num_processes=2', f'--process_id={process_id}'),
    '--join_timeout_s=3',
  )
  assert done.returncode == 1
  assert 'stack trace' not in done.stderr
  assert done.stderr.splitlines()[-1].startswith(
    'fusion-jax train: the processes of this run have not all joined at '
    f'{address} after 3 s (--join_timeout_s). One of them did not start'
  )
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('parent', ['/proc', 'file'])
def test_a_work_directory_that_cannot_be_written_is_named_at_the_start(
  parent, tmp_path
):
  (tmp_path / 'file').touch()
  folder = tmp_path / parent / 'run'  # '/proc' stands alone: it is absolute.
  with pytest.raises(
    workdir.InUseError,
    match=f'^{folder} cannot be written: .*--workdir.$',
  ) as caught:
    runs.run(pretrain_config.get_config('smoke'), folder)
  assert door.one_line(caught.value) == str(caught.value)
