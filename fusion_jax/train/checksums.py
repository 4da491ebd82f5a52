"""Checksums of the files of a checkpoint: what was saved is what is read.

A flipped bit in an array changes parameters without any error. So the digest
of every file is written into the folder before it gets its final name, and
compared before anything in it is used. What Orbax writes later, the time of the
end of the save, has none.
"""

import json
import pathlib
import time

from fusion_jax import checksums

FILE = checksums.FILE
ChecksumError = checksums.ChecksumError
# Orbax adds the time to this file when the folder gets its final name.
_STEP_METADATA, _WRITTEN_LAST = '_CHECKPOINT_METADATA', 'commit_timestamp_nsecs'


def write(folder: pathlib.Path, timeout_s: float = 60.0) -> None:
  """Writes the digests of all files of a folder into it.

  Args:
    folder: folder whose files are whole, but for the one that Orbax writes in
      a thread of its own, for which this waits.
    timeout_s: longest wait in seconds.

  Raises:
    TimeoutError: if that file is still not whole.
  """
  _await_field(folder / _STEP_METADATA, 'item_handlers', timeout_s)
  digests = {
    str(path.relative_to(folder)): _digest(path)
    for path in sorted(folder.rglob('*'))
    if path.is_file() and path != folder / FILE
  }
  checksums.write(folder / FILE, digests)


def await_last(
  folder: pathlib.Path, timeout_s: float = 60.0
) -> list[pathlib.Path]:
  """Waits for what Orbax writes into a folder that has its final name.

  Args:
    folder: folder of a checkpoint.
    timeout_s: longest wait in seconds.

  Returns:
    Paths of the files that are not whole before.

  Raises:
    TimeoutError: if it is still not whole.
  """
  _await_field(folder / _STEP_METADATA, _WRITTEN_LAST, timeout_s)
  return [
    path for path in folder.iterdir() if path.is_file() and path.name != FILE
  ]


def _await_field(path: pathlib.Path, field: str, timeout_s: float) -> None:
  """Waits until a field of the file that Orbax writes in a thread is set."""
  end = time.monotonic() + timeout_s
  while True:
    try:
      if json.loads(path.read_text())[field]:
        return
    except (FileNotFoundError, ValueError):  # It is still to be written.
      pass
    if time.monotonic() > end:
      raise TimeoutError(f'{path} is not whole after {timeout_s:g} s.')
    time.sleep(0.01)


def verify(folder: pathlib.Path, part: str = '') -> bool:
  """Compares the files of a folder with their digests.

  Args:
    folder: folder of a checkpoint.
    part: start of the names of the files to compare; '' for all.

  Returns:
    False if the folder is one of an earlier version, without digests.

  Raises:
    ChecksumError: names the first file that is missing or different.
  """
  return checksums.verify(folder, part, _digest)


def _digest(path: pathlib.Path) -> str:
  if path.name == _STEP_METADATA:
    fields = json.loads(path.read_bytes())
    fields.pop(_WRITTEN_LAST, None)
    text = json.dumps(fields, sort_keys=True)
    return checksums.digest_bytes(text.encode())
  return checksums.digest(path)
