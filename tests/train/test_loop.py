"""The loop: resume, stop, devices, bad losses."""

import gc
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from fusion_jax.train import checkpoint, log, loop, retention, sharding, step
from tests.train import harness, regression

pytestmark = pytest.mark.multi_device
SCRIPT = pathlib.Path(__file__).with_name('regression.py')


def test_resume_is_exact(tmp_path):
  whole, history = regression.run(tmp_path / 'whole', num_steps=5)
  stopped, _ = regression.run(tmp_path / 'halves', num_steps=5, stop_after=3)
  assert stopped.step == 3
  halves, resumed = regression.run(tmp_path / 'halves', num_steps=5)
  jax.tree.map(np.testing.assert_array_equal, whole, halves)
  harness.assert_same_run(tmp_path / 'whole', tmp_path / 'halves')
  assert [r['step'] for r in resumed] == [r['step'] for r in history]
  assert len({r['train/data/ids'] for r in history}) == 5


def test_resume_between_two_log_lines_is_exact(tmp_path):
  kwargs = {
    'num_steps': 7,
    'log_every': 4,
    'ema_decay': 0.9,
    'accumulate': 2,
    'fsdp': 2,
  }
  regression.run(tmp_path / 'whole', **kwargs)
  regression.run(tmp_path / 'halves', stop_after=3, **kwargs)
  state, _ = regression.run(tmp_path / 'halves', **kwargs)
  harness.assert_same_run(tmp_path / 'whole', tmp_path / 'halves')
  assert list(harness.losses(tmp_path / 'halves')) == [4, 7]
  assert all(
    isinstance(x.sharding, jax.sharding.NamedSharding)
    for x in jax.tree.leaves(state)
  )
  assert state.ema['hidden']['kernel'].sharding.spec == P('fsdp')


def test_a_complete_run_is_left_as_it_is(tmp_path):
  first, history = regression.run(tmp_path, num_steps=2)
  again, same = regression.run(tmp_path, num_steps=2)
  jax.tree.map(np.testing.assert_array_equal, first, again)
  assert history == same


def test_lines_behind_the_checkpoint_are_written_anew(tmp_path):
  """A kill leaves lines of steps that no checkpoint holds, the last torn."""
  regression.run(tmp_path, num_steps=4, stop_after=2)
  path = tmp_path / log.METRICS_FILE
  whole = path.read_text()
  path.write_text(whole + '{"step": 3, "train/loss": 9}\n{"step": 4, "tra')
  _, history = regression.run(tmp_path, num_steps=4)
  assert [r['step'] for r in history] == [1, 2, 3, 4]
  assert history == log.read_history(path)
  assert history[2]['train/loss'] != 9


def test_sigterm_saves_and_stops(tmp_path):
  def stop(state, step):
    del state, step
    os.kill(os.getpid(), signal.SIGTERM)
    return {'eval/x': 1.0}

  before = signal.getsignal(signal.SIGTERM)
  state, _ = regression.run(
    tmp_path / 'run', evals={'stop': (3, stop)}, checkpoint_every=0
  )
  # The signal came after step 3 had been asked for; the next one heeds it.
  assert state.step == 4
  assert checkpoint.list_steps(tmp_path / 'run') == [4]
  assert signal.getsignal(signal.SIGTERM) is before


def test_an_interruption_saves_and_ends_the_call(tmp_path, caplog):
  def interrupt(state, step):
    del state
    if step == 3:
      os.kill(os.getpid(), signal.SIGINT)
      for _ in range(1000):  # Another thread hears of it.
        if 'Ctrl-C again' in caplog.text:
          break
        time.sleep(0.01)
    return {'eval/x': 1.0}

  before = signal.getsignal(signal.SIGINT)
  evals = {'interrupt': (3, interrupt)}
  whole, _ = regression.run(tmp_path / 'whole')
  with pytest.raises(KeyboardInterrupt):
    regression.run(tmp_path / 'run', evals=evals, checkpoint_every=0)
  assert checkpoint.list_steps(tmp_path / 'run') == [4]
  assert signal.getsignal(signal.SIGINT) is before
  resumed, _ = regression.run(tmp_path / 'run')
  jax.tree.map(np.testing.assert_array_equal, whole, resumed)


BLOCKED = """
import ctypes, threading
from fusion_jax.train import preemption
with preemption.stop_requests(None) as stop:
  print('ready', flush=True)
  ctypes.CDLL(None).sleep(60)  # As in a compilation: Python runs no handler.
  ctypes.CDLL(None).sleep(60)  # A signal ends the first one.
"""


@pytest.mark.slow
def test_a_second_interruption_ends_the_process_at_once():
  with subprocess.Popen(
    [sys.executable, '-c', BLOCKED],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    try:
      assert process.stdout is not None and process.stderr is not None
      assert process.stdout.readline() == 'ready\n'
      process.send_signal(signal.SIGINT)
      assert 'Ctrl-C again ends it at once' in process.stderr.readline()
      assert process.poll() is None
      process.send_signal(signal.SIGINT)
      assert process.wait(30) == 130
    finally:
      process.kill()


def test_evaluations_run_when_due_and_at_the_end(tmp_path):
  calls = []

  def evaluate(name):
    def run(state, step):
      assert int(state.step) == step
      calls.append((name, step))
      return {f'eval/{name}': step}

    return run

  _, history = regression.run(
    tmp_path,
    num_steps=5,
    checkpoint_every=0,
    evals={'often': (2, evaluate('often')), 'end': (0, evaluate('end'))},
  )
  assert calls == [('often', 2), ('often', 4), ('often', 5), ('end', 5)]
  assert {'step': 5, 'eval/often': 5.0, 'eval/end': 5.0} in history


def losses(history):
  return np.array([r['train/loss'] for r in history])


def test_any_mesh_gives_the_same_losses(tmp_path):
  _, one = regression.run(tmp_path / '1', devices=jax.devices()[:1])
  _, eight = regression.run(tmp_path / '8')
  _, split = regression.run(tmp_path / '2x4', fsdp=4)
  np.testing.assert_allclose(losses(eight), losses(one), atol=1e-5)
  np.testing.assert_allclose(losses(split), losses(one), atol=1e-5)


def test_saved_on_8_restored_on_2(tmp_path):
  _, whole = regression.run(tmp_path / 'whole')
  regression.run(tmp_path / 'moved', fsdp=4, stop_after=3)
  state, moved = regression.run(
    tmp_path / 'moved', fsdp=2, devices=jax.devices()[:2]
  )
  np.testing.assert_allclose(losses(moved), losses(whole), atol=1e-5)
  assert all(len(x.sharding.device_set) == 2 for x in jax.tree.leaves(state))


def test_micro_batches_train_as_one_batch(tmp_path):
  _, one = regression.run(tmp_path / '1', num_steps=4, noise=0.0)
  _, two = regression.run(tmp_path / '2', num_steps=4, noise=0.0, accumulate=2)
  np.testing.assert_allclose(losses(two), losses(one), atol=1e-5)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_run_goes_on_after_a_full_disk(tmp_path, small_disk):
  """A checkpoint takes 3 MB, and the one before is still there meanwhile."""
  kwargs = {'keep': retention.Keep(last=1)}
  _, whole = regression.run(tmp_path / 'whole', **kwargs)
  with pytest.raises(
    checkpoint.CheckpointError,
    match='the disk is full.*step 2 is the last good one',
  ):
    regression.run(small_disk(5), **kwargs)
  gc.collect()  # Coroutines that Orbax left unfinished.
  assert checkpoint.list_steps(small_disk(20)) == [2]
  _, resumed = regression.run(small_disk(20), **kwargs)
  assert harness.losses(small_disk(20)) == harness.losses(tmp_path / 'whole')
  assert len(resumed) == len(whole)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_file_that_may_not_grow_leaves_the_last_checkpoint(tmp_path):
  """As on a full disk, by a limit that needs no root: 256 KB a file."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)

  def limit(state, step):
    del state, step
    while not checkpoint.list_steps(tmp_path):
      time.sleep(0.01)  # Until the save of step 2 is whole.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, before[1]))
    return {}

  try:
    with pytest.raises(checkpoint.CheckpointError) as caught:
      regression.run(tmp_path, evals={'limit': (3, limit)})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  gc.collect()  # Coroutines that Orbax left unfinished.
  assert str(caught.value) == (
    f'Cannot save a checkpoint in {tmp_path / checkpoint.DIRECTORY}: the disk '
    'is full; free some space, then run the same command to resume (step 2 is '
    'the last good one).'
  )
  assert checkpoint.list_steps(tmp_path) == [2]
  state, _ = regression.run(tmp_path)
  assert state.step == 6


def test_non_finite_loss_names_step_and_modality(tmp_path):
  with pytest.raises(step.NonFiniteError, match='Step 4: loss of rain = inf'):
    regression.run(tmp_path, bad_step=3)
  assert checkpoint.list_steps(tmp_path) == [2]


def test_non_finite_gradient_stops_unless_it_may_be_skipped():
  bad = {'loss': (1.0, 1.0), 'grad_norm': (float('nan'), 1.0)}
  with pytest.raises(step.NonFiniteError, match='Step 7: gradient norm nan'):
    step.check_finite(7, bad)
  step.check_finite(7, bad | {'skipped': (1.0, 1.0)})


def test_bad_part_of_a_loss_is_named_too():
  bad = {
    'loss': (float('inf'), 1.0),
    'loss/heat': (1.0, 1.0),
    'emd/heat': (float('inf'), 1.0),
    'grad_norm': (1.0, 1.0),
  }
  with pytest.raises(step.NonFiniteError, match='loss of emd/heat = inf is'):
    step.check_finite(7, bad)
  step.check_finite(
    7,
    {
      'loss': (1.0, 1.0),
      'grad_norm': (1.0, 1.0),
      'data/x': (float('nan'), 0.0),
    },
  )


def test_batches_of_another_size_are_an_error(tmp_path):
  task = regression.Regression(batch_size=24)
  with pytest.raises(ValueError, match=r'batches of \[24\].*set it to 24'):
    loop.train(
      task,
      regression.optimizer(2),
      loop.Settings(num_steps=1, batch_size=16, seed=0),
      workdir=str(tmp_path),
      mesh=sharding.make_mesh(),
    )


@pytest.mark.parametrize(
  'field, value, message',
  [
    ('num_steps', 0, r'config\.num_steps=0; set it to 1 or more'),
    ('batch_size', -8, r'config\.batch_size=-8; set it to 1'),
    ('accumulate', 0, r'config\.accumulate=0; set it to 1'),
    ('log_every', -1, r'config\.log_every=-1; set it to 0'),
    ('checkpoint_every', -2, r'config\.checkpoint\.every=-2; set it to 0'),
    ('ema_decay', 1.0, r'config\.ema_decay=1\.0 is not in \[0, 1\)'),
  ],
)
def test_wrong_settings_name_the_field_of_the_config(field, value, message):
  right = {'num_steps': 1, 'batch_size': 8, 'seed': 0}
  with pytest.raises(ValueError, match=message):
    loop.Settings(**right | {field: value})


def test_best_metric_without_evaluation_is_an_error(tmp_path):
  with pytest.raises(ValueError, match="best='eval/x' .* no evaluation"):
    regression.run(tmp_path, keep=retention.Keep(best='eval/x'))


def test_end_of_data_is_an_error(tmp_path):
  class Short(regression.Regression):
    def batches(self, split):
      class Two:
        def __init__(self, inner):
          self._inner = inner
          self.get_state = inner.get_state
          self.set_state = inner.set_state

        def __next__(self):
          if self.get_state()['next_index'] == 2:
            raise StopIteration
          return next(self._inner)

      return Two(super().batches(split))

  with pytest.raises(ValueError, match='data ended.*repeat'):
    loop.train(
      Short(),
      regression.optimizer(5),
      loop.Settings(num_steps=5, batch_size=16, seed=0),
      workdir=str(tmp_path),
      mesh=sharding.make_mesh(),
    )


def test_start_from_given_parameters(tmp_path):
  batch = next(regression.Regression().batches('train'))
  params, _ = regression.Regression().init(jax.random.key(9), batch)
  state, _ = regression.run(
    tmp_path, num_steps=1, initial_params=params, ema_decay=0.5
  )
  # The first learning rate is 0, so they are still there.
  jax.tree.map(np.testing.assert_array_equal, params, state.params)
  jax.tree.map(np.testing.assert_array_equal, params, state.ema)


def test_runs_outside_the_main_thread(tmp_path):
  results = []
  thread = threading.Thread(
    target=lambda: results.append(regression.run(tmp_path, num_steps=1))
  )
  thread.start()
  thread.join()
  assert results[0][0].step == 1


@pytest.mark.slow
def test_killed_at_any_step_and_in_a_save(tmp_path):
  """kill -9 five times, then the run equals the one that was not killed."""
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  args = ('--num_steps', 14)
  harness.run(SCRIPT, '--workdir', whole, *args)
  conditions = [
    harness.steps_logged(killed, 1),
    harness.saving(killed, 4),
    harness.steps_logged(killed, 7),
    harness.saving(killed, 8),
    harness.saving(killed, 12),
  ]
  torn = 0
  for condition in conditions:
    with harness.start(SCRIPT, '--workdir', killed, *args) as process:
      assert harness.signal_when(condition, process)
      process.wait()
    torn += len(harness.torn_folders(killed / checkpoint.DIRECTORY))
  assert torn, 'No kill fell into a save; look at harness.saving.'
  harness.run(SCRIPT, '--workdir', killed, *args)
  harness.assert_same_run(whole, killed)
  assert not harness.torn_folders(killed / checkpoint.DIRECTORY)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
  """Without noise by row: two processes hold the same rows in another order."""
  args = ('--fsdp', 2, '--noise', 0)
  harness.run_processes(SCRIPT, '--workdir', tmp_path / 'two', *args)
  _, one = regression.run(tmp_path / 'one', fsdp=2, noise=0.0)
  two = log.read_history(tmp_path / 'two' / log.METRICS_FILE)
  assert [r['step'] for r in two] == [r['step'] for r in one]
  np.testing.assert_allclose(losses(two), losses(one), atol=1e-5)
  # Saved by two processes, resumed by one.
  state, moved = regression.run(tmp_path / 'two', num_steps=8, noise=0.0)
  assert state.step == 8
  assert [r['step'] for r in moved] == list(range(1, 9))


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both_at_the_same_step(tmp_path):
  args = ('--workdir', tmp_path / 'run', '--num_steps', 100_000)
  with harness.start_processes(SCRIPT, *args) as processes:
    assert harness.signal_when(
      harness.steps_logged(tmp_path / 'run', 3), processes[1], signal.SIGTERM
    )
    for process in processes:
      harness.finish(process)
  step = checkpoint.list_steps(tmp_path / 'run')[-1]
  positions = harness.final_data_state(tmp_path / 'run')
  assert len(positions) == 2
  assert {json.loads(p)['next_index'] for p in positions.values()} == {step}


@pytest.mark.slow
def test_sigterm_to_a_run_of_its_own(tmp_path):
  args = ('--workdir', tmp_path / 'run', '--num_steps', 100_000)
  with harness.start(SCRIPT, *args) as process:
    assert harness.signal_when(
      harness.steps_logged(tmp_path / 'run', 3), process, signal.SIGTERM
    )
    harness.finish(process)
  step = checkpoint.list_steps(tmp_path / 'run')[-1]
  assert max(harness.losses(tmp_path / 'run')) == step


def test_step_makes_no_hidden_copies(tmp_path, monkeypatch):
  """The guard is on around the step: a NumPy batch would raise."""
  monkeypatch.setattr(sharding, 'place', lambda batch, mesh: batch)
  with pytest.raises(Exception, match='transfer|sharding|NamedSharding'):
    regression.run(tmp_path, num_steps=1)


def test_parameters_are_float32_and_counters_are_replicated(tmp_path):
  state, _ = regression.run(tmp_path, num_steps=1, fsdp=4)
  assert {x.dtype for x in jax.tree.leaves(state.params)} == {
    jnp.dtype('float32')
  }
  assert state.step.sharding.is_fully_replicated
