r"""Prints memory and traffic of a device in a step, from the compiler alone.

  python -m benchmarks.sharding                   # The table, a process a row.
  python -m benchmarks.sharding --row large:64:64:remat

No step runs, and no accelerator is needed: the training step is compiled for
virtual CPU devices in bfloat16, --examples on each, and read after XLA's pass
`spmd-partitioning`, see `fusion_jax.train.collectives`. A row is
SIZE:DEVICES:FSDP of the masked encoder-decoder with 128 + 128 slots, or
alignment:DEVICES:FSDP of the pixel encoder with a queue of 65,536, 128 pixels
on each device. Bytes are those of whole arrays, as a device gathers or reduces
them in one step. Temporaries are those of the CPU's compiler, which computes
bfloat16 in float32: an upper bound.
"""

import os
import platform
import subprocess
import sys
import time

from absl import app, flags

ROWS = (
  'base:8:8',
  'base:64:64',
  'base:256:256',
  'base:64:8',
  'base:64:1',
  'base:64:64:remat',
  'large:8:8',
  'large:64:64',
  'large:256:256',
  'large:64:8',
  'large:64:64:remat',
  'alignment:8:1',
  'alignment:64:1',
)
PIXELS = 128  # On each device, of the alignment.


def define_flags():
  """Defines the flags of the command; importing this file defines none."""
  flags.DEFINE_integer('examples', 8, 'Examples on each device.')
  flags.DEFINE_string('row', '', 'The only row to print.')
  flags.DEFINE_list('rows', list(ROWS), 'Rows of the table.')


def lower_backbone(size, fsdp, remat=False, examples=8):
  """Lowers a step of pretraining on `examples` for each device."""
  import jax

  from benchmarks import train_step
  from fusion_jax import modalities
  from fusion_jax.configs import pretrain
  from fusion_jax.models import backbone as backbone_lib
  from fusion_jax.train import optim

  names = [*pretrain.IMAGE, *pretrain.TOKENISED, 'coords']
  backbone = backbone_lib.Backbone(
    modalities.select(names),
    dtype='bfloat16',
    remat=remat,
    **pretrain.SIZES[size],
  )
  task = train_step.make_task(backbone)
  task.init = lambda key, batch: (backbone.init(key, batch)['params'], {})
  batch = train_step.make_batch(backbone.modalities, 1)
  optimizer = optim.make(pretrain.get_config().optimizer, num_steps=100)
  return lower(task, optimizer, batch, examples * jax.device_count(), fsdp)


def lower_alignment(fsdp, pixels=PIXELS, queue_size=2**16):
  """Lowers a step of the alignment of `pixels` of each device with photos."""
  import pathlib
  import tempfile

  import jax
  import numpy as np

  from fusion_jax.configs import align_pixels
  from fusion_jax.tasks import align_pixels as task_lib
  from fusion_jax.train import optim

  config = align_pixels.get_config('size=paper,data=sen4map')
  config.batch_size = pixels * jax.device_count()
  config.loss.queue_size = queue_size
  config.model.dtype = 'bfloat16'
  with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, 'statistics.json').write_text('{}')
    task = task_lib.AlignPixels(config, folder)
  batch = {
    'pixels': np.zeros((1, 12, 10, 1, 1), np.float32),
    'keep': np.zeros((1, 12), bool),
    'views': np.zeros((1, 4, 512), np.float32),
    'has_photo': np.zeros((1, 4), bool),
    'id': np.zeros(1, np.int32),
  }
  optimizer = optim.make(config.optimizer, config.num_steps)
  return lower(task, optimizer, batch, config.batch_size, fsdp)


def lower(task, optimizer, batch, batch_size, fsdp, devices=None):
  """Lowers the step of a task for the shapes of a global batch."""
  import jax

  from fusion_jax.train import rng, sharding, state, step

  mesh = sharding.make_mesh(fsdp, devices)
  rows = sharding.batch_sharding(mesh)
  batch = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      (batch_size, *x.shape[1:]), x.dtype, sharding=rows
    ),
    batch,
  )

  def init(batch):
    return state.create(
      *task.init(rng.key_for(0, 'init', 0), batch), optimizer.tx
    )

  shapes = jax.eval_shape(init, batch)
  shardings = sharding.state_shardings(shapes, mesh)
  with jax.set_mesh(mesh):
    train_step = jax.jit(
      step.make_train_step(task, optimizer.tx, 0),
      donate_argnums=0,
      out_shardings=(shardings, sharding.replicated(mesh)),
    )
    return train_step.lower(sharding.with_shardings(shapes, shardings), batch)


def print_row(row):
  """Compiles the program of a row, and prints what it says."""
  from fusion_jax.train import collectives

  name, _, fsdp, *options = row.split(':')
  if name == 'alignment':
    lowered = lower_alignment(int(fsdp))
  else:
    lowered = lower_backbone(
      name, int(fsdp), 'remat' in options, flags.FLAGS.examples
    )
  start = time.perf_counter()
  compiled, transfers = collectives.compile_step(lowered)
  seconds = time.perf_counter() - start
  memory = compiled.memory_analysis()
  moved = {
    kind: collectives.total_bytes(transfers, kind) for kind in collectives.KINDS
  }
  cells = [row.replace(':', ' '), *moved.values(), sum(moved.values())]
  cells += [memory.argument_size_in_bytes, memory.temp_size_in_bytes]
  cells = [_gib(x) if isinstance(x, int) else x for x in cells]
  print(f'| {" | ".join(cells)} | {seconds:.0f} |', flush=True)


def _gib(size):
  return f'{size / 2**30:.2f}' if size >= 2**27 else f'{size / 2**20:.1f} MiB'


def main(_):
  if flags.FLAGS.row:
    print_row(flags.FLAGS.row)
    return
  import jax

  from fusion_jax.train import collectives

  print(f'jax {jax.__version__}, Python {platform.python_version()}; GiB\n')
  heads = (
    'size devices fsdp',
    *collectives.KINDS,
    'sum',
    'state',
    'temporaries',
  )
  print(f'| {" | ".join(heads)} | compile s |')
  print('|' + ' --- |' * (len(heads) + 1), flush=True)
  for row in flags.FLAGS.rows:
    devices = row.split(':')[1]
    subprocess.run(
      [
        sys.executable,
        *('-m', 'benchmarks.sharding', '--row', row),
        f'--examples={flags.FLAGS.examples}',
      ],
      env=os.environ
      | {
        'JAX_PLATFORMS': 'cpu',
        'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
      },
      check=True,
    )


if __name__ == '__main__':
  define_flags()
  app.run(main)
