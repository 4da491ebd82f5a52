"""What a run writes to the log when it starts."""

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
import numpy as np
from absl import logging
from clu import parameter_overview

from fusion_jax.types import Batch, Params

PACKAGES = (
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax-checkpoint',
  'grain',
  'numpy',
)


def versions() -> dict[str, str]:
  """Returns {package: version} of the packages that decide the numbers."""
  return {'python': platform.python_version()} | {
    name: metadata.version(name) for name in PACKAGES
  }


def log_run(mesh: jax.sharding.Mesh, batch_size: int, accumulate: int) -> None:
  """Logs versions, devices, mesh and the batch of a device.

  Args:
    mesh: mesh of the run.
    batch_size: examples of a step, over all devices.
    accumulate: micro-batches of a step.
  """
  devices = list(mesh.devices.flat)
  _info('Versions: %s', versions())
  _info(
    '%d x %s in %d processes, mesh %s.',
    len(devices),
    devices[0].device_kind,
    jax.process_count(),
    dict(mesh.shape),
  )
  _info(
    'Batch: %d examples a step, %d a device%s.',
    batch_size,
    batch_size // len(devices),
    f' in {accumulate} micro-batches' if accumulate > 1 else '',
  )


def log_parameters(params: Params) -> None:
  """Logs a table of the parameters: path, shape, size.

  Args:
    params: nested dict of arrays of any shape, or of their shapes.
  """
  _info(
    'Parameters:\n%s',
    parameter_overview.get_parameter_overview(params, include_stats=False),
  )


def log_batch(batch: Batch) -> None:
  """Logs shape, type and range of every array of a batch.

  Args:
    batch: nested dict of NumPy arrays [B / process_count, ...].
  """
  lines = []
  for path, x in jax.tree_util.tree_leaves_with_path(batch):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    x = np.asarray(x)
    lines.append(f'  {name} {x.dtype} {list(x.shape)}: {_range(x)}')
  _info("One batch, this process's share:\n%s", '\n'.join(lines))


def log_config_changes(
  saved: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
  """Warns of every field that differs from what the checkpoint holds.

  Args:
    saved: configuration in the checkpoint, a nested dict.
    config: configuration of the run that is resumed, a nested dict.
  """
  old, new = _flatten(saved), _flatten(config)
  for name in sorted(old.keys() | new.keys()):
    if old.get(name) != new.get(name):
      logging.warning(
        'config.%s was %r in the checkpoint and is now %r.',
        name,
        old.get(name),
        new.get(name),
      )


def _range(x: np.ndarray) -> str:
  finite = x[np.isfinite(x)]
  span = f'{finite.min():.4g} .. {finite.max():.4g}' if finite.size else 'none'
  missing = x.size - finite.size
  return span + (f', {missing} not finite' if missing else '')


def _info(*args: Any) -> None:
  """Logs on the first process only."""
  if jax.process_index() == 0:
    logging.info(*args)


def _flatten(tree: Any, prefix: str = '') -> dict[str, Any]:
  if not isinstance(tree, dict):
    return {prefix[:-1]: tree}
  return {
    name: value
    for key, child in tree.items()
    for name, value in _flatten(child, f'{prefix}{key}.').items()
  }
