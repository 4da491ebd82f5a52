"""Every builder writes the same bytes: workers, Beam, killed and restarted."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from fusion_jax import datasets
from tests import small_archives

# What says when and how a data set was made, not what it holds.
PROVENANCE = ('created', 'command')


def content(folder):
  """Bytes of all files of a data set, without when and how it was made."""
  result = {}
  for path in sorted(folder.rglob('*')):
    if path.is_file() and '.notes' not in path.parts:
      result[str(path.relative_to(folder))] = path.read_bytes()
  statistics = json.loads(result.pop('statistics.json'))
  for name in PROVENANCE:
    del statistics[name]
  return result | {'statistics.json': statistics}


def prepare(name, sources, out, **settings):
  recipe = small_archives.RECIPES[name](sources)
  settings = datasets.BuildSettings(max_bad=0.9, **settings)
  return content(datasets.prepare(recipe, out, settings))


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
  return tmp_path_factory.mktemp('sources')


@pytest.fixture(scope='module')
def alone(sources, tmp_path_factory):
  """What one process writes, by the name of the data set."""
  written = {}

  def get(name):
    if name not in written:
      out = tmp_path_factory.mktemp('alone') / name
      written[name] = prepare(name, sources, out, num_workers=1)
    return written[name]

  return get


def test_there_is_a_small_archive_for_every_recipe():
  # `stations` is a second one of series.
  assert set(small_archives.RECIPES) == {*datasets.DATASETS, 'stations'}


SHORT = ('terramesh',)


@pytest.mark.parametrize(
  'name',
  [
    name if name in SHORT else pytest.param(name, marks=pytest.mark.slow)
    for name in small_archives.RECIPES
  ],
)
def test_four_workers_write_the_bytes_of_one(name, sources, alone, tmp_path):
  assert prepare(name, sources, tmp_path, num_workers=4) == alone(name)


# Beam keeps protobuf below 7, which warns of how TFDS uses it.
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('name', small_archives.RECIPES)
def test_beam_writes_the_bytes_of_one_process(name, sources, alone, tmp_path):
  pytest.importorskip(
    'apache_beam',
    reason='apache-beam is not installed: it needs an environment of its own',
  )
  result = prepare(name, sources, tmp_path, beam_runner='DirectRunner')
  assert result == alone(name)


def test_jobs_of_an_array_write_the_bytes_of_one_process(
  sources, alone, tmp_path
):
  recipe = small_archives.RECIPES['terramesh'](sources)
  for job in (2, 0, 1):
    settings = datasets.BuildSettings(
      num_workers=1, max_bad=0.9, shard=(job, 3)
    )
    datasets.prepare(recipe, tmp_path, settings)
  assert content(tmp_path) == alone('terramesh')


SLOW_READER = """
import pathlib, sys, time
from fusion_jax import datasets
from fusion_jax.data.builders import shards
from tests import small_archives

name, sources, out, workers = sys.argv[1:]
recipe = small_archives.RECIPES[name](pathlib.Path(sources))
settings = datasets.BuildSettings(num_workers=int(workers), max_bad=0.9)
write = shards.write
def slowly(*args):  # In this process; workers have the module's own.
  time.sleep(0.1)
  write(*args)
if workers == '1':
  shards.write = slowly
datasets.prepare(recipe, out, settings)
"""


def start(program, *arguments):
  """Starts a program in a process group of its own."""
  root = pathlib.Path(__file__).parents[3]
  return subprocess.Popen(
    [sys.executable, '-c', program, *map(str, arguments)],
    env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(root), *sys.path])),
    stderr=subprocess.DEVNULL,
    start_new_session=True,
  )


def kill_when(process, condition, seconds=100):
  """Kills a process and its workers as soon as a condition holds."""
  end = time.monotonic() + seconds
  while not condition() and process.poll() is None and time.monotonic() < end:
    time.sleep(0.005)
  alive = process.poll() is None
  os.killpg(process.pid, signal.SIGKILL)
  process.wait()
  assert alive, 'It ended before it was killed.'


def count(notes):
  """Number of finished shards."""
  return len(list(notes.glob('*.json')))


@pytest.mark.parametrize(
  'workers',
  [1, pytest.param(2, marks=pytest.mark.slow)],
)
def test_killed_halfway_and_restarted_it_writes_the_same_bytes(
  workers, sources, alone, tmp_path
):
  expected = alone('simulated')
  process = start(SLOW_READER, 'simulated', sources, tmp_path, workers)
  notes = tmp_path / '.notes'
  kill_when(process, lambda: count(notes))
  assert not (tmp_path / 'statistics.json').exists()
  first = {p: p.stat().st_mtime_ns for p in notes.glob('*.json')}
  assert (
    prepare('simulated', sources, tmp_path, num_workers=workers) == expected
  )
  assert {p: p.stat().st_mtime_ns for p in first} == first
  assert not list(tmp_path.glob('*.tmp-*'))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['simulated_pixels', 'terramesh', 'sen4map'])
def test_killed_after_any_shard_it_writes_the_same_bytes(
  name, sources, alone, tmp_path
):
  expected = alone(name)
  notes = tmp_path / '.notes'
  for done in range(2):
    process = start(SLOW_READER, name, sources, tmp_path, 1)
    kill_when(process, lambda done=done: count(notes) > done)
  assert prepare(name, sources, tmp_path, num_workers=2) == expected
