"""Series tokenizers as a finished run leaves them, but untrained."""

import json
import pathlib
import tempfile

import jax
import numpy as np
import optax

import fusion_jax
from fusion_jax.configs import series_tokenizer as config_lib
from fusion_jax.tasks import series_tokenizer
from fusion_jax.train import checkpoint, sharding
from fusion_jax.train import state as state_lib


def write_workdir(folder, names=('t2m_hourly',), levels='4-4-4', seed=0):
  """Writes checkpoint and statistics of a small tokenizer."""
  config = config_lib.get_config(f'levels={levels},data=own,smoke')
  config.model.update(dict(width=8, num_waves=2, dilations=(1,)))
  config.series = names
  (folder / 'statistics.json').write_text(
    json.dumps(
      {
        'series': {
          name: dict(count=9, mean=280.0 if name[:3] == 't2m' else 0.2, std=3.0)
          for name in names
        }
      }
    )
  )
  task = series_tokenizer.SeriesTokenizer(config, folder)
  rng = np.random.default_rng(seed)
  shape = 8, int(task.steps.max())
  batch = {
    'values': rng.normal(size=shape).astype(np.float32),
    'present': np.ones(shape, bool),
    'inside': np.ones(shape, bool),
  }
  params = jax.jit(task.init)(jax.random.key(seed), batch)[0]
  state = state_lib.create(params, {}, optax.identity())
  state = jax.device_put(state, sharding.replicated(sharding.make_mesh()))
  saver = checkpoint.Checkpoints(folder)
  saver.save(
    3,
    state,
    {'next_index': 3},
    {'config': json.loads(config.to_json()), 'versions': {}, 'log': {}},
  )
  saver.close()
  return folder


def make_codec(names=('t2m_hourly',), **settings):
  """The loaded `SeriesCodec` of such a run."""
  with tempfile.TemporaryDirectory() as folder:
    return fusion_jax.load(
      write_workdir(pathlib.Path(folder), names, **settings)
    )
