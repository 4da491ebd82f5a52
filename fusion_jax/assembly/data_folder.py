"""The data of a run where they are several sets, or behind a URL."""

import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from fusion_jax.data import mixture_folders, remote, storage
from fusion_jax.train import processes
from fusion_jax.types import Config

T = TypeVar('T')


class PreparationError(ValueError):
  """Another process of the run could not prepare or open the data."""


def open_url(data: Config, url: str) -> pathlib.Path:
  """Returns the folder on this machine through which a URL is read.

  All processes of the run call it. None of them goes on where one fails: the
  others would wait for it in the first step.

  Args:
    data: section `data` of a configuration; `data.remote` says where to keep
      the shards.
    url: URL of a data set.

  Raises:
    storage.RemoteError: if the URL does not answer or holds no data set.
    ValueError: if the cache is not named or too small.
    PreparationError: if another process of the run cannot open it.
  """
  return _everywhere(lambda: _open(data, url))


def _open(data: Config, url: str) -> pathlib.Path:
  """Opens one set: a URL by the cache, a local folder as it is."""
  if not storage.is_url(url):
    return pathlib.Path(url).expanduser()
  settings = data.remote
  return remote.open_folder(
    url,
    remote.Cache(settings.cache, settings.cache_gb, settings.timeout_s),
  )


def open_parts(data: Config, workdir: pathlib.Path) -> pathlib.Path:
  """Writes the folder that describes the mixture of `data.parts`.

  Args:
    data: section `data` of a configuration; `data.parts` is {name: {'dir':
      folder or URL, 'weight': share}}.
    workdir: work directory of the run, which gets the folder `mixture`.

  Raises:
    ValueError: if the parts do not fit together, or `data.dir` names another
      data set.
    PreparationError: if another process of the run cannot open or describe
      them.
    storage.RemoteError: if a URL does not answer or holds no data set.
  """
  if data.dir:
    raise ValueError(
      f'config.data.dir={data.dir} is set beside config.data.parts '
      f'{sorted(data.parts)}; name either one data set or several parts.'
    )
  parts = _everywhere(
    lambda: {
      name: (_open(data, part.dir) if part.dir else '', part.weight)
      for name, part in data.parts.items()
    }
  )
  folder = workdir / 'mixture'
  once(lambda: mixture_folders.write(parts, folder), folder)
  return folder


def _everywhere(make: Callable[[], T]) -> T:
  """Opens data in every process; all of them stop if one fails."""
  try:
    made, failure = [make()], None
  except Exception as error:  # Whatever it is, nobody is to wait for ever.
    made, failure = [], error
  failures = processes.from_all(
    '' if failure is None else f'{type(failure).__name__}: {failure}'
  )
  if failure is not None:
    raise failure
  for process, message in enumerate(failures):
    if message:
      raise PreparationError(
        f'Process {process} of this run could not open the data: {message}'
      )
  return made[0]


def once(make: Callable[[], Any], path: pathlib.Path) -> None:
  """Makes data in process 0; the others wait, and stop if it fails.

  Args:
    make: function without arguments that makes the data.
    path: folder that it makes, for messages.

  Raises:
    PreparationError: in the other processes; in the first, what `make` raises.
  """
  failure = None
  if jax.process_index() == 0:
    try:
      make()
    except Exception as error:  # Whatever it is, nobody is to wait for ever.
      failure = error
  failed = failure is not None
  if jax.process_count() > 1:
    failed = bool(multihost_utils.broadcast_one_to_all(np.array(failed)))
  if failed:
    raise failure or PreparationError(
      f'Process 0 could not prepare {path}; its log says why.'
    )
