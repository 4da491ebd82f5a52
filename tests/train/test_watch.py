"""What is told of a run while it goes on: goodput, stalls, hangs, a trace."""

import glob
import gzip
import json
import logging
import signal
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.train import (
  checkpoint,
  device_clock,
  goodput,
  log,
  loop,
  profiler,
  progress,
  settings,
  speed,
  stragglers,
  watch,
  watchdog,
)
from tests.train import blocking, harness, regression


@pytest.fixture
def now(monkeypatch):
  """A clock that stands still until the test sets it, {'s': seconds}."""
  clock = {'s': 100.0}
  for name in ('perf_counter', 'monotonic', 'time'):
    monkeypatch.setattr(time, name, lambda: clock['s'])
  return clock


def test_phases_add_up_to_the_wall_time(now):
  wall_time = goodput.WallTime()
  now['s'] += 4  # Compilation.
  wall_time.enter('steps')
  now['s'] += 10
  with wall_time.during('evaluations'):
    now['s'] += 3
    with wall_time.during('checkpoints'):
      now['s'] += 1
    now['s'] += 2
  now['s'] += 5
  wall_time.move('steps', 'input', 2.5)
  assert wall_time.seconds() == {
    'starts': 4,
    'steps': 12.5,
    'input': 2.5,
    'evaluations': 5,
    'checkpoints': 1,
    'restarts': 0,
  }
  assert sum(wall_time.shares().values()) == pytest.approx(1)
  assert wall_time.describe() == (
    'goodput 50% (evaluations 20%, starts 16%, input 10%, checkpoints 4%)'
  )


def test_what_a_kill_costs_is_counted_from_the_last_checkpoint(now):
  killed = goodput.WallTime()
  now['s'] += 10
  killed.enter('steps')
  now['s'] += 50
  state = killed.state()
  now['s'] += 20  # Steps that no checkpoint holds; then it stands still.
  resumed = goodput.WallTime()
  resumed.restore(state)
  now['s'] += 5
  resumed.enter('steps')
  now['s'] += 15
  seconds = resumed.seconds()
  assert seconds['restarts'] == 20 and seconds['starts'] == 15
  assert seconds['steps'] == 65
  assert sum(seconds.values()) == now['s'] - 100
  assert resumed.restarts == 1


class Step:
  """A result that is ready when the test says so."""

  def __init__(self):
    self.ready = threading.Event()

  def block_until_ready(self):
    self.ready.wait()


def test_waiting_for_data_costs_what_goes_beyond_the_running_step(now):
  """Batches that take 0.1 s and 0.5 s, beside a step of 0.2 s."""
  clock = device_clock.DeviceClock()
  clock.resume()
  first, second, third = Step(), Step(), Step()
  clock.dispatched(first, now['s'])
  clock.drawn(now['s'], now['s'] + 0.1)
  clock.dispatched(second, now['s'] + 0.1)
  clock.drawn(now['s'] + 0.1, now['s'] + 0.6)
  now['s'] += 0.2
  first.ready.set()
  while clock.last_finished < now['s']:
    time.sleep(0.001)
  now['s'] += 0.2
  second.ready.set()
  clock.wait()
  assert clock.take() == device_clock.Waits(2, 0.0, 0.0)
  now['s'] += 0.3
  clock.dispatched(third, now['s'])  # 0.1 s later than its batch was there.
  third.ready.set()
  clock.wait()
  assert clock.take() == pytest.approx((1, 0.3, 0.2))
  clock.drawn(now['s'], now['s'] + 0.4)
  now['s'] += 0.5
  clock.pause()  # Nothing else is handed out before an evaluation.
  assert clock.take() == pytest.approx((0, 0.5, 0.4))
  now['s'] += 60
  clock.resume()
  clock.dispatched(first, now['s'])
  clock.wait()
  assert clock.take() == pytest.approx((1, 0, 0))
  clock.close()


def test_percentiles_of_steps():
  values = speed.summary([0.1] * 98 + [1.0, 2.0])
  assert values['perf/step_ms'] == pytest.approx(128)
  assert values['perf/step_ms_p50'] == pytest.approx(100)
  assert values['perf/step_ms_p90'] == pytest.approx(100)
  assert 1000 < values['perf/step_ms_p99'] < 2000


def test_the_slowest_process_and_its_excess_over_the_others():
  assert stragglers.slowest([0.1, 0.1, 0.9, 0.3]) == (2, pytest.approx(0.8))
  assert stragglers.slowest([0.5]) == (0, 0.0)
  np.testing.assert_array_equal(stragglers.gather([1, 2]), [[1, 2]])


def test_a_straggler_and_a_stalled_input_are_named(monkeypatch):
  """Of three processes, the devices of the last one wait for data."""
  monkeypatch.setattr(watch.jax, 'process_count', lambda: 3)
  monkeypatch.setattr(
    watch.stragglers, 'host_names', lambda: ['node1', 'node2', 'node3']
  )
  rows = [[0.1, 0.0], [0.2, 0.1], [7.0, 6.5]]
  monkeypatch.setattr(watch.stragglers, 'gather', lambda x: np.array(rows))
  with watch.Watch(settings.Watching(), '') as made:
    made._clock.dispatched(jnp.zeros(()), time.perf_counter())
    values = made.gauge(10.0)
    text, (warning,) = made.report()
    assert made.report()[1] == []  # Told once.
  assert values['perf/input_wait'] == pytest.approx(0.65)
  assert values['perf/slowest_process'] == 2
  assert values['perf/slowest_ms'] == pytest.approx(6850)
  assert 'process 2 on node3 keeps the others waiting for 68% of' in text
  assert warning.startswith(
    'The devices of process 2 on node3 waited for data in 65% of the time'
  )
  assert 'more threads' in warning and 'faster disk' in warning


@pytest.mark.multi_device
def test_a_run_whose_data_are_slow_is_told_so_every_minute(
  tmp_path, monkeypatch, caplog
):
  class Slow(blocking.Batches):
    def __next__(self):
      time.sleep(0.15)
      return next(self._batches)

  class Task(regression.Regression):
    def batches(self, split):
      return Slow(super().batches(split), last=None)

  monkeypatch.setattr(progress, 'PERIOD_S', 0.3)
  monkeypatch.setattr(watch, 'STALLED', 0.02)  # On a busy machine, too.
  monkeypatch.setattr(regression, 'Regression', Task)
  with caplog.at_level(logging.INFO):
    _, history = regression.run(tmp_path, checkpoint_every=0)
  lines = [r.message for r in caplog.records if ', goodput ' in r.message]
  assert 2 <= len(lines) <= 6, caplog.text
  for part in ('step ', '/6 (', '%), loss ', ' steps/s, ', ' examples/s, '):
    assert all(part in line for line in lines)
  assert ' left, goodput ' in lines[-2]
  assert 'waited for data in ' in caplog.text
  # A step that is slower than its data, on a busy machine, has no wait.
  assert max(row['perf/input_wait'] for row in history) > 0.02
  shares = [
    history[-1][f'perf/share/{x}'] for x in goodput.PHASES if x != 'steps'
  ]
  assert sum(shares) + history[-1]['perf/goodput'] == pytest.approx(1)


def test_a_minute_line_does_not_wait_for_a_line_of_metrics(
  tmp_path, monkeypatch, caplog, now
):
  made = log.Log(
    tmp_path, num_steps=1000, every=0, examples_per_step=32, watch=None
  )
  made.start()
  made.resume()
  with caplog.at_level(logging.INFO):
    for step in range(1, 8):
      now['s'] += 15
      made.step(step, {'loss': (float(step), 1)})
  made.close()
  (line,) = [r.message for r in caplog.records if 'steps/s' in r.message]
  assert line == (
    'step 4/1000 (0%), loss 2.5, 0.0667 steps/s, 2.13 examples/s, 4.2 h left'
  )
  assert made.history == []


@pytest.mark.parametrize(
  'seconds, text',
  [(59, '59 s'), (600, '10 min'), (9_000, '2.5 h'), (400_000, '4.6 days')],
)
def test_times_are_told_in_units_that_fit(seconds, text):
  assert progress.duration(seconds) == text


@pytest.mark.multi_device
def test_goodput_counts_on_after_a_restart(tmp_path):
  regression.run(tmp_path, stop_after=3)
  saved = checkpoint.read_metadata(tmp_path, 3)['goodput']
  _, history = regression.run(tmp_path)
  end = checkpoint.read_metadata(tmp_path, 6)['goodput']
  assert (saved['restarts'], end['restarts']) == (0, 1)
  assert saved['seconds']['restarts'] == 0 < end['seconds']['restarts']
  assert all(
    end['seconds'][phase] >= saved['seconds'][phase] for phase in goodput.PHASES
  )
  wall = sum(end['seconds'].values()) - sum(saved['seconds'].values())
  assert wall == pytest.approx(end['time'] - saved['time'], abs=0.1)
  assert history[-1]['perf/share/checkpoints'] > 0


@pytest.mark.multi_device
def test_a_trace_holds_the_steps_that_were_asked_for(tmp_path):
  regression.run(
    tmp_path,
    checkpoint_every=0,
    watching=settings.Watching(profile_start=2, profile_steps=2),
  )
  folder = f'{tmp_path}/{profiler.DIRECTORY}/plugins/profile/*'
  assert glob.glob(f'{folder}/*.xplane.pb')
  (path,) = glob.glob(f'{folder}/*.trace.json.gz')
  with gzip.open(path) as file:
    events = json.load(file)['traceEvents']
  steps = [x['args']['step_num'] for x in events if x.get('name') == 'train']
  assert steps == ['3', '4']


@pytest.mark.parametrize(
  'change, message',
  [
    ({'hang_s': -1.0}, r'config\.watch\.hang_s=-1\.0; set it to 0 or more'),
    ({'profile_steps': -2}, r'config\.watch\.profile\.steps=-2; set it to 0'),
  ],
)
def test_wrong_settings_name_the_field(change, message):
  with pytest.raises(ValueError, match=message):
    settings.Watching(**change)


def test_the_watchdog_lets_slow_work_between_steps_be(tmp_path, monkeypatch):
  ended = []
  monkeypatch.setattr(
    watchdog.Watchdog, '_end', lambda self, silent_s: ended.append(silent_s)
  )
  dog = watchdog.Watchdog(0.2, tmp_path, lambda: 0.0, lambda: '')
  time.sleep(0.5)
  dog.guard()
  dog.rest()
  time.sleep(0.5)
  assert not ended
  dog.guard()
  time.sleep(0.5)
  dog.close()
  assert ended and ended[0] > 0.2


STOPPED = """
import time
from fusion_jax.train import watchdog
finished = [time.perf_counter()]
dog = watchdog.Watchdog(1.0, '.', lambda: finished[0], lambda: '')
dog.guard()
print('on guard', flush=True)
for _ in range(40):
  time.sleep(0.05)
  finished[0] = time.perf_counter()
dog.close()
"""


def test_a_process_that_was_stopped_and_goes_on_is_not_ended(tmp_path):
  with subprocess.Popen(
    [sys.executable, '-c', STOPPED], cwd=tmp_path, stdout=subprocess.PIPE
  ) as process:
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.7)
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 0
  assert not (tmp_path / watchdog.DIRECTORY).exists()


def assert_stacks(workdir, process, output, waits_for, frame):
  """One line says what happened; the stacks show where the process stands."""
  path = workdir / watchdog.DIRECTORY / f'process_{process}.txt'
  (line,) = [x for x in output.splitlines() if x.startswith('No step has fin')]
  assert f'process {process} on ' in line and f'waits for {waits_for}' in line
  assert str(path) in line and 'config.watch.hang_s=' in line
  for text in (output, path.read_text()):
    assert frame in text
  assert path.read_text().startswith(line)


@pytest.mark.slow
@pytest.mark.multi_device
def test_input_that_blocks_ends_the_run_with_its_stacks(tmp_path):
  with harness.start(
    blocking.__file__, '--workdir', tmp_path, '--hang_s', 2
  ) as process:
    output, _ = process.communicate(timeout=100)
  assert process.returncode == 1
  assert_stacks(
    tmp_path, 0, output, 'a batch of data after step ', 'wait_for_a_disk'
  )
  assert checkpoint.list_steps(tmp_path) == [2]


@pytest.mark.slow
@pytest.mark.multi_device
def test_a_process_that_blocks_ends_both_with_their_stacks(tmp_path):
  with harness.start_processes(
    blocking.__file__,
    *('--workdir', tmp_path, '--hang_s', 4, '--blocks', 1),
    devices=1,
  ) as both:
    outputs = [process.communicate(timeout=100)[0] for process in both]
  assert [process.returncode for process in both] == [1, 1]
  assert_stacks(tmp_path, 1, outputs[1], 'a batch of data', 'wait_for_a_disk')
  assert_stacks(
    tmp_path, 0, outputs[0], 'the devices, or for another process', 'consume'
  )


def test_loop_settings_are_those_of_the_settings_module():
  assert loop.Settings is settings.Settings
