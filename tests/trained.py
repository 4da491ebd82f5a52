"""A work directory as a finished run leaves it, with an untrained model."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fusion_jax.configs import pretrain as pretrain_config
from fusion_jax.tasks import pretrain
from fusion_jax.train import checkpoint, sharding
from fusion_jax.train import state as state_lib

RAW = 'untok_sen2l2a@224'
_ALPHAS = {'input_alphas': (0.5,), 'target_alphas': (0.5,)}
_RAW_ALPHAS = {'input_alphas': (0.5,), 'target_alphas': (0.0,)}


def write_workdir(folder):
  """Writes checkpoint and statistics of a small model; returns its config."""
  config = pretrain_config.get_config('smoke=True')
  with config.unlocked():
    config.update(image_size=32, standardise='terramind', mixture=(1.0,))
    config.model = dict(
      width=16,
      encoder_depth=1,
      decoder_depth=1,
      num_heads=2,
      mlp='swiglu',
      use_bias=False,
      dtype='float32',
      unroll=1,
    )
    config.modalities = {
      RAW: _RAW_ALPHAS,
      'coords': _ALPHAS,
      't2m_hourly': _ALPHAS,
      'tp_sum_daily': _ALPHAS,
    }
  (folder / 'statistics.json').write_text(
    json.dumps(
      {
        'images': {},
        'series': {
          't2m_hourly': {
            'uniform': {'edges': np.linspace(250, 310, 501).tolist()}
          },
          'tp_sum_daily': {
            'uniform': {'edges': np.linspace(0.01, 50, 501).tolist()}
          },
        },
      }
    )
  )
  task = pretrain.Pretrain(config, folder)
  params = jax.jit(lambda key: task.init(key, _batch())[0])(jax.random.key(0))
  state = state_lib.create(params, {}, optax.identity())
  state = jax.device_put(state, sharding.replicated(sharding.make_mesh()))
  saver = checkpoint.Checkpoints(folder)
  saver.save(
    3,
    state,
    {'next_index': 3},
    {'config': config.to_dict(), 'versions': {}, 'log': {}},
  )
  saver.close()
  return config


def _batch():
  slots = {
    name: jnp.zeros((1, 4), jnp.int32)
    for name in ('modality', 'position', 'code', 'attention')
  }
  patches = {'patches': {RAW: jnp.zeros((1, 4, 256 * 12))}}
  return {'encoder': slots | patches, 'decoder': slots}
