"""Files behind a URL: `gs://`, `s3://`, `https://` and what else fsspec opens.

A request that fails is repeated, later and later, until a set time is over.
Then a one-line error names the URL, the status and what to do. Credentials and
endpoints are those of the storage's own client: AWS_ENDPOINT_URL,
GOOGLE_APPLICATION_CREDENTIALS, or FSSPEC_GS and FSSPEC_S3 with JSON options of
fsspec.
"""

import asyncio
import os
import pathlib
import random
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from absl import logging

from fusion_jax import extras

_Result = TypeVar('_Result')
_FIRST_WAIT_S = 0.5
_LEAST_BYTES_S = 1e6  # A block of an upload may be silent for as long as this.
_BLOCK = 100e6  # Bytes of the largest block.
_REPEATED = (408, 425, 429)  # Statuses below 500 that may pass by themselves.
_LOCAL_ERRORS = ('ENOSPC', 'EDQUOT', 'EROFS')


class RemoteError(OSError):
  """A URL does not give or take a file; the message says what to do."""


def is_url(path: str | os.PathLike[str]) -> bool:
  """Tells whether a path is a URL, such as 's3://bucket/folder'.

  Args:
    path: path of a local folder, or a URL.
  """
  return '://' in str(path)


class Storage:
  """The files under one URL.

  Attributes:
    url: the URL, without a slash at its end.
  """

  url: str

  def __init__(self, url: str, timeout_s: float = 300.0) -> None:
    """Prepares the client; sends nothing yet.

    Args:
      url: URL of a folder.
      timeout_s: seconds without success after which a request is given up. A
        request that gives no byte for a quarter of it is repeated.

    Raises:
      ValueError: if the URL is of no known kind, or `timeout_s` not positive.
      extras.MissingExtraError: if the client of this kind is not installed.
    """
    if not timeout_s > 0:
      raise ValueError(
        f'timeout_s={timeout_s}: give the seconds after which {url} is given '
        'up, such as 300.'
      )
    self.url, self._timeout_s = url.rstrip('/'), timeout_s
    with extras.needed('remote', f'Reading {url}'):
      from fsspec import core

      scheme = self.url.partition('://')[0]
      try:
        self._files, self._root = core.url_to_fs(self.url, **_options(scheme))
      except ValueError as error:
        raise ValueError(
          f'{url} cannot be opened ({error}); use gs://, s3:// or https://.'
        ) from error

  @property
  def is_listed(self) -> bool:
    """Tells whether the storage lists its files and takes new ones."""
    return not self.url.startswith(('http://', 'https://'))

  def sizes(self) -> dict[str, int]:
    """Returns {name below the URL: bytes} of all files, {} if there are none.

    Raises:
      RemoteError: if the storage does not answer, or does not list its files.
    """
    if not self.is_listed:
      raise RemoteError(f'{self.url} does not list its files; use gs:// or s3.')

    def find(progress: Any) -> dict[str, int]:
      del progress
      self._files.invalidate_cache()
      try:
        found: Any = self._call('find', self._root, detail=True)
      except FileNotFoundError:
        return {}
      start = len(self._root.rstrip('/')) + 1
      return {path[start:]: int(i['size']) for path, i in found.items()}

    return self._repeat('', 'listed', find)

  def fetch(self, name: str, path: pathlib.Path) -> None:
    """Copies a file to a local path, which holds the whole file or nothing.

    Args:
      name: name of the file, below the URL.
      path: local path; its folder is made if need be.

    Raises:
      RemoteError: if that fails; a missing file is a `MissingError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.tmp-{uuid.uuid4().hex}')

    def get(progress: Any) -> None:
      remote = f'{self._root}/{name}'
      self._call('get_file', remote, str(part), callback=progress)
      expected, actual = progress.size, part.stat().st_size
      if expected is None:
        expected = self._call('info', remote)['size']
      if expected is not None and actual != expected:
        raise ConnectionError(f'{actual} bytes came, not {expected}')

    try:
      self._repeat(name, 'fetched', get)
      os.replace(part, path)
    finally:
      part.unlink(missing_ok=True)

  def read(self, name: str) -> bytes:
    """Returns the content of a small file.

    Args:
      name: name of the file, below the URL.

    Raises:
      RemoteError: if that fails; a missing file is a `MissingError`.
    """
    return self._repeat(
      name,
      'read',
      lambda progress: self._call('cat_file', f'{self._root}/{name}'),
    )

  def put(self, path: pathlib.Path, name: str) -> None:
    """Copies a local file to the storage, in place of one that is there.

    Args:
      path: local path.
      name: name of the file, below the URL.

    Raises:
      RemoteError: if that fails.
    """
    silence_s = min(path.stat().st_size, _BLOCK) / _LEAST_BYTES_S
    self._repeat(
      name,
      'written',
      lambda progress: self._call(
        'put_file',
        str(path),
        f'{self._root}/{name}',
        callback=progress,
        silence_s=silence_s,
      ),
    )

  def delete(self, name: str) -> None:
    """Deletes a file, if it is there.

    Args:
      name: name of the file, below the URL.

    Raises:
      RemoteError: if that fails.
    """

    def remove(progress: Any) -> None:
      del progress
      try:
        self._call('rm_file', f'{self._root}/{name}')
      except FileNotFoundError:
        pass

    self._repeat(name, 'deleted', remove)

  def _repeat(
    self, name: str, done: str, action: Callable[[Any], _Result]
  ) -> _Result:
    """Calls `action(progress)` until it succeeds or the time is over."""
    from fsspec import callbacks

    url = f'{self.url}/{name}' if name else self.url
    lost_s, tries = 0.0, 0
    while True:
      tries += 1
      start = time.monotonic()
      try:
        return action(callbacks.Callback())
      except Exception as error:  # Each client has errors of its own.
        # A file that came for an hour before it broke lost no more than one
        # that never began.
        lost_s += min(time.monotonic() - start, self._timeout_s / 4)
        wait = _FIRST_WAIT_S * 2 ** (tries - 1) * random.uniform(0.5, 1)
        wait = min(wait, self._timeout_s / 8)
        is_over = lost_s + wait > self._timeout_s * 3 / 4
        if is_over or not _may_pass(error):
          raise _explained(url, done, error, tries, lost_s) from error
        lost_s += wait
        logging.warning(
          '%s cannot be %s (%s); it is tried again in %.1f s.',
          url,
          done,
          _text(error),
          wait,
        )
        time.sleep(wait)

  def _call(
    self,
    method: str,
    *args: Any,
    callback: Any = None,
    silence_s: float = 0.0,
    detail: bool | None = None,
  ) -> Any:
    """Calls a method of fsspec; raises if it makes no progress."""
    options = {
      name: value
      for name, value in (('callback', callback), ('detail', detail))
      if value is not None
    }
    if not self._files.async_impl:
      return getattr(self._files, method)(*args, **options)
    silence_s += self._timeout_s / 4
    future = asyncio.run_coroutine_threadsafe(
      getattr(self._files, f'_{method}')(*args, **options), self._files.loop
    )
    value, since = None, time.monotonic()
    while True:
      try:
        return future.result(min(silence_s / 4, 1.0))
      except TimeoutError:
        if future.done():
          raise
      now = time.monotonic()
      current = getattr(callback, 'value', None)
      if current != value:
        value, since = current, now
      if now - since > silence_s:
        future.cancel()
        raise TimeoutError(f'no answer for {silence_s:.3g} s')


class MissingError(RemoteError):
  """There is no such file behind the URL."""


def _options(scheme: str) -> dict[str, Any]:
  """Returns options of a client: any time for a file, no tries of its own."""
  if scheme in ('http', 'https', 'gs', 'gcs'):
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None)
    session = 'client_kwargs' if scheme.startswith('http') else 'session_kwargs'
    return {session: {'timeout': timeout}}
  if scheme in ('s3', 's3a'):
    return {'config_kwargs': {'retries': {'total_max_attempts': 1}}}
  return {}


def _may_pass(error: Exception) -> bool:
  """Tells whether the same request may succeed later."""
  status = _status(error)
  if status is not None:
    return status >= 500 or status in _REPEATED
  if isinstance(error, FileNotFoundError | PermissionError):
    return False
  return not _is_local(error)


def _is_local(error: Exception) -> bool:
  """Tells whether the disk of this machine is the cause."""
  import errno

  number = error.errno if isinstance(error, OSError) else None
  return number in [getattr(errno, name) for name in _LOCAL_ERRORS]


def _status(error: BaseException) -> int | None:
  """Returns the HTTP status that an error tells, or None."""
  for name in ('status', 'code'):
    value = getattr(error, name, None)
    if isinstance(value, int) and value >= 400:
      return value
  cause: BaseException | None = error
  while cause is not None:  # The client of S3 tells it in a cause.
    response = getattr(cause, 'response', None)
    if isinstance(response, dict):
      return response.get('ResponseMetadata', {}).get('HTTPStatusCode')
    cause = cause.__cause__
  return None


def _explained(
  url: str, done: str, error: Exception, tries: int, duration_s: float
) -> RemoteError:
  """Returns the error that tells what happened and what to do."""
  status = _status(error)
  if isinstance(error, FileNotFoundError) or status == 404:
    return MissingError(f'There is no {url}; see to the address.')
  if _is_local(error):
    advice = 'Free some space on this machine, or name another folder.'
  elif status in (401, 403) or isinstance(error, PermissionError):
    advice = 'See to the credentials and permissions.'
  else:
    advice = 'See to the server and the network.'
  count = f' after {tries} tries in {duration_s:.0f} s' if tries > 1 else ''
  return RemoteError(
    f'{url} cannot be {done}{count}: {_text(error)}. {advice} Then run the '
    'same command again.'
  )


def _text(error: Exception) -> str:
  """Returns status and message of an error, in one line."""
  status = _status(error)
  message = getattr(error, 'message', '') or str(error)
  message = ' '.join(str(message).split())[:200] or type(error).__name__
  return f'status {status}, {message}' if status else message
