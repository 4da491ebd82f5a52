"""The tokenize step: the same bytes by workers, by Beam, and if killed."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fusion_jax import datasets
from tests import trained_series

NAMES = ('t2m_hourly', 'tp_hourly')


@pytest.fixture(scope='module')
def original(tmp_path_factory):
  """A prepared data set of eleven shards."""
  recipe = datasets.Simulated(
    image_size=16,
    images=('LULC',),
    splits=dict(train=9, val=2),
    examples_per_shard=1,
  )
  out = tmp_path_factory.mktemp('data') / 'data'
  settings = datasets.BuildSettings(num_workers=1)
  return datasets.prepare(recipe, out, settings)


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  return trained_series.write_workdir(tmp_path_factory.mktemp('run'), NAMES)


def content(folder):
  """Bytes of all files of a data set."""
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }


@pytest.fixture(scope='module')
def expected(original, tokenizer, tmp_path_factory):
  """What one process writes."""
  data = tmp_path_factory.mktemp('one') / 'data'
  shutil.copytree(original, data)
  assert write(data, tokenizer)
  return content(data)


@pytest.fixture
def data(original, tmp_path):
  return shutil.copytree(original, tmp_path / 'data')


def write(data, tokenizer, **settings):
  step = datasets.Codes(
    data=str(data), tokenizers=(str(tokenizer),), **settings
  )
  return datasets.write_codes(step)


@pytest.mark.slow
@pytest.mark.parametrize('workers', [2, 4])
def test_workers_write_the_bytes_of_one_process(
  workers, data, tokenizer, expected
):
  assert write(data, tokenizer, num_workers=workers)
  assert content(data) == expected


# Beam keeps protobuf below 7, which warns of how TFDS uses it.
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_beam_writes_the_bytes_of_one_process(data, tokenizer, expected):
  pytest.importorskip(
    'apache_beam',
    reason='apache-beam is not installed: it needs an environment of its own',
  )
  assert write(data, tokenizer, beam_runner='DirectRunner')
  assert content(data) == expected


def test_a_tokenizer_that_changes_meanwhile_is_noticed(tokenizer):
  from fusion_jax.datasets import codes

  with pytest.raises(ValueError, match='have changed since the step began'):
    codes.open_encoders((str(tokenizer),), ('another', 'one'))


PROGRAM = """
import sys, time
from fusion_jax import datasets
from fusion_jax.data.builders import codes

data, tokenizer = sys.argv[1:]
add = codes.add
def slowly(*args):
  add(*args)
  time.sleep(0.2)
codes.add = slowly
datasets.write_codes(datasets.Codes(data=data, tokenizers=(tokenizer,)))
"""


@pytest.mark.slow
def test_killed_halfway_and_restarted_it_writes_the_same_bytes(
  data, tokenizer, expected
):
  root = pathlib.Path(__file__).parents[2]
  for killed in range(2):
    process = subprocess.Popen(
      [sys.executable, '-c', PROGRAM, str(data), str(tokenizer)],
      env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(root), *sys.path])),
      stderr=subprocess.DEVNULL,
      start_new_session=True,
    )
    notes = data / '.notes'
    end = time.monotonic() + 200
    while (
      len(list(notes.glob('*.codes.json'))) <= killed
      and process.poll() is None
      and time.monotonic() < end
    ):
      time.sleep(0.01)
    assert process.poll() is None, 'It ended before it was killed.'
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
  done = len(list((data / '.notes').glob('*.codes.json')))
  assert 2 <= done < 11 and not (data / 'codes.json').exists()
  assert write(data, tokenizer)
  assert content(data) == expected
