"""Twenty steps of every task, one after the other, in a process of its own.

python tests/tasks/every_task.py --workdir DIR --earth DIR --pixels DIR
"""

import argparse
import os
import pathlib
import sys

from absl import flags

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..'))

from fusion_jax import runs
from fusion_jax.configs import image_tokenizer, series_tokenizer
from fusion_jax.train import loop, optim, sharding
from tests.tasks import pixels_runner, runner
from tests.train import harness

BATCH = 8


def configs(earth, pixels):
  """The smallest run of each task, {task: (config, folder of its data)}."""
  image = image_tokenizer.get_config('modality=S2L2A,data=simulated,smoke')
  image.update(
    dict(
      image_size=32,
      model=dict(
        width=16,
        depth=1,
        num_heads=2,
        image_size=32,
        unet_width=8,
        unet_multipliers=(1,),
        unet_groups=4,
      ),
      data=dict(name='terramesh'),
      # Started from the data and at the full rate after one step, a last bit of
      # the parameters moves the loss by 7e-2 within four steps, on one device.
      start='random',
      spread_weight=0.0,
      optimizer=dict(peak_lr=1e-4, warmup_steps=20),
    )
  )
  series = series_tokenizer.get_config('levels=4-4-4,data=own,smoke')
  series.model.update(dict(width=8, num_waves=2, dilations=(1,)))
  return {
    'pretrain': (runner.config(earth), earth),
    'image_tokenizer': (image, earth),
    'series_tokenizer': (series, earth),
    'align_pixels': (pixels_runner.config(pixels, 'augment=tsmixaug'), pixels),
    'classify_pixels': (
      pixels_runner.config(pixels, 'supervised=land_cover'),
      pixels,
    ),
  }


def train(task, config, data_dir, workdir):
  """Trains a task on all devices; its metrics are in the work directory."""
  config.update(dict(num_steps=20, batch_size=BATCH, log_every=1))
  loop.train(
    runs.TASKS[task][0](config, data_dir),
    optim.make(config.optimizer, config.num_steps),
    loop.Settings(
      num_steps=config.num_steps,
      batch_size=BATCH,
      seed=config.seed,
      log_every=1,
      checkpoint_every=0,
    ),
    workdir=os.path.join(workdir, task),
    mesh=sharding.make_mesh(),
  )


def main():
  flags.FLAGS.mark_as_parsed()  # Grain reads them.
  parser = argparse.ArgumentParser()
  for name in ('workdir', 'earth', 'pixels'):
    parser.add_argument(f'--{name}', required=True)
  harness.add_arguments(parser)
  args = parser.parse_args()
  # Compiling takes most of the time.
  os.environ['XLA_FLAGS'] += ' --xla_backend_optimization_level=0'
  harness.initialize(args)
  made = configs(*map(pathlib.Path, (args.earth, args.pixels)))
  assert made.keys() == runs.TASKS.keys()
  for task, (config, data_dir) in made.items():
    train(task, config, data_dir, args.workdir)


if __name__ == '__main__':
  main()
