"""Writes converted weights as a checkpoint that `fusion_jax.load` reads."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import optax

import fusion_jax
from fusion_jax import checksums
from fusion_jax.train import checkpoint, description, sharding
from fusion_jax.train import checksums as train_checksums
from fusion_jax.train import state as state_lib
from fusion_jax.types import Params


def write(
  out: str | os.PathLike[str],
  params: Params,
  config: Mapping[str, Any],
  source: Mapping[str, Any],
) -> None:
  """Writes a work directory with one checkpoint, of step 0.

  Args:
    out: folder to write; it is made if it does not exist.
    params: nested dict of arrays.
    config: JSON-like dict with 'task' and all that builds the model again.
    source: JSON-like dict that describes the origin of the weights.

  Raises:
    ValueError: if the folder has checkpoints already.
  """
  out = pathlib.Path(out)
  if checkpoint.list_steps(out):
    raise ValueError(
      f'{out} holds checkpoints already; choose another --out, or remove it.'
    )
  out.mkdir(parents=True, exist_ok=True)
  (out / 'config.json').write_text(json.dumps(config, indent=1) + '\n')
  # There are no training data: images have TerraMind's own standardisation,
  # and there is no weather.
  (out / 'statistics.json').write_text(
    json.dumps({'images': {}, 'series': {}}) + '\n'
  )
  checksums.add(out, ('config.json', 'statistics.json'), anew=True)
  _save(out, params, config, source)  # It makes the folder a whole one.
  written_later = train_checksums.await_last(out / checkpoint.DIRECTORY / '0')
  checksums.add(out, [str(path.relative_to(out)) for path in written_later])


def _save(
  out: pathlib.Path,
  params: Params,
  config: Mapping[str, Any],
  source: Mapping[str, Any],
) -> None:
  """Writes the checkpoint of step 0."""
  mesh = sharding.make_mesh(1, jax.devices()[:1])
  state = jax.device_put(
    state_lib.create(params, {}, optax.identity()), sharding.replicated(mesh)
  )
  saver = checkpoint.Checkpoints(out)
  saver.save(
    0,
    state,
    {'next_index': 0},
    {
      'config': config,
      'versions': description.versions(),
      'log': {},
      'source': {
        **source,
        'converted_by': f'fusion_jax {fusion_jax.__version__}',
      },
    },
  )
  saver.close()
