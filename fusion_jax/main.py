"""Trains, evaluates, resumes: `python -m fusion_jax.main --config FILE`.

  python -m fusion_jax.main --config configs/pretrain.py
  python -m fusion_jax.main --config configs/pretrain.py:size=base \
      --config.data.dir=$DATA --workdir $OUT

The same command goes on where a stopped run was. It ends with report.md and
metrics.json in the work directory.
"""

import json
import math
import pathlib
import shutil
import time

import jax
import numpy as np
from absl import app, flags, logging
from jax.experimental import multihost_utils
from ml_collections import config_flags

from fusion_jax import prepare, warm_start
from fusion_jax.evals import (
  alignment,
  pretraining,
  reconstruction,
  series_reconstruction,
  supervised,
)
from fusion_jax.tasks import (
  align_pixels,
  classify_pixels,
  image_tokenizer,
  pretrain,
  series_tokenizer,
)
from fusion_jax.train import checkpoint, log, loop, optim, sharding

CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'Python file with the configuration, FILE:name=value,... '
  'Any field can be set, as --config.batch_size=64.',
  lock_config=True,
)
WORKDIR = flags.DEFINE_string(
  'workdir',
  '',
  'Where checkpoints, logs and results go; by default '
  'runs/<name of the configuration>.',
)
DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  False,
  'Join the other processes of a SLURM job, a TPU pod '
  'or the addresses given below before anything else.',
)
COORDINATOR = flags.DEFINE_string(
  'coordinator_address',
  None,
  'HOST:PORT of process 0; found by itself under SLURM and on TPU pods.',
)
NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'Processes in all; found likewise.'
)
PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'Of this process, from 0; found likewise.'
)

TASKS = {
  'pretrain': (pretrain.Pretrain, pretraining.Pretraining),
  'align_pixels': (align_pixels.AlignPixels, alignment.Alignment),
  'classify_pixels': (classify_pixels.ClassifyPixels, supervised.Supervised),
  'image_tokenizer': (
    image_tokenizer.ImageTokenizer,
    reconstruction.Reconstruction,
  ),
  'series_tokenizer': (
    series_tokenizer.SeriesTokenizer,
    series_reconstruction.SeriesReconstruction,
  ),
}


def run(config, workdir):
  """Trains what `config` describes in `workdir`; returns the last state."""
  start = time.perf_counter()
  if config.task not in TASKS:
    raise ValueError(
      f'config.task={config.task!r} is not one of {sorted(TASKS)}.'
    )
  make_task, make_evals = TASKS[config.task]
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  mesh = sharding.make_mesh(config.mesh.fsdp)
  sharding.check_batch_size(config.batch_size, mesh, config.accumulate)
  data_dir, oracle = prepare_data(config.data, workdir)
  task = make_task(config, data_dir)
  tx, schedule = optim.make(
    config.optimizer, config.num_steps, task.tokens_per_step
  )
  keep_for_use(task, config, data_dir, workdir)
  evals = make_evals(
    task,
    config,
    workdir,
    oracle=oracle,
    place=lambda batch: sharding.place(batch, mesh),
  )
  initial = None
  if 'init_from' in config:
    initial = warm_start.initial_params(config, workdir, mesh)
  state, history = loop.train(
    task,
    tx,
    workdir=workdir,
    num_steps=config.num_steps,
    batch_size=config.batch_size,
    seed=config.seed,
    mesh=mesh,
    schedule=schedule,
    accumulate=config.accumulate,
    ema_decay=config.ema_decay,
    evals=evals.hooks(),
    log_every=config.log_every,
    checkpoint_every=config.checkpoint.every,
    checkpoints=dict(
      keep_last=config.checkpoint.keep,
      best=config.checkpoint.best,
      best_mode=config.checkpoint.best_mode,
    ),
    config=json.loads(config.to_json()),
    tokens_per_step=task.tokens_per_step,
    flops=task.flops,
    initial_params=initial,
  )
  if jax.process_index() == 0:
    write_config(config, workdir)  # A resumed run may have changed it.
  if int(state.step) == config.num_steps:
    with jax.set_mesh(mesh):
      evals.write(state, history, duration_s=time.perf_counter() - start)
  return state


def prepare_data(data, workdir):
  """Makes the data set where it is not there yet.

  Args:
    data: the section `data` of a configuration.
    workdir: gets a small data set if `data.dir` is ''.

  Returns:
    Its folder; and a function from an example to the best possible
    predictions, where the data are simulated, else None.

  Raises:
    ValueError: if an archive is not prepared yet: that is no part of a run.
  """
  given = data.name == 'terramesh' or not data.prepare
  if given and not data.dir:
    raise ValueError(
      'config.data.dir is not set; `python -m fusion_jax.prepare '
      f'{data.name}` makes the folder that it should name.'
    )
  path = pathlib.Path(data.dir or workdir / 'data')
  if not given:
    _prepare_once(data, path)
  if data.name != 'simulated':
    return path, None
  from fusion_jax import simulation

  earth = simulation.SimulatedEarth(
    seed=data.prepare.seed,
    image_size=data.prepare.image_size,
    splits=data.prepare.splits,
  )

  def oracle(example):
    _, split, index = str(example['key']).split('_')
    return earth.oracle(split, int(index))

  return path, oracle


def _prepare_once(data, path):
  """Prepares in process 0; the others wait, and stop if it fails."""
  failure = None
  if jax.process_index() == 0:
    try:
      prepare.prepare(data.name, path, **data.prepare)
    except Exception as error:  # Whatever it is, nobody is to wait for ever.
      failure = error
  failed = failure is not None
  if jax.process_count() > 1:
    failed = bool(multihost_utils.broadcast_one_to_all(np.array(failed)))
  if failed:
    raise failure or RuntimeError(
      f'Process 0 could not prepare {path}; its log says why.'
    )


def keep_for_use(task, config, data_dir, workdir):
  """Writes beside the checkpoints what `fusion_jax.load` needs.

  Raises:
    ValueError: if the run began with data of other statistics: its parameters
      know other bins and standards.
  """
  begun = bool(checkpoint.list_steps(workdir))
  there = workdir / 'statistics.json'
  if begun and there.exists() and not _agree(there, data_dir / there.name):
    raise ValueError(
      f'The run in {workdir} began with other data than those in {data_dir}: '
      'their statistics differ. Name the data that it began with, or another '
      '--workdir.'
    )
  if jax.process_index():
    return
  if not begun or not (workdir / 'config.json').exists():
    write_config(config, workdir)
  if not begun or not there.exists():
    shutil.copyfile(data_dir / there.name, there)
  task.keep(workdir)


def write_config(config, workdir):
  (workdir / 'config.json').write_text(config.to_json(indent=1) + '\n')


def _agree(*paths):
  """Whether two files of statistics say the same, up to the last digits."""
  old, new = (json.loads(path.read_text()) for path in paths)
  for provenance in ('version', 'command', 'created'):
    old.pop(provenance, None), new.pop(provenance, None)
  if jax.tree.structure(old) != jax.tree.structure(new):
    return False
  return all(
    a == b
    if isinstance(a, str) or isinstance(b, str)
    else math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-9)
    for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new))
  )


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'{argv[1:]} is not understood; see --help.')
  if DISTRIBUTED.value or COORDINATOR.value:
    jax.distributed.initialize(
      COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    )
  log.show_progress()
  config = CONFIG.value
  workdir = WORKDIR.value or f'runs/{config.name}'
  logging.info('The run writes to %s.', workdir)
  run(config, workdir)


if __name__ == '__main__':
  flags.mark_flag_as_required('config')
  jax.config.config_with_absl()
  app.run(main)
