"""The lock of a work directory: two runs never write to the same one."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import jax

from fusion_jax import locks
from fusion_jax.train import processes

FILE = 'run.lock'
InUseError = locks.InUseError


@contextlib.contextmanager
def hold(workdir: str | os.PathLike[str]) -> Iterator[None]:
  """Keeps other runs out of a work directory while the context is open.

  The first process of a run holds the lock `<workdir>/run.lock`, see
  `locks.hold`.

  Args:
    workdir: work directory of the run; made if need be.

  Raises:
    InUseError: in every process, if another run holds it or the folder cannot
      be written; names host, process and start of the other run.
  """
  folder = pathlib.Path(workdir).resolve()
  with contextlib.ExitStack() as stack:
    refusal = ''
    if jax.process_index() == 0:
      try:
        stack.enter_context(
          locks.hold(folder / FILE, folder, 'Name another --workdir.')
        )
      except InUseError as error:
        refusal = str(error)
    if refusal := processes.from_first(refusal):
      raise InUseError(refusal)
    yield
