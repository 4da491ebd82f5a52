"""A run from its configuration to its report: `run(config, workdir)`.

  from fusion_jax import configurations, runs
  runs.run(configurations.load('pretrain:size=mini'), 'runs/mine')

The same call goes on where a stopped run was. It ends with report.md and
metrics.json in the work directory. The command is `fusion-jax train`.
"""

import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import logging

from fusion_jax import datasets
from fusion_jax.assembly import (
  data_changes,
  data_folder,
  kept_files,
  plausible_config,
  provenance,
  upgrade,
  warm_start,
)
from fusion_jax.data import storage
from fusion_jax.evals import (
  alignment,
  pretraining,
  reconstruction,
  run_report,
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
from fusion_jax.train import (
  agreement,
  checkpoint,
  loop,
  mirror,
  optim,
  processes,
  recovery,
  retention,
  sharding,
)
from fusion_jax.train import settings as settings_lib
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib
from fusion_jax.train import workdir as workdir_lib
from fusion_jax.types import Config, Example

# {task: (its class, the class of its evaluations)}.
TASKS: dict[
  str, tuple[Callable[..., task_lib.Task], Callable[..., task_lib.Evals]]
] = {
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

# Tasks that train on mixtures of data sets.
_MIXED = ('pretrain', 'image_tokenizer')

# Tasks whose models have a few million parameters: no device needs a part.
_WHOLE = ('align_pixels', 'classify_pixels', 'series_tokenizer')


def run(
  config: Config, workdir: str | os.PathLike[str]
) -> state_lib.TrainState:
  """Trains and evaluates what a configuration describes, or resumes it.

  Args:
    config: a configuration, such as of `configurations.load`.
    workdir: folder of checkpoints, logs and results; made if need be.

  Returns:
    The state after the last step that was taken.

  Raises:
    ValueError: if there is no such task, the processes of the run differ,
      another run uses the work directory, the batch does not divide over the
      devices, the run began with other data, the task takes no parts, or as
      `prepare_data`.
    storage.RemoteError: if a URL of the data or of `config.checkpoint.mirror`
      does not answer.
    FloatingPointError: if the loss is not finite.
  """
  if storage.is_url(workdir):
    raise ValueError(
      f'--workdir={workdir} is a URL. A run writes to a file system, which has '
      'locks; name a local folder, and the URL in config.checkpoint.mirror.'
    )
  agreement.check(config.to_dict(), workdir)
  if config.task not in TASKS:
    raise ValueError(
      f'config.task={config.task!r} is not one of {sorted(TASKS)}.'
    )
  config = upgrade.upgrade(config)
  if config.data.parts and config.task not in _MIXED:
    raise ValueError(
      f'config.data.parts={sorted(config.data.parts)}: the task '
      f'{config.task!r} reads one data set; name it in config.data.dir.'
    )
  settings = loop_settings(config)
  plausible_config.check(config)
  workdir = pathlib.Path(workdir)
  with (
    workdir_lib.hold(workdir),
    mirror.mirrored(
      workdir, config.checkpoint.mirror, config.data.remote.timeout_s
    ),
  ):
    return _run(config, settings, workdir)


def _run(
  config: Config, settings: loop.Settings, workdir: pathlib.Path
) -> state_lib.TrainState:
  """See `run`; the work directory exists, and no other run uses it."""
  start = time.perf_counter()
  make_task, make_evals = TASKS[config.task]
  mesh = _make_mesh(config)
  sharding.check_batch_size(config.batch_size, mesh, config.accumulate)
  data_dir, oracle = prepare_data(config.data, workdir)
  task = make_task(config, data_dir)
  optimizer = optim.make(
    config.optimizer, config.num_steps, task.tokens_per_step
  )
  keep_for_use(task, config, data_dir, workdir)
  begun = bool(checkpoint.list_steps(workdir))
  data_changes.check(data_dir, workdir, begun, data_changes.codes_read(config))
  if found := _find_report(config, workdir):
    state, _ = loop.train(
      task,
      optimizer,
      dataclasses.replace(settings, keep=retention.Keep()),
      workdir=workdir,
      mesh=mesh,
    )
    logging.info('Its report is %s; remove it to evaluate again.', found)
    return state
  evals = make_evals(
    task,
    config,
    workdir,
    oracle=oracle,
    place=lambda batch: sharding.place(batch, mesh),
  )
  initial = None
  if config.task == 'pretrain':
    initial = warm_start.initial_params(config, workdir, mesh)
  state, history = loop.train(
    task,
    optimizer,
    settings,
    workdir=workdir,
    mesh=mesh,
    evals=evals.hooks(),
    initial_params=initial,
  )
  if jax.process_index() == 0:
    write_config(config, workdir)  # A resumed run may have changed it.
  if int(state.step) == config.num_steps:
    logging.info('Writing the report.')
    with jax.set_mesh(mesh):
      evals.write(state, history, duration_s=time.perf_counter() - start)
    if jax.process_index() == 0:
      run_report.seal(workdir, config.num_steps, config.to_json())
  return state


def _find_report(config: Config, workdir: pathlib.Path) -> str:
  """The path of the report of a finished run; '' if there is work left."""
  steps = checkpoint.list_steps(workdir)
  if not steps or steps[-1] < config.num_steps:
    return ''
  directory = str(workdir / checkpoint.DIRECTORY)
  if recovery.newest_sound(directory, steps) != config.num_steps:
    return ''  # Damaged, or of a longer run.
  path = None
  if jax.process_index() == 0:
    path = run_report.find_current(workdir, config.num_steps, config.to_json())
  return processes.from_first(str(path or ''))


def _make_mesh(config: Config) -> jax.sharding.Mesh:
  """Makes the mesh of a run; small models are whole on every device."""
  fsdp = config.mesh.fsdp
  if config.task in _WHOLE and fsdp > 1:
    logging.warning(
      'config.mesh.fsdp=%d has no effect: the model of %s is small, and every '
      'device holds it whole.',
      fsdp,
      config.task,
    )
    sharding.make_mesh(fsdp)  # Refuses what does not divide the devices.
    fsdp = 1
  return sharding.make_mesh(fsdp)


def loop_settings(config: Config) -> loop.Settings:
  """Reads the settings of the loop from a configuration.

  Args:
    config: configuration of a run.
  """
  return loop.Settings(
    num_steps=config.num_steps,
    batch_size=config.batch_size,
    seed=config.seed,
    accumulate=config.accumulate,
    ema_decay=config.ema_decay,
    log_every=config.log_every,
    checkpoint_every=config.checkpoint.every,
    keep=retention.Keep(
      last=config.checkpoint.keep,
      best=config.checkpoint.best,
      best_mode=config.checkpoint.best_mode,
    ),
    watching=settings_lib.Watching(
      hang_s=config.watch.hang_s,
      profile_start=config.watch.profile.start,
      profile_steps=config.watch.profile.steps,
    ),
    config=json.loads(config.to_json()),
    upgrade_config=_upgrade_stored,
  )


def _upgrade_stored(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a stored configuration, up to date, as a JSON-like dict."""
  return json.loads(upgrade.upgrade(config, 'The checkpoint').to_json())


def prepare_data(
  data: Config, workdir: pathlib.Path
) -> tuple[pathlib.Path, Callable[[Example], Any] | None]:
  """Makes the data set of a run where it is not there yet.

  A data set that is named by a URL is read through `data.remote.cache`. The
  folder `mixture` of the work directory describes what `data.parts`, {name:
  {dir, weight}}, are together.

  Args:
    data: section `data` of a configuration.
    workdir: work directory of the run; gets the data set if `data.dir` is ''.

  Returns:
    Folder of the data set; and a function from an example to the best possible
    predictions where the data are simulated, else None.

  Raises:
    ValueError: if the data set is an archive that is not prepared yet: a run
      does not prepare archives; if the parts of a mixture do not fit together;
      or if the data set cannot be made, which in all processes but the first
      is a `data_folder.PreparationError`.
    storage.RemoteError: if a URL does not answer or holds no data set.
  """
  if data.parts:
    return data_folder.open_parts(data, workdir), None
  if storage.is_url(data.dir):
    return data_folder.open_url(data, data.dir), None
  is_archive = data.name == 'terramesh' or not data.prepare
  if is_archive and not data.dir:
    raise ValueError(
      'config.data.dir is not set; `python -m fusion_jax.prepare '
      f'{data.name}` makes the folder that it should name.'
    )
  path = pathlib.Path(data.dir or workdir / 'data')
  if not is_archive:
    data_folder.once(
      lambda: datasets.prepare(
        datasets.from_fields(data.name, data.prepare.to_dict()), path
      ),
      path,
    )
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


def keep_for_use(
  task: Any,
  config: Config,
  data_dir: pathlib.Path,
  workdir: pathlib.Path,
) -> None:
  """Writes beside the checkpoints what `fusion_jax.load` needs.

  Args:
    task: task of the run, see `TASKS`.
    config: configuration of the run.
    data_dir: folder of the data set, with `statistics.json`.
    workdir: work directory of the run.

  Raises:
    ValueError: if the run began with data of other statistics: its parameters
      know other bins and standards; or if a kept file is damaged.
  """
  begun = bool(checkpoint.list_steps(workdir))
  if begun:
    kept_files.check(workdir, data_dir)
  if jax.process_index():
    return
  if not begun or not (workdir / 'config.json').exists():
    write_config(config, workdir)
  if not begun:
    provenance.write(workdir, config, data_dir)
  task.keep(workdir)
  kept_files.keep(workdir, data_dir, anew=not begun)


def write_config(config: Config, workdir: pathlib.Path) -> None:
  """Writes `config.json` into the work directory."""
  (workdir / 'config.json').write_text(config.to_json(indent=1) + '\n')
