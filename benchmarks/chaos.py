r"""Kills a run of two processes at random moments until it is done.

  python -m benchmarks.chaos --rounds 100

Every round trains a small model with two processes that are killed once or
twice: -9 or TERM, one process or both, at a random moment of the start,
after a random step, or during a save. After each kill the same command is run
again. At the end, parameters, optimizer, positions in the data and losses of
every step must be bit for bit those of the run that nobody killed, and every
example must have been trained on exactly as often. A process whose peer was
killed must end by itself within a minute. The first round that differs ends
the script with an error. `--first` starts from another seed.
"""

import argparse
import collections
import contextlib
import dataclasses
import pathlib
import platform
import random
import shutil
import signal
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging

from fusion_jax.train import agreement, checkpoint, log, workdir
from tests.train import harness, regression

NUM_STEPS = 24
CHECKPOINT_EVERY = 3
EXAMPLES = 100  # Of the regression task.
LIMIT_S = 60  # In which the other process has to end.
# JAX's coordinator takes a process for dead that was silent for so long. 30 s
# in the command `fusion-jax train`, 10 s here to save time.
HEARTBEAT_S = 10
# In which a process that waits for a dead one to join gives up; 300 s there.
JOIN_S = 20


class Counting(regression.Regression):
  """The regression task, which counts in its state what it was trained on."""

  def init(self, key, batch):
    params, extra = super().init(key, batch)
    return params, extra | {'counts': jnp.zeros(EXAMPLES, jnp.int32)}

  def loss(self, params, extra, batch, key):
    loss, (metrics, seen) = super().loss(params, extra, batch, key)
    counts = extra['counts'].at[batch['id']].add(1)
    return loss, (metrics, seen | {'counts': counts})


@dataclasses.dataclass
class Kill:
  """One kill, and what came of it.

  Attributes:
    victims: numbers of the processes that get the signal.
    number: the signal.
    moment: 'start', 'step' or 'save'.
    in_save: whether it left a checkpoint that is not whole.
    survived_s: seconds that the others lived on; 0 if there was none.
    missed: whether the run ended before its moment came.
  """

  victims: tuple[int, ...]
  number: signal.Signals
  moment: str
  in_save: bool = False
  survived_s: float = 0.0
  missed: bool = False


def expected_counts() -> np.ndarray:
  """How often each example is trained on, [100], from the data alone."""
  batches = regression.Regression().batches('train')
  ids = np.concatenate([next(batches)['id'] for _ in range(NUM_STEPS)])
  return np.bincount(ids, minlength=EXAMPLES)


def run_whole(folder: pathlib.Path) -> pathlib.Path:
  """Trains without a kill; returns the work directory."""
  with _processes(folder) as both:
    for process in both:
      harness.finish(process)
  return folder


def run_round(folder: pathlib.Path, whole: pathlib.Path, seed: int):
  """Runs one round and asserts that it ends as the run that nobody killed.

  Args:
    folder: work directory of this round.
    whole: work directory of the run that nobody killed.
    seed: seed of the kills.

  Returns:
    A list of `Kill`.
  """
  rng = random.Random(f'round {seed}')
  kills = [
    Kill(
      rng.choice(((0,), (1,), (0, 1))),
      rng.choice((signal.SIGKILL, signal.SIGTERM)),
      rng.choice(('start', 'step', 'save')),
    )
    for _ in range(rng.randint(1, 2))
  ]
  for kill in kills:
    with _processes(folder) as both:
      kill.missed = not _strike(kill, both, folder, rng)
      kill.survived_s = _wait_for_end(both, seed)
    kill.in_save = bool(harness.torn_folders(folder / checkpoint.DIRECTORY))
  run_whole(folder)
  harness.assert_same_run(whole, folder)
  counts = harness.final_arrays(folder)['extra']['counts']
  np.testing.assert_array_equal(counts, expected_counts())
  assert not harness.torn_folders(folder / checkpoint.DIRECTORY)
  return kills


def _strike(kill, both, folder, rng):
  """Sends the signal at its moment; whether it came to that."""
  wait_s = rng.uniform(0, 0.05)
  if kill.moment == 'start':
    wait_s, condition = rng.uniform(0, 6), lambda: True
  elif kill.moment == 'step':
    steps = checkpoint.list_steps(folder)
    first = steps[-1] + 1 if steps else 1
    condition = _logged(folder, rng.randint(first, max(first, NUM_STEPS - 1)))
  else:
    condition = _saving(folder)
  while not condition():
    if any(process.poll() is not None for process in both):
      return False
    time.sleep(0.0005)
  time.sleep(wait_s)
  alive = [both[i] for i in kill.victims if both[i].poll() is None]
  for process in alive:
    process.send_signal(kill.number)
  return bool(alive)


def _logged(folder, step):
  """A condition: this launch has logged the step, or one after it."""
  path = folder / log.METRICS_FILE
  before = path.stat().st_ino if path.exists() else None
  logged = harness.steps_logged(folder, step)
  # The log replaces its file when it opens.
  return lambda: path.exists() and path.stat().st_ino != before and logged()


def _saving(folder):
  """A condition: this launch saves a checkpoint, or clears a torn one away."""

  def folders():
    for name in harness.torn_folders(folder / checkpoint.DIRECTORY):
      with contextlib.suppress(FileNotFoundError):
        status = (folder / checkpoint.DIRECTORY / name).stat()
        yield name, status.st_ino, status.st_ctime_ns

  before = set(folders())
  return lambda: bool(set(folders()) - before)


def _wait_for_end(both, seed):
  """Waits until all have ended; the seconds from the first to the last."""
  deadline = time.monotonic() + 240
  while all(process.poll() is None for process in both):
    assert time.monotonic() < deadline, f'Round {seed} hangs.'
    time.sleep(0.01)
  start = time.monotonic()
  while any(process.poll() is None for process in both):
    assert time.monotonic() - start < LIMIT_S, (
      f'Round {seed}: a process lives on without the other.'
    )
    time.sleep(0.01)
  return time.monotonic() - start


@contextlib.contextmanager
def _processes(folder):
  """Both processes of one launch."""
  with harness.start_processes(__file__, '--worker', folder, devices=1) as both:
    yield both


def _work(args):
  """What each process runs: as `runs.run`, without evaluations."""
  flags.FLAGS.mark_as_parsed()  # Grain reads them.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  harness.initialize(
    args, heartbeat_timeout_seconds=HEARTBEAT_S, initialization_timeout=JOIN_S
  )
  folder = pathlib.Path(args.worker)
  agreement.check({}, folder)
  folder.mkdir(parents=True, exist_ok=True)
  regression.Regression = Counting
  with workdir.hold(folder):
    regression.run(
      folder, num_steps=NUM_STEPS, checkpoint_every=CHECKPOINT_EVERY
    )


def table(rounds: list[list[Kill]]) -> str:
  """What happened, as the rows of a Markdown table."""
  groups = collections.defaultdict(list)
  for kill in (kill for kills in rounds for kill in kills):
    who = 'both' if len(kill.victims) == 2 else 'one'
    groups[kill.number.name[3:], who, kill.moment].append(kill)
  lines = [
    '| signal | processes | moment | kills | came too late | left a torn '
    'checkpoint | longest life of the other, s |',
    '| --- | --- | --- | --- | --- | --- | --- |',
  ]
  for (name, who, moment), kills in sorted(groups.items()):
    longest = max(kill.survived_s for kill in kills)
    lines.append(
      f'| {name} | {who} | {moment} | {len(kills)} '
      f'| {sum(kill.missed for kill in kills)} '
      f'| {sum(kill.in_save for kill in kills)} | {longest:.1f} |'
    )
  return '\n'.join(lines)


def report(rounds: list[list[Kill]], first: int, seconds: float) -> str:
  """The page of results."""
  kills = [kill for kills in rounds for kill in kills]
  count = len(rounds)
  return f"""# Killed at random, restarted until done

Printed by `python -m benchmarks.chaos --rounds {count}
--first {first}`, {time.strftime('%Y-%m-%d')}, jax {jax.__version__}, Python
{platform.python_version()}, two CPU cores ({_processor()}), shared
with other work.

{count} rounds of {NUM_STEPS} steps with two processes and a checkpoint every
{CHECKPOINT_EVERY} steps, {len(kills)} kills, {seconds / 60:.0f} minutes. All
rounds ended with the parameters, optimizer, data positions and losses of the
run that nobody killed, bit for bit, and every example was trained on exactly as
often. A process whose peer was killed may live on for {LIMIT_S} s; heartbeats
are missed after {HEARTBEAT_S} s, and a process waits {JOIN_S} s for the other
to join. TERM to one process lets both save and end, once they have joined.

{table(rounds)}
"""


def _processor():
  for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
    if line.startswith('model name'):
      return line.partition(':')[2].strip()
  return platform.processor()


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rounds', type=int, default=100)
  parser.add_argument('--first', type=int, default=0, help='first seed')
  parser.add_argument('--out', default='benchmarks/results/chaos.md')
  parser.add_argument('--worker', default='', help=argparse.SUPPRESS)
  harness.add_arguments(parser)
  args = parser.parse_args()
  if args.worker:
    _work(args)
    return
  logging.set_verbosity(logging.ERROR)  # Orbax tells how it reads.
  start, rounds = time.monotonic(), []
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    jax.config.update('jax_compilation_cache_dir', str(folder / 'cache'))
    whole = run_whole(folder / 'whole')
    for seed in range(args.first, args.first + args.rounds):
      kills = run_round(folder / str(seed), whole, seed)
      rounds.append(kills)
      print(f'round {seed}: {kills}', flush=True)
      shutil.rmtree(folder / str(seed))
      pathlib.Path(args.out).write_text(
        report(rounds, args.first, time.monotonic() - start)
      )


if __name__ == '__main__':
  sys.path.insert(0, harness.ROOT)
  main()
