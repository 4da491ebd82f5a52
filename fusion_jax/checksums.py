"""Checksums of files: what was written is what is read.

A flipped bit changes numbers without any error. So the digests of the files of
a folder are kept in its file `checksums.json`, which starts with its own
digest, and are compared before anything is used.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

FILE = 'checksums.json'
_ALGORITHM = 'blake2b'
_DIGEST = 'digest'  # Field of a JSON object that has its own.


class ChecksumError(ValueError):
  """A file is not what was saved; the message names it."""


def digest(path: pathlib.Path) -> str:
  """Returns the digest of the content of a file."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, _ALGORITHM).hexdigest()


def digest_bytes(content: bytes) -> str:
  """Returns the digest that a file of this content has."""
  return hashlib.new(_ALGORITHM, content).hexdigest()


def write(path: pathlib.Path, digests: Mapping[str, str]) -> None:
  """Writes the file of checksums of a folder, which appears when it is whole.

  Args:
    path: the file, `<folder>/checksums.json`.
    digests: {path of a file in the folder: its digest}.
  """
  text = json.dumps({'algorithm': _ALGORITHM, 'files': dict(digests)}, indent=1)
  content = {_DIGEST: digest_bytes(text.encode())}
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  with temporary.open('w') as file:
    file.write(f'{json.dumps(content)}\n{text}')
    file.flush()
    os.fsync(file.fileno())
  temporary.replace(path)


def read(path: pathlib.Path) -> dict[str, str]:
  """Reads what `write` wrote.

  Raises:
    ChecksumError: if it is not that any more.
  """
  first, _, text = path.read_bytes().partition(b'\n')
  if first != json.dumps({_DIGEST: digest_bytes(text)}).encode():
    raise ChecksumError(f'the file {path.name} is not what was saved')
  return json.loads(text)['files']


def add(
  folder: str | os.PathLike[str], names: Iterable[str], anew: bool = False
) -> None:
  """Adds the checksums of some files of a folder to those that it has.

  Args:
    folder: the folder.
    names: paths of the files in it.
    anew: whether those that it has are dropped, unread.

  Raises:
    ChecksumError: if its checksums themselves are damaged.
  """
  folder = pathlib.Path(folder)
  path = folder / FILE
  digests = read(path) if path.exists() and not anew else {}
  digests |= {name: digest(folder / name) for name in names}
  write(path, dict(sorted(digests.items())))


def verify(
  folder: str | os.PathLike[str],
  part: str = '',
  digest_of: Callable[[pathlib.Path], str] = digest,
) -> bool:
  """Compares the files of a folder with their checksums.

  Args:
    folder: the folder.
    part: start of the names of the files to compare; '' for all.
    digest_of: function from a file to its digest, which may raise ValueError.

  Returns:
    False if the folder is one of an earlier version, without checksums.

  Raises:
    ChecksumError: names the first file that is missing or different.
  """
  folder = pathlib.Path(folder)
  if not (folder / FILE).exists():
    return False
  digests = read(folder / FILE)
  compare(
    folder, {k: v for k, v in digests.items() if k.startswith(part)}, digest_of
  )
  return True


def compare(
  folder: pathlib.Path,
  digests: Mapping[str, str],
  digest_of: Callable[[pathlib.Path], str] = digest,
) -> None:
  """Compares files of a folder with their checksums.

  Args:
    folder: the folder.
    digests: {path of a file in it: its digest}.
    digest_of: function from a file to its digest, which may raise ValueError.

  Raises:
    ChecksumError: names the first file that is missing or different.
  """
  for name, expected in digests.items():
    if not (folder / name).exists():
      raise ChecksumError(f'the file {name} is missing')
    try:
      is_same = digest_of(folder / name) == expected
    except ValueError:  # No JSON any more.
      is_same = False
    if not is_same:
      raise ChecksumError(f'the file {name} is not what was saved')


def dumps(content: Mapping[str, Any]) -> str:
  """Returns a JSON object that holds its own digest; see `loads`."""
  text = json.dumps(dict(content), indent=1)
  return json.dumps(
    {**json.loads(text), _DIGEST: digest_bytes(text.encode())}, indent=1
  )


def loads(text: bytes, name: str) -> tuple[dict[str, Any], bool]:
  """Reads a JSON object that may hold its own digest.

  Args:
    text: content of the file.
    name: name of the file, for messages.

  Returns:
    (object without its digest, whether it had one).

  Raises:
    ChecksumError: if it is not what `dumps` returned, or no JSON object.
  """
  try:
    content = json.loads(text)
    stored = content.pop(_DIGEST, None)
  except (ValueError, AttributeError, TypeError):
    raise ChecksumError(f'the file {name} is not what was saved') from None
  if stored is not None and dumps(content).encode() != text:
    raise ChecksumError(f'the file {name} is not what was saved')
  return content, stored is not None
