"""Object servers on this machine, and a web server that can be made to fail."""

import collections
import contextlib
import functools
import http.server
import os
import pathlib
import threading
import time

import fsspec
import pytest

# Otherwise gcsfs asks for the kind of a bucket by gRPC, which no emulator has;
# it reads this when it is imported.
os.environ['GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT'] = 'false'


class _Handler(http.server.SimpleHTTPRequestHandler):
  """Serves files; what `server.faults` says of a request comes first."""

  def do_GET(self):
    name = self.path.rpartition('/')[2]
    self.server.requests[name] += 1
    faults = self.server.faults
    fault = faults.get(name, faults.get('*', [])) if faults else []
    kind = fault.pop(0) if isinstance(fault, list) and fault else fault
    if kind == 'stall':
      time.sleep(self.server.stall_s)
      self.close_connection = True
    elif kind == 'short':
      content = pathlib.Path(self.translate_path(self.path)).read_bytes()
      self.send_response(200)
      self.send_header('Content-Length', str(len(content)))
      self.end_headers()
      self.wfile.write(content[: len(content) // 2])
      self.close_connection = True
    elif kind:
      self.send_error(int(kind))
    else:
      super().do_GET()

  do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

  def log_message(self, *args):
    del args


@contextlib.contextmanager
def web(folder='/nonexistent', faults=None, stall_s=2.0):
  """Serves a folder by HTTP; yields the server, with `url` and `requests`.

  faults: {name of a file, or '*': list of what happens to the next requests, or
    what happens to all}: a status, 'stall' or 'short'.
  """
  server = http.server.ThreadingHTTPServer(
    ('localhost', 0), functools.partial(_Handler, directory=str(folder))
  )
  server.daemon_threads = True
  server.block_on_close = False
  server.faults, server.stall_s = faults or {}, stall_s
  server.requests = collections.Counter()
  server.url = f'http://localhost:{server.server_address[1]}'
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield server
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


def use_s3(monkeypatch, url):
  """Points the client of s3:// to a server."""
  for name, value in {
    'AWS_ENDPOINT_URL': url,
    'AWS_ACCESS_KEY_ID': 'test',
    'AWS_SECRET_ACCESS_KEY': 'test',
    'AWS_DEFAULT_REGION': 'us-east-1',
  }.items():
    monkeypatch.setenv(name, value)
  _forget_clients()


def use_gs(monkeypatch, url):
  """Points the client of gs:// to a server that needs no credentials."""
  monkeypatch.setitem(
    fsspec.config.conf, 'gs', {'token': 'anon', 'endpoint_url': url}
  )
  _forget_clients()


def _forget_clients():
  """Makes fsspec open clients anew, with the endpoint of this test."""
  for protocol in ('s3', 'gs'):
    fsspec.get_filesystem_class(protocol).clear_instance_cache()


@contextlib.contextmanager
def s3(monkeypatch):
  """Starts a server of S3; yields the URL of an empty bucket."""
  server_lib = pytest.importorskip('moto.server')
  import boto3

  server = server_lib.ThreadedMotoServer('localhost', 0, verbose=False)
  server.start()
  host, port = server.get_host_and_port()
  use_s3(monkeypatch, f'http://{host}:{port}')
  boto3.client('s3').create_bucket(Bucket='bucket')
  try:
    yield 's3://bucket'
  finally:
    server.stop()


@contextlib.contextmanager
def gs(monkeypatch):
  """Starts a server of Google Cloud Storage; yields the URL of a bucket."""
  server_lib = pytest.importorskip('gcp_storage_emulator.server')
  server = server_lib.create_server(
    'localhost', 0, in_memory=True, default_bucket='bucket'
  )
  server.start()
  port = server._api._httpd.server_address[1]
  use_gs(monkeypatch, f'http://localhost:{port}')
  try:
    yield 'gs://bucket'
  finally:
    server.stop()


SERVERS = {'s3': s3, 'gs': gs}
