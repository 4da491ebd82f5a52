"""Files behind URLs: three kinds of servers, and servers that fail."""

import re
import socket
import sys
import time

import pytest

from fusion_jax import extras
from fusion_jax.data import storage
from tests.data import object_servers

CONTENT = bytes(range(256)) * 400


@pytest.mark.parametrize('kind', object_servers.SERVERS)
def test_a_bucket_takes_lists_gives_and_deletes_files(
  kind, tmp_path, monkeypatch
):
  source = tmp_path / 'source'
  source.write_bytes(CONTENT)
  with object_servers.SERVERS[kind](monkeypatch) as bucket:
    files = storage.Storage(f'{bucket}/run/', 20)
    assert files.is_listed and files.sizes() == {}
    files.put(source, 'a')
    files.put(source, 'folder/b')
    files.put(source, 'folder/b')  # Replaced.
    assert files.sizes() == {'a': len(CONTENT), 'folder/b': len(CONTENT)}
    files.fetch('folder/b', tmp_path / 'here' / 'b')
    assert (tmp_path / 'here' / 'b').read_bytes() == CONTENT
    assert files.read('a') == CONTENT
    files.delete('a')
    files.delete('a')  # Is gone.
    assert list(files.sizes()) == ['folder/b']
    with pytest.raises(
      storage.MissingError, match=f'^There is no {bucket}/run/a; see to'
    ):
      files.fetch('a', tmp_path / 'a')
  assert sorted(p.name for p in tmp_path.rglob('*')) == ['b', 'here', 'source']


def test_a_web_server_only_gives_files(tmp_path):
  (tmp_path / 'a').write_bytes(CONTENT)
  with object_servers.web(tmp_path) as server:
    files = storage.Storage(server.url, 5)
    files.fetch('a', tmp_path / 'here')
    assert files.read('a') == (tmp_path / 'here').read_bytes() == CONTENT
    with pytest.raises(
      storage.MissingError, match=f'There is no {server.url}/b'
    ):
      files.fetch('b', tmp_path / 'b')
    assert server.requests['b'] == 1  # It would not help to ask again.
    with pytest.raises(storage.RemoteError, match='does not list its files'):
      files.sizes()


@pytest.mark.parametrize(
  'fault',
  ['500', '503', '429', pytest.param('stall', marks=pytest.mark.slow), 'short'],
)
def test_a_request_that_fails_is_repeated(tmp_path, monkeypatch, caplog, fault):
  monkeypatch.setattr(storage, '_FIRST_WAIT_S', 0.05)
  (tmp_path / 'a').write_bytes(CONTENT)
  with object_servers.web(tmp_path, {'a': [fault, fault]}, 1.5) as server:
    with caplog.at_level('WARNING'):
      storage.Storage(server.url, 4).fetch('a', tmp_path / 'here')
    assert server.requests['a'] == 3
  assert (tmp_path / 'here').read_bytes() == CONTENT
  # Of two that stall, aiohttp may have repeated one.
  assert f'{server.url}/a cannot be fetched' in caplog.text


def fails(files, path, message, within_s):
  start = time.monotonic()
  with pytest.raises(storage.RemoteError, match=message) as error:
    files.fetch('folder/a', path)
  assert time.monotonic() - start < within_s
  assert '\n' not in str(error.value)
  assert not path.exists() and not list(path.parent.glob('*.tmp-*'))
  return str(error.value)


@pytest.mark.parametrize(
  'kind, fault, message',
  [
    ('http', '500', 'status 500'),
    ('s3', '500', 'status 500'),
    ('http', 'stall', 'no answer'),
    pytest.param('s3', 'stall', 'no answer', marks=pytest.mark.slow),
    # Its client repeats by itself for a minute.
    pytest.param('gs', '500', 'no answer', marks=pytest.mark.slow),
    pytest.param('gs', 'stall', 'no answer', marks=pytest.mark.slow),
  ],
)
def test_a_server_that_always_fails_is_given_up_in_time(
  kind, fault, message, tmp_path, monkeypatch
):
  with object_servers.web(tmp_path, {'*': fault}, 2.0) as server:
    if kind != 'http':
      getattr(object_servers, f'use_{kind}')(monkeypatch, server.url)
    url = server.url if kind == 'http' else f'{kind}://bucket'
    text = fails(
      # On a busy machine the client of S3 takes a second to read an answer.
      storage.Storage(url, 4.0 if (kind, fault) == ('s3', '500') else 1.6),
      tmp_path / 'here' / 'a',
      f'^{re.escape(url)}/folder/a cannot be fetched.*{message}.*See to the '
      'server and the network. Then run',
      within_s=20,
    )
  if kind == 'http':
    assert re.search(r'after \d tries in \d s', text)


def test_a_refused_request_is_not_repeated(tmp_path):
  with object_servers.web(tmp_path, {'a': '403'}) as server:
    fails(
      storage.Storage(server.url, 60),
      tmp_path / 'here' / 'a',
      'folder/a cannot be fetched: status 403.*See to the credentials',
      within_s=20,
    )
    assert server.requests['a'] == 1


def test_a_url_that_does_not_answer_is_named(tmp_path):
  with socket.socket() as free:
    free.bind(('localhost', 0))
    url = f'http://localhost:{free.getsockname()[1]}'
    fails(
      storage.Storage(url, 1),
      tmp_path / 'here' / 'a',
      f'^{url}/folder/a cannot be fetched after .*Connect',
      within_s=20,
    )


def test_a_full_disk_is_no_fault_of_the_server(tmp_path, monkeypatch):
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'folder' / 'a').write_bytes(CONTENT)

  def replace(*args):
    raise OSError(28, 'No space left on device')

  with object_servers.web(tmp_path) as server:
    files = storage.Storage(server.url, 60)
    monkeypatch.setattr(
      files._files, '_get_file', lambda *args, **kwargs: replace()
    )
    fails(files, tmp_path / 'here' / 'a', 'No space left.*Free some space', 20)


def test_wrong_urls_and_times_raise():
  with pytest.raises(ValueError, match='ftpp://x cannot be opened.*use gs://'):
    storage.Storage('ftpp://x')
  with pytest.raises(ValueError, match='timeout_s=0: give the seconds'):
    storage.Storage('http://localhost', 0)
  assert storage.is_url('s3://a/b') and not storage.is_url('/a/b')


def test_a_missing_client_names_its_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 's3fs', None)
  opened = sys.modules['fsspec.registry']._registry
  monkeypatch.delitem(opened, 's3', raising=False)
  with pytest.raises(extras.MissingExtraError, match=r'fusion_jax\[remote\]'):
    storage.Storage('s3://bucket')
