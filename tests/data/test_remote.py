"""Data sets behind URLs, and shards that cannot be read."""

import concurrent.futures
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fusion_jax.data import pipelines, records, remote, shard_files, storage
from fusion_jax.data.builders import shards
from tests.data import object_servers
from tests.data.test_mixtures import Numbers


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('numbers')
  shards.build(shards.Indexed(Numbers(0, 12), examples_per_shard=4), folder)
  return folder


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
  monkeypatch.setattr(storage, '_FIRST_WAIT_S', 0.05)
  monkeypatch.setattr(shard_files, '_WAITS_S', (0.01, 0.02))


def upload(folder, url):
  files = storage.Storage(url, 20)
  for path in folder.rglob('*'):
    if path.is_file():
      files.put(path, str(path.relative_to(folder)))


def copy_files(folder, target):
  for path in folder.iterdir():
    if path.is_file():
      shutil.copyfile(path, target / path.name)


def cache(tmp_path, **changes):
  settings = dict(folder=str(tmp_path / 'cache'), max_gb=1.0, timeout_s=20.0)
  return remote.Cache(**settings | changes)


def times(path, split='train'):
  source = pipelines.open_source(path, split)
  return [int(source[i]['time']) for i in range(len(source))]


@pytest.mark.parametrize('kind', object_servers.SERVERS)
def test_a_bucket_is_read_like_a_folder(kind, folder, tmp_path, monkeypatch):
  (folder / 'codes.json').write_text('{"tokenizers": {}}')
  with object_servers.SERVERS[kind](monkeypatch) as bucket:
    upload(folder, f'{bucket}/sets/numbers')
    local = remote.open_folder(f'{bucket}/sets/numbers', cache(tmp_path))
    assert not list(local.glob('*.array_record'))  # Only when they are read.
    for split in ('train', 'val'):
      assert times(local, split) == times(folder, split)
  for path in folder.glob('*'):
    if path.is_file():
      assert (local / path.name).read_bytes() == path.read_bytes()
  assert not list(local.rglob('*.tmp*'))
  assert times(local) == times(folder)  # Without the server.


def test_shards_come_when_they_are_read(folder, tmp_path):
  with object_servers.web(folder) as server:
    local = remote.open_folder(server.url, cache(tmp_path))
    source = pipelines.open_source(local, 'train')
    assert len(source) == 12
    source[5]
    names = sorted(p.name for p in local.glob('*.array_record'))
    assert names == ['train-00002-of-00006.array_record']
    batches = pipelines.train_batches(source, (), batch_size=4, seed=0)
    expected = pipelines.train_batches(
      pipelines.open_source(folder, 'train'), (), batch_size=4, seed=0
    )
    for _ in range(3):
      np.testing.assert_equal(next(batches), next(expected))


READ_ALL = """
import sys
from fusion_jax.data import records
source = records.Examples(sys.argv[1], 'train')
assert len([source[i] for i in range(len(source))]) == 12
"""


def test_a_shard_is_fetched_once_by_all_threads_and_processes(folder, tmp_path):
  with object_servers.web(folder) as server:
    local = remote.open_folder(server.url, cache(tmp_path))
    processes = [
      subprocess.Popen([sys.executable, '-c', READ_ALL, local])
      for _ in range(2)
    ]
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
      assert list(threads.map(times, [local] * 3)) == [times(folder)] * 3
    assert [process.wait(60) for process in processes] == [0, 0]
    fetched = {n: c for n, c in server.requests.items() if 'train-' in n}
  assert len(fetched) == 6 and set(fetched.values()) == {1}


def test_a_shard_that_fails_is_fetched_again_then_named(
  folder, tmp_path, caplog
):
  name = 'train-00001-of-00006.array_record'
  with object_servers.web(folder, {name: ['500', 'short']}) as server:
    local = remote.open_folder(server.url, cache(tmp_path))
    with caplog.at_level('WARNING'):
      assert times(local) == times(folder)
    assert server.requests[name] == 3
  assert f'{name} cannot be fetched (status 500' in caplog.text
  with object_servers.web(folder, {name: '503'}) as server:
    local = remote.open_folder(server.url, cache(tmp_path, timeout_s=2.0))
    source = pipelines.open_source(local, 'train')
    source[0]
    with pytest.raises(
      storage.RemoteError,
      match=rf'^{server.url}/{name} cannot be fetched after \d tries.*503',
    ):
      source[2]


def test_a_shard_damaged_on_the_way_is_fetched_again(folder, tmp_path):
  name = 'train-00002-of-00006.array_record'
  with object_servers.web(folder) as server:
    local = remote.open_folder(server.url, cache(tmp_path))
    (local / name).write_bytes(b'no shard')
    assert times(local) == times(folder)
    assert server.requests[name] == 1


def test_a_shard_damaged_at_its_source_is_named(folder, tmp_path):
  bad = tmp_path / 'bad'
  bad.mkdir()
  copy_files(folder, bad)
  name = 'train-00000-of-00006.array_record'
  (bad / name).write_bytes(b'no shard')
  with object_servers.web(bad) as server:
    local = remote.open_folder(server.url, cache(tmp_path))
    source = records.Examples(local, 'train')
    with pytest.raises(
      shard_files.ReadError, match=f'^{name} is damaged where it .*upload it'
    ):
      source[1]


def test_a_cache_must_be_declared_and_large_enough(folder, tmp_path):
  with object_servers.web(folder) as server:
    for changes in ({'folder': ''}, {'max_gb': 0.0}):
      with pytest.raises(
        ValueError,
        match=f'{server.url} needs a folder .*set config.data.remote.cache to',
      ):
        remote.open_folder(server.url, cache(tmp_path, **changes))
    with pytest.raises(
      ValueError, match=r'cache_gb=1e-06 is too little for .* has .* GB, beside'
    ):
      remote.open_folder(server.url, cache(tmp_path, max_gb=1e-6))
    first = remote.open_folder(server.url, cache(tmp_path))
    needed = json.loads((first / 'remote.json').read_text())['bytes'] / 1e9
    with pytest.raises(ValueError, match=f'beside {needed:.3g} GB of other'):
      remote.open_folder(
        f'{server.url}/.', cache(tmp_path, max_gb=1.5 * needed)
      )


def test_a_cache_that_fills_up_ends_the_run(folder, tmp_path):
  with object_servers.web(folder) as server:
    local = remote.open_folder(server.url, cache(tmp_path))
    (local / 'old.array_record').write_bytes(bytes(10))
    note = json.loads((local / 'remote.json').read_text())
    (local / 'remote.json').write_text(json.dumps(note | {'max_gb': 5e-9}))
    with pytest.raises(
      storage.RemoteError, match='holds 1e-08 GB, more than .*cache_gb=5e-09'
    ):
      times(local)


def test_data_that_changed_at_their_url_are_refused(folder, tmp_path):
  with object_servers.web(folder) as server:
    local = remote.open_folder(server.url, cache(tmp_path))
    (local / 'dataset_info.json').write_text('{}')
    with pytest.raises(
      ValueError, match=f'{server.url} is no longer what .*Remove that folder'
    ):
      remote.open_folder(server.url, cache(tmp_path))


def test_a_url_without_a_data_set_is_named(folder, tmp_path):
  with object_servers.web(folder) as server:
    with pytest.raises(
      storage.MissingError, match='^There is no .*/nothing/dataset_info.json'
    ):
      remote.open_folder(f'{server.url}/nothing', cache(tmp_path))


class Failing:
  """A reader whose next reads fail."""

  def __init__(self, reader, failures):
    self._reader, self.failures = reader, failures

  def __len__(self):
    return len(self._reader)

  def __getitem__(self, index):
    if self.failures:
      self.failures.pop()
      raise RuntimeError('Input/output\nerror')
    return self._reader[index]


def break_reads(monkeypatch, failures):
  open_shards = shard_files._open
  monkeypatch.setattr(
    shard_files, '_open', lambda paths: Failing(open_shards(paths), failures)
  )


def test_a_failed_read_is_repeated_and_counted(folder, monkeypatch, caplog):
  expected = records.Examples(folder, 'train')[6]
  failures = [1, 1]
  break_reads(monkeypatch, failures)
  source = records.Examples(folder, 'train')
  with caplog.at_level('WARNING'):
    np.testing.assert_equal(source[6], expected)
  name = 'train-00003-of-00006.array_record'
  assert source.read_errors == {name: 2}
  assert f'Record 0 of {folder / name} cannot be read: Input/output err' in (
    caplog.text
  )
  assert '(error 2 of this shard)' in caplog.text


def test_a_read_that_keeps_failing_names_its_shard(folder, monkeypatch):
  break_reads(monkeypatch, [1] * 4)
  source = records.Examples(folder, 'train')
  with pytest.raises(
    shard_files.ReadError,
    match=r'^Record 0 of .*train-00002-of-00006.array_record cannot be read: '
    r'Input/output error \(3 tries, 3 errors of this shard so far\). Copy',
  ):
    source[4]
  with pytest.raises(IndexError, match='no record 12 among 12'):
    source[12]


def test_a_flipped_bit_of_a_record_names_its_shard(folder, tmp_path):
  copy_files(folder, tmp_path)
  path = tmp_path / 'train-00002-of-00006.array_record'
  content = bytearray(path.read_bytes())
  first = content.index(records.Examples(folder, 'train')[4]['S2L2A'].tobytes())
  content[first] ^= 1
  path.write_bytes(content)
  source = records.Examples(tmp_path, 'train')
  source[3]
  with pytest.raises(
    shard_files.ReadError, match=f'Record 0 of {path} cannot .*hash mismatch'
  ):
    source[4]
