"""Prints what training steps move, compiled for 8 and for 16 devices.

The sizes are chosen so that no other axis has as many rows as a global batch.
"""

import dataclasses
import json

import jax

from benchmarks import sharding as benchmark
from benchmarks import train_step
from fusion_jax import modalities
from fusion_jax.configs import pretrain
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.train import collectives, optim

EXAMPLES = 5  # On each device; the slots are those of the benchmark, 128.


def main():
  backbone = backbone_lib.Backbone(
    modalities.select(['S2L2A', 'tok_sen2l2a@224', 'tok_dem@224', 'coords']),
    width=512,
    encoder_depth=2,
    decoder_depth=2,
    num_heads=8,
    dtype='bfloat16',
  )
  task = train_step.make_task(backbone)
  task.init = lambda key, batch: (backbone.init(key, batch)['params'], {})
  batch = train_step.make_batch(backbone.modalities, 1)
  optimizer = optim.make(pretrain.get_config().optimizer, num_steps=100)
  for devices in (8, 16):
    lowered = benchmark.lower(
      task,
      optimizer,
      batch,
      EXAMPLES * devices,
      fsdp=devices,
      devices=jax.devices()[:devices],
    )
    compiled, transfers = collectives.compile_step(lowered)
    print(
      json.dumps(
        {
          'devices': devices,
          'temporaries': compiled.memory_analysis().temp_size_in_bytes,
          'collectives': [dataclasses.asdict(c) for c in transfers],
        }
      ),
      flush=True,
    )


if __name__ == '__main__':
  main()
