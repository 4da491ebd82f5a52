"""A copy of the checkpoints of a run behind a URL, `config.checkpoint.mirror`.

Checkpoints are written to the work directory on a file system, and copied from
there. Writing them to a bucket directly would lose what the work directory
gives: a bucket has no lock that ends with its holder, and cannot rename a
folder, which is how a checkpoint becomes whole together with its checksums.

`<url>/checkpoints/<step>/` has the files of `<workdir>/checkpoints/<step>/`.
Their checksums come last: a folder without `checksums.json` is not whole and is
never read. `<url>/` has the small files of the work directory, such as
`config.json` and `metrics.jsonl`, and what its checksums name in subfolders,
such as `series_codes/`. What a run keeps, its mirror keeps. A mirror
belongs to one run.
"""

import contextlib
import os
import pathlib
import shutil
import threading
from collections.abc import Iterator

import jax
from absl import logging

from fusion_jax import checksums as plain_checksums
from fusion_jax.data import storage
from fusion_jax.train import checkpoint, checksums, processes, workdir

_POLL_S = 1.0
_FETCHED, _SENT = 'fetched_checkpoints', 'sent_checkpoints'
_OWN = (workdir.FILE, 'run.holder')  # Of this machine alone.
_EVENTS = 'events.out.tfevents'


@contextlib.contextmanager
def mirrored(
  folder: str | os.PathLike[str], url: str, timeout_s: float
) -> Iterator[None]:
  """Copies checkpoints to a URL while the context is open.

  If the work directory has no checkpoint, those of the URL are fetched first;
  then the run goes on from there bit for bit. The first process copies, in a
  thread; what fails is tried again with the next checkpoint and at the end,
  when the other processes wait for it.

  Args:
    folder: work directory of the run, which this run holds.
    url: URL of the mirror; '' for none.
    timeout_s: seconds without success after which a request is given up.

  Raises:
    ValueError: if the URL cannot be written.
    storage.RemoteError: in every process, if the URL does not answer at the
      start, it has a newer checkpoint than the work directory, or the last
      checkpoint cannot be copied at the end.
  """
  if not url:
    yield
    return
  files = storage.Storage(url, timeout_s)
  if not files.is_listed:
    raise ValueError(
      f'config.checkpoint.mirror={url} can only be read; use gs:// or s3://.'
    )
  folder = pathlib.Path(folder).absolute()
  _restore_once(files, folder)
  copier = None if jax.process_index() else _Copier(files, folder)
  try:
    yield
  except (Exception, KeyboardInterrupt):
    if copier is not None:
      copier.stop()
      copier.try_to_copy()  # What was saved before the error.
    raise
  finally:
    if copier is not None:
      copier.stop()
  outcome = copier.finish() if copier is not None else ''
  if outcome := processes.from_first(outcome):  # JAX would wait 5 minutes.
    raise storage.RemoteError(outcome)


def _restore_once(files: storage.Storage, folder: pathlib.Path) -> None:
  """Restores in the first process; all raise if that fails."""
  outcome = ''
  if jax.process_index() == 0:
    try:
      local = checkpoint.list_steps(folder)
      if not local:
        _restore(files, folder)
      elif (there := _whole_steps(files.sizes())) and there[-1] > local[-1]:
        outcome = (
          f'{files.url} has the checkpoint of step {there[-1]}, but {folder} '
          f'ends at step {local[-1]}: the run went on elsewhere. Name an empty '
          '--workdir to go on from there, or another config.checkpoint.mirror.'
        )
    except OSError as error:  # Also of this machine's disk.
      outcome = str(error)
  if outcome := processes.from_first(outcome):
    raise storage.RemoteError(outcome)


def _restore(files: storage.Storage, folder: pathlib.Path) -> None:
  """Fetches all whole checkpoints, which appear at once, and small files."""
  sizes = files.sizes()
  steps = _whole_steps(sizes)
  if not steps:
    return
  fetched = folder / _FETCHED
  shutil.rmtree(fetched, ignore_errors=True)
  for step in steps:
    prefix = f'{checkpoint.DIRECTORY}/{step}/'
    for name in (name for name in sizes if name.startswith(prefix)):
      files.fetch(name, fetched / name.removeprefix(f'{checkpoint.DIRECTORY}/'))
    try:
      checksums.verify(fetched / str(step))
    except checksums.ChecksumError as error:
      logging.warning('%s/%s is damaged: %s.', files.url, prefix, error)
      shutil.rmtree(fetched / str(step))
  if not list(fetched.iterdir()):
    raise storage.RemoteError(
      f'No checkpoint of {files.url} is sound. Name another '
      'config.checkpoint.mirror to start from the beginning.'
    )
  for name in sizes:
    if '/' not in name and name not in _OWN:
      (folder / name).unlink(missing_ok=True)  # Of an attempt that saved none.
      files.fetch(name, folder / name)
  for name in _list_kept(folder):
    if name in sizes:
      files.fetch(name, folder / name)
  checkpoints = folder / checkpoint.DIRECTORY
  if checkpoints.exists():  # Without a whole checkpoint: what a kill left.
    shutil.rmtree(checkpoints)
  os.rename(fetched, checkpoints)
  logging.info(
    'The checkpoints %s were fetched from %s.',
    checkpoint.list_steps(folder),
    files.url,
  )


def _list_kept(folder: pathlib.Path) -> list[str]:
  """Returns the files in subfolders that the checksums of a run name."""
  try:
    names = plain_checksums.read(folder / checksums.FILE)
  except (FileNotFoundError, checksums.ChecksumError):
    return []  # A run that resumes without them says so.
  return [
    name
    for name in names
    if len(parts := pathlib.PurePosixPath(name).parts) > 1
    and not {'/', '..', checkpoint.DIRECTORY} & set(parts)
  ]


def _whole_steps(sizes: dict[str, int]) -> list[int]:
  """Returns the steps of the checkpoints that have their checksums."""
  parts = [name.split('/') for name in sizes]
  return sorted(
    int(part[1])
    for part in parts
    if len(part) == 3
    and part[0] == checkpoint.DIRECTORY
    and part[1].isdigit()
    and part[2] == checksums.FILE
  )


class _Copier:
  """Copies new checkpoints of a work directory, in a thread of its own."""

  def __init__(self, files: storage.Storage, folder: pathlib.Path) -> None:
    self._files, self._folder = files, folder
    self._copied: set[int] = set()
    self._stopped = threading.Event()
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()

  def stop(self) -> None:
    """Ends the thread, after the copy that it is making."""
    self._stopped.set()
    self._thread.join()

  def finish(self) -> str:
    """Copies what is left; returns what failed, or ''."""
    try:
      self._copy()
      self._put_small_files()
    except Exception as error:  # The others wait to hear of it.
      return (
        f'The run is whole in {self._folder}, but not in its mirror: {error}'
      )
    finally:
      shutil.rmtree(self._folder / _SENT, ignore_errors=True)
    return ''

  def try_to_copy(self) -> None:
    """Copies new checkpoints; says so if that fails."""
    try:
      self._copy()
    except Exception as error:  # A run does not stop because of its copy.
      logging.warning(
        'The checkpoints are not copied yet, which is tried again: %s', error
      )

  def _run(self) -> None:
    seen: list[int] = []
    while not self._stopped.wait(_POLL_S):
      steps = checkpoint.list_steps(self._folder)
      if steps != seen:
        seen = steps
        self.try_to_copy()

  def _copy(self) -> None:
    """Copies new checkpoints, the newest first; removes what is not kept."""
    steps = checkpoint.list_steps(self._folder)
    new = sorted(set(steps) - self._copied, reverse=True)
    for step in new:
      snapshot = self._folder / _SENT / str(step)
      try:
        if _link(self._folder / checkpoint.DIRECTORY / str(step), snapshot):
          self._send(step, snapshot)
          self._copied.add(step)
      finally:
        shutil.rmtree(self._folder / _SENT, ignore_errors=True)
    if new:
      self._remove_others(checkpoint.list_steps(self._folder))

  def _send(self, step: int, folder: pathlib.Path) -> None:
    """Copies one checkpoint; its checksums go first and come last."""
    prefix = f'{checkpoint.DIRECTORY}/{step}/'
    there = [n for n in self._files.sizes() if n.startswith(prefix)]
    marker = folder / checksums.FILE
    if prefix + checksums.FILE in there:
      if self._files.read(prefix + checksums.FILE) == marker.read_bytes():
        return
      self._files.delete(prefix + checksums.FILE)
    names = {
      str(path.relative_to(folder)): path
      for path in sorted(folder.rglob('*'))
      if path.is_file() and path != marker
    }
    for name in there:  # Of another save of the same step.
      if name.removeprefix(prefix) not in names:
        self._files.delete(name)
    self._put_small_files()
    for name, path in names.items():
      self._files.put(path, prefix + name)
    self._files.put(marker, prefix + checksums.FILE)
    logging.info('Step %d was copied to %s.', step, self._files.url)

  def _put_small_files(self) -> None:
    """Copies the files that a run keeps beside its checkpoints."""
    names = sorted(
      path.name
      for path in self._folder.iterdir()
      if path.is_file() and path.name not in _OWN and _EVENTS not in path.name
    )
    for name in names + _list_kept(self._folder):
      copy = self._folder / _SENT / name
      copy.parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(self._folder / name, copy)  # The log may grow meanwhile.
      self._files.put(copy, name)

  def _remove_others(self, kept: list[int]) -> None:
    """Removes older checkpoints that the work directory does not keep."""
    stale: dict[int, list[str]] = {}
    for name in self._files.sizes():
      folder, _, rest = name.partition('/')
      step = rest.partition('/')[0]
      if folder == checkpoint.DIRECTORY and step.isdigit():
        stale.setdefault(int(step), []).append(name)
    for step, names in stale.items():
      if step not in kept and kept and step < kept[-1]:
        # Without its checksums first, it is no longer whole.
        for name in sorted(names, key=lambda n: not n.endswith(checksums.FILE)):
          self._files.delete(name)
        self._copied.discard(step)


def _link(source: pathlib.Path, target: pathlib.Path) -> bool:
  """Makes a second name of every file, so that none goes while it is copied.

  Returns:
    False if the folder went before that was done.
  """
  try:
    shutil.copytree(source, target, copy_function=_link_file)
  except (FileNotFoundError, shutil.Error):
    if source.exists():
      raise
    return False
  return (target / checksums.FILE).exists()


def _link_file(source: str, target: str) -> None:
  try:
    os.link(source, target)
  except OSError:  # Not every file system has links.
    shutil.copyfile(source, target)
