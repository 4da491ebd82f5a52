r"""Kills prepare, tokenize, map and search --build until they are done.

  python -m benchmarks.kills --rounds 20

Every round runs one command of `fusion-jax`, kills its process (-9) at one to
three random moments, runs the same command again after each, and compares all
files that it wrote with those of a run that nobody killed. The first round that
differs ends the script with an error. After each kill the index, which replaces
one of other vectors, has to open as the old or the new one.

Each command runs in a process of its own, forked from this one, which has
imported everything and computes nothing itself: so moments are of the command's
work, not of its imports.
"""

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
import rasterio

from fusion_jax import datasets, inference  # noqa: F401  # Of the commands.
from fusion_jax.commands import app
from fusion_jax.convert import checkpoints
from fusion_jax.data import prompt_files, prompts
from fusion_jax.data.builders import codes, shards  # noqa: F401
from fusion_jax.mapping import (
  blocks,
  class_prompts,  # noqa: F401
  embeddings,
  index,
  maps,  # noqa: F401
  text_search,  # noqa: F401
)
from tests import trained_series
from tests.mapping import cubes

_PROCESSES = multiprocessing.get_context('fork')
_SHAPE = 40, 32  # Of the cube, in pixels.
_OLD = 50  # Vectors of the index that is replaced.
_SIDE, _WIDTH = 150, 64  # Of the scene whose vectors are indexed; their length.
_DELAYS_S = 1e-4, 0.02  # From a change of the files to a kill.
_POLL_S = 0.0005
_TRIES = 20  # Of a round in which no kill comes in time.
_TIMES = {'statistics.json': ('created',)}  # Fields that tell when.
_HOW = b'## How it was made'  # In a report; date and duration follow.


@dataclasses.dataclass(frozen=True)
class Work:
  """A command that is killed.

  Attributes:
    arguments: function from (inputs, folder, seed) to the command line, whose
      files all go into the folder.
    begin: function from (inputs, folder) that makes what is there before.
    check: function from (inputs, folder) that fails if a kill left what cannot
      be used.
  """

  arguments: Callable[[pathlib.Path, pathlib.Path, int], list[str]]
  begin: Callable[[pathlib.Path, pathlib.Path], object] = lambda *_: None
  check: Callable[[pathlib.Path, pathlib.Path], object] = lambda *_: None


@dataclasses.dataclass
class Kill:
  """One kill: 'early' before a first file, 'working', or 'late' at the end."""

  moment: str


def _prepare(inputs: pathlib.Path, folder: pathlib.Path, seed: int) -> list:
  workers = 2 if seed % 5 == 4 else 1
  return ['prepare', *_DATA, '--out', folder / 'data', '--num-workers', workers]


_DATA = (
  *('simulated', '--image-size', 16, '--images', 'S2L2A', 'LULC'),
  *('--splits', 'train=32', 'val=8', '--examples-per-shard', 4),
)


def _tokenize(inputs: pathlib.Path, folder: pathlib.Path, seed: int) -> list:
  return [
    *('prepare', 'tokenize', '--data', folder / 'data'),
    *('--tokenizers', inputs / 'tokenizer', '--batch-size', 2 + 2 * (seed % 2)),
  ]


def _map(inputs: pathlib.Path, folder: pathlib.Path, seed: int) -> list:
  del seed
  return [
    *('map', '--checkpoint', inputs / 'encoder'),
    *('--prompts', inputs / 'prompts.npz', '--scene', inputs / 'cube.nc'),
    *('--out', folder / 'map.tif', '--block', 8),
    *('--embeddings', folder / 'vectors.zarr'),
  ]


def _index(inputs: pathlib.Path, folder: pathlib.Path, seed: int) -> list:
  del seed
  return [
    *('search', '--build', inputs / 'vectors.parquet'),
    *('--index', folder / 'index'),
  ]


def _open_index(inputs: pathlib.Path, folder: pathlib.Path) -> None:
  """Fails unless the index is the old or the new one."""
  count = len(index.Index(folder / 'index').lon)
  assert count in (_OLD, _SIDE**2), count


def _build_old(inputs: pathlib.Path, folder: pathlib.Path) -> None:
  del inputs
  vectors = np.eye(6, dtype=np.float32)[np.arange(_OLD) % 6]
  places = np.linspace(5, 6, _OLD)
  index.build(
    folder / 'index',
    lambda: iter([(places, places, vectors, None)]),
    _OLD,
    about={'source': 'before'},
  )


WORK = {
  'prepare': Work(_prepare),
  'tokenize': Work(
    _tokenize,
    begin=lambda inputs, out: shutil.copytree(inputs / 'data', out / 'data'),
  ),
  'map': Work(_map),
  'index': Work(_index, begin=_build_old, check=_open_index),
}


def make_inputs(inputs: pathlib.Path) -> None:
  """Writes models, a cube, a data set and embeddings; in a forked process."""
  model = cubes.model()
  checkpoints.write(
    inputs / 'encoder',
    cubes.params(model.config, False),
    model.config.to_dict(),
    {},
  )
  made = prompts.from_classes(['Water', 'Woodland', 'Cropland'])
  prompt_files.write(
    inputs / 'prompts.npz',
    prompts.Prompts(
      made.classes, made.texts, made.class_of, cubes.classes().vectors
    ),
  )
  cubes.write_netcdf(inputs / 'cube.nc', cubes.values(_SHAPE))
  (inputs / 'tokenizer').mkdir()
  trained_series.write_workdir(
    inputs / 'tokenizer', ('t2m_hourly', 'tp_hourly', 't2m_min_daily')
  )
  values = np.random.default_rng(0).integers(-127, 128, (_SIDE, _SIDE, _WIDTH))
  scale = np.float32(1 / np.linalg.norm(values, axis=-1))
  scene = blocks.Block(slice(0, _SIDE), slice(0, _SIDE), (0, 0))
  embeddings.write(
    inputs / 'vectors.parquet',
    [(scene, {'embedding': values.astype(np.int8), 'scale': scale})],
    shape=(_SIDE, _SIDE),
    block=(_SIDE, _SIDE),
    width=_WIDTH,
    crs=rasterio.CRS.from_string(cubes.CRS),
    transform=cubes.TRANSFORM,
    tags={'comparable_with': 'texts'},
  )
  app.main([str(x) for x in ['prepare', *_DATA, '--out', inputs / 'data']])


def call(function: Callable[..., object], *args: object) -> object:
  """Starts a function in a forked process, which says nothing."""
  process = _PROCESSES.Process(target=_quietly, args=(function, args))
  process.start()
  return process


def _quietly(function, args):
  with open(os.devnull, 'w') as nothing:
    os.dup2(nothing.fileno(), 1)
    if not os.environ.get('VERBOSE'):
      os.dup2(nothing.fileno(), 2)
    function(*args)


def finish(process) -> None:
  """Waits for a process; fails if it failed."""
  process.join(300)
  assert process.exitcode == 0, f'It ended with {process.exitcode}.'


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  """{path: content} of all files, without what tells when."""
  found = {}
  for path in sorted(folder.rglob('*')):
    if path.is_dir() or path.name.endswith('.lock'):
      continue
    content = path.read_bytes()
    if path.name in _TIMES:
      fields = json.loads(content)
      for field in _TIMES[path.name]:
        fields.pop(field)
      content = json.dumps(fields).encode()
    if path.suffix == '.md':
      content = content.partition(_HOW)[0]
    found[str(path.relative_to(folder))] = content
  return found


@dataclasses.dataclass(frozen=True)
class Whole:
  """A run that nobody killed.

  Attributes:
    contents: {path: content} of all that it left.
    num_changes: how often its files were seen to change.
    seconds: seconds in all.
  """

  contents: dict[str, bytes]
  num_changes: int
  seconds: float


def run_whole(name: str, inputs: pathlib.Path, folder: pathlib.Path) -> Whole:
  """Runs a command twice without a kill; the second time counts.

  The first one compiles, and has to leave the same.
  """
  work, before = WORK[name], None
  for _ in range(2):
    folder.mkdir()
    work.begin(inputs, folder)
    files, num_changes, start = _files(folder), 0, time.monotonic()
    process = _start(work, inputs, folder, 0)
    while process.is_alive():
      time.sleep(_POLL_S)
      now = _files(folder)
      num_changes += now != files
      files = now
    finish(process)
    seconds, found = time.monotonic() - start, contents(folder)
    if before is not None:
      _compare(found, before, f'{name}, twice')
    before = found
    shutil.rmtree(folder)
  return Whole(found, num_changes, seconds)


def run_round(
  name: str,
  inputs: pathlib.Path,
  folder: pathlib.Path,
  whole: Whole,
  seed: int,
) -> list[Kill]:
  """Kills a command at random moments; asserts that nothing differs at last.

  Args:
    name: which command, see `WORK`.
    inputs: folder of `make_inputs`.
    folder: folder of this round; it is made.
    whole: what the command makes when nobody kills it.
    seed: seed of the kills.

  Returns:
    The kills, at least one.
  """
  rng = random.Random(f'{name} {seed}')
  for _ in range(_TRIES):
    if kills := _try_round(name, inputs, folder, whole, seed, rng):
      return kills
    shutil.rmtree(folder)  # It ended before its moment came.
  raise AssertionError(f'{name}, seed {seed}: no kill came in time.')


def _try_round(name, inputs, folder, whole, seed, rng):
  """See `run_round`; returns the kills that came in time."""
  work, kills = WORK[name], []
  folder.mkdir()
  work.begin(inputs, folder)
  begun = _files(folder)
  for number in range(1, rng.randint(1, 3) + 1):
    process = _start(work, inputs, folder, seed)
    _wait(process, folder, whole, rng, number)
    is_alive = process.is_alive()
    process.kill()
    process.join()
    if not is_alive:
      assert process.exitcode == 0, f'It ended with {process.exitcode}.'
      break
    work.check(inputs, folder)
    moment = 'working' if _files(folder) != begun else 'early'
    if contents(folder) == whole.contents:
      moment = 'late'
    kills.append(Kill(moment))
    if name == 'map' and moment == 'late':
      break  # The command would say that there is such a map.
  else:
    finish(_start(work, inputs, folder, seed))
  _compare(contents(folder), whole.contents, f'{name}, seed {seed}: {kills}')
  return kills


def _start(work, inputs, folder, seed):
  argv = [str(x) for x in work.arguments(inputs, folder, seed)]
  return call(app.main, argv)


def _wait(process, folder, whole, rng, number):
  """Waits for a moment: by the clock, or after some changes of the files."""
  if rng.random() < 1 / 4:
    time.sleep(rng.uniform(0, whole.seconds))
    return
  wanted, seen = rng.randint(1, max(1, whole.num_changes // number)), 0
  delay_s = np.exp(rng.uniform(*np.log(_DELAYS_S)))
  before = _files(folder)
  while process.is_alive() and seen < wanted:
    time.sleep(_POLL_S)
    now = _files(folder)
    seen += now != before
    before = now
  time.sleep(delay_s)


def _files(folder):
  """Names and sizes of the files that are there."""
  found = set()
  for path in folder.rglob('*'):
    with contextlib.suppress(FileNotFoundError):
      if path.suffix != '.lock' and path.name != '.lock':
        found.add((path, path.stat().st_size))
  return found


def _compare(found, expected, what):
  assert set(found) == set(expected), (
    f'{what}: the files {set(found) ^ set(expected)} are missing or left over.'
  )
  for path, content in expected.items():
    assert found[path] == content, f'{what}: {path} differs.'


def table(rounds: dict[str, list[list[Kill]]]) -> str:
  """What happened, as the rows of a Markdown table."""
  lines = [
    '| command | rounds | kills | before its first file | while it wrote '
    '| when all was written |',
    '| --- | --- | --- | --- | --- | --- |',
  ]
  for name, each in rounds.items():
    moments = [kill.moment for kills in each for kill in kills]
    counts = [moments.count(x) for x in ('early', 'working', 'late')]
    row = (name, len(each), len(moments), *counts)
    lines.append(f'| {" | ".join(map(str, row))} |')
  return '\n'.join(lines)


def report(
  rounds: dict[str, list[list[Kill]]], first: int, seconds: float
) -> str:
  """The page of results."""
  count = max(map(len, rounds.values()))
  return f"""# Commands killed at random, restarted until done

Printed by `python -m benchmarks.kills --rounds {count} --first {first}`,
{time.strftime('%Y-%m-%d')}, jax {jax.__version__}, Python
{platform.python_version()}, {os.cpu_count()} CPU cores shared with other work,
{seconds / 60:.0f} minutes.

Every round kills a command (-9) at one to three random moments and runs it
again until it is done. All rounds ended with the files of the run that nobody
killed, byte by byte; of `statistics.json` and the report of the map without the
time of their making. After every kill the index opened as the old or the new
one. `map` writes embeddings (Zarr), the map, its picture and its report;
`prepare` runs with one process, and with two in every fifth round.

{table(rounds)}
"""


def main() -> None:
  """Runs the rounds, and writes the page after each."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rounds', type=int, default=20)
  parser.add_argument('--first', type=int, default=0, help='first seed')
  parser.add_argument('--out', default='benchmarks/results/kills.md')
  parser.add_argument('--only', nargs='*', default=list(WORK), choices=WORK)
  args = parser.parse_args()
  start = time.monotonic()
  rounds: dict[str, list[list[Kill]]] = {name: [] for name in args.only}
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    jax.config.update('jax_compilation_cache_dir', str(folder / 'cache'))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    (folder / 'inputs').mkdir()
    finish(call(make_inputs, folder / 'inputs'))
    inputs = folder / 'inputs'
    for name in args.only:
      # The folder has the same name each time: paths stand in the results.
      place = folder / 'work'
      whole = run_whole(name, inputs, place)
      for seed in range(args.first, args.first + args.rounds):
        rounds[name].append(run_round(name, inputs, place, whole, seed))
        print(f'{name} {seed}: {rounds[name][-1]}', flush=True)
        shutil.rmtree(place)
        pathlib.Path(args.out).write_text(
          report(rounds, args.first, time.monotonic() - start)
        )


if __name__ == '__main__':
  sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
  main()
