"""Data sets behind a URL, read through a folder on the disk of this machine.

ArrayRecord reads local files. So `open_folder` fetches what describes a data
set, and each shard is fetched when an example of it is first read, once a
machine, however many processes and threads ask for it.

The order of training mixes all examples of a split. So every machine soon needs
every shard, and the folder needs the room of all splits that are read: a
smaller one would fetch the same shards again and again, and is refused. Where
the disks are too small, mount the bucket (gcsfuse, mountpoint-s3) and name the
folder where it is mounted.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from fusion_jax import modalities
from fusion_jax.data import shard_files, storage

FILE = 'remote.json'  # In the local folder; says where the shards are.
_RECORDS = '.array_record'
_REQUIRED = ('dataset_info.json', 'features.json', 'statistics.json')
# What else a data set may hold; a plain web server does not list its files.
_OPTIONAL = ('codes.json', 'coords_tokenizer.json', 'prepare.json')
_HIDDEN = '.notes/'


@dataclasses.dataclass(frozen=True)
class Cache:
  """The local folder of data sets behind URLs, of `config.data.remote`.

  Attributes:
    folder: folder on a disk of this machine.
    max_gb: the most that all data sets in it may take, in 10^9 bytes.
    timeout_s: seconds without success after which a URL is given up.
  """

  folder: str
  max_gb: float
  timeout_s: float = 300.0


def open_folder(url: str, cache: Cache) -> pathlib.Path:
  """Fetches what describes a data set; its shards follow when they are read.

  Args:
    url: folder of a data set that `prepare` wrote, uploaded as it is.
    cache: where to keep it.

  Returns:
    A local folder that can be used in place of one that `prepare` wrote.

  Raises:
    storage.RemoteError: if the URL does not answer or holds no data set.
    ValueError: if the cache is too small for the splits, or holds an earlier
      data set of the same URL.
  """
  files = storage.Storage(url, cache.timeout_s)
  folder = _folder(url, cache)
  with _locked(folder / 'folder'):
    sizes = files.sizes() if files.is_listed else {}
    fetched = {name: files.read(name) for name in _REQUIRED}
    for name in _others(files, sizes):
      with contextlib.suppress(storage.MissingError):
        fetched[name] = files.read(name)
    _check_same(folder, fetched, url)
    needed = _bytes(json.loads(fetched['dataset_info.json']), sizes)
    _check_room(folder, needed, url, cache)
    for name, content in fetched.items():
      _write(folder / name, content)
    note = {'url': url, 'bytes': needed, 'timeout_s': cache.timeout_s}
    note |= {'max_gb': cache.max_gb}
    _write(folder / FILE, json.dumps(note).encode())
  logging.info('%s is read through %s.', url, folder)
  return folder


def shard_fetcher(
  folder: pathlib.Path, names: Sequence[str]
) -> shard_files.Fetch | None:
  """Returns what makes the shards of a folder present.

  Args:
    folder: folder of a data set.
    names: names of the shards.

  Returns:
    A function of the number of a shard and of whether the local one is damaged
    and is to be fetched anew; None if the folder is no copy of a URL.
  """
  if not (folder / FILE).exists():
    return None
  note = json.loads((folder / FILE).read_text())
  files = storage.Storage(note['url'], note['timeout_s'])

  def fetch(number: int, is_damaged: bool) -> None:
    path = folder / names[number]
    if path.exists() and not is_damaged:
      return
    with _locked(path):
      if is_damaged:
        path.unlink(missing_ok=True)
      if not path.exists():  # Another process may have fetched it meanwhile.
        _check_use(folder.parent, note['max_gb'])
        files.fetch(names[number], path)
        logging.info('Fetched %s/%s.', note['url'], names[number])

  return fetch


def _folder(url: str, cache: Cache) -> pathlib.Path:
  """Returns the local folder of a URL."""
  if not cache.folder or not cache.max_gb > 0:
    raise ValueError(
      f'{url} needs a folder for its shards on a disk of this machine: set '
      'config.data.remote.cache to it, and config.data.remote.cache_gb (now '
      f'{cache.max_gb:g}) to what the folder may take.'
    )
  name = url.rstrip('/').rpartition('/')[2]
  digest = hashlib.blake2b(url.rstrip('/').encode(), digest_size=4).hexdigest()
  return pathlib.Path(cache.folder).expanduser() / f'{name}-{digest}'


def _others(files: storage.Storage, sizes: dict[str, int]) -> list[str]:
  """Returns names of further small files of a data set."""
  if files.is_listed:
    return [
      name
      for name in sizes
      if name not in _REQUIRED
      and not name.endswith(_RECORDS)
      and not name.startswith(_HIDDEN)
    ]
  series = [f'series_codes/{name}.msgpack' for name in modalities.MODALITIES]
  try:
    codes = json.loads(files.read('codes.json'))['tokenizers']
  except storage.MissingError:
    codes = {}
  return [*_OPTIONAL, *(x for x in series if pathlib.Path(x).stem in codes)]


def _check_same(
  folder: pathlib.Path, fetched: dict[str, bytes], url: str
) -> None:
  """Raises if the shards in a folder are of an earlier data set."""
  for name in ('dataset_info.json', 'features.json'):
    path = folder / name
    if path.exists() and path.read_bytes() != fetched[name]:
      raise ValueError(
        f'{url} is no longer what {folder} is a copy of: {name} differs. '
        'Remove that folder, so that the data are fetched anew.'
      )


def _bytes(info: dict[str, Any], sizes: dict[str, int]) -> int:
  """Returns the bytes of all shards; as they were written if none is listed."""
  shards = [n for name, n in sizes.items() if name.endswith(_RECORDS)]
  return sum(shards) or sum(int(s.get('numBytes', 0)) for s in info['splits'])


def _check_room(
  folder: pathlib.Path, needed: int, url: str, cache: Cache
) -> None:
  """Raises if the data sets in a cache need more than was declared."""
  notes = [p for p in folder.parent.glob(f'*/{FILE}') if p.parent != folder]
  others = sum(json.loads(path.read_text())['bytes'] for path in notes)
  if needed + others > cache.max_gb * 1e9:
    raise ValueError(
      f'config.data.remote.cache_gb={cache.max_gb:g} is too little for {url}, '
      f'which has {needed / 1e9:.3g} GB, beside {others / 1e9:.3g} GB of other '
      f'data sets in {folder.parent}: training reads all shards. Raise it, '
      'remove other data sets, or mount the bucket and name its folder.'
    )


def _check_use(folder: pathlib.Path, max_gb: float) -> None:
  """Raises if the shards in a cache have more bytes than was declared."""
  used = sum(path.stat().st_size for path in folder.glob(f'*/*{_RECORDS}'))
  if used > max_gb * 1e9:
    raise storage.RemoteError(
      f'{folder} holds {used / 1e9:.3g} GB, more than '
      f'config.data.remote.cache_gb={max_gb:g}; raise it, or remove other data '
      'sets. Then run the same command again.'
    )


def _write(path: pathlib.Path, content: bytes) -> None:
  """Writes a file, of which readers never see a part."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'{path.name}.tmp')  # Under the folder's lock.
  temporary.write_bytes(content)
  os.replace(temporary, path)


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
  """Keeps other threads and processes of this machine from a local file."""
  path.parent.mkdir(parents=True, exist_ok=True)
  # Each opens the file anew, so threads of one process wait for each other,
  # too; the lock of a process that dies is released.
  with path.with_name(f'{path.name}.lock').open('a') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
