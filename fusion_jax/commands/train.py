r"""Trains, evaluates and resumes what a configuration describes.

  fusion-jax train --config pretrain
  fusion-jax train --config pretrain:size=base --config.data.dir=$DATA \
      --config.batch_size=64 --workdir $OUT

The same command goes on where a stopped run was. It ends with report.md and
metrics.json in the work directory.

Arguments:
  --config NAME[:name=value,...]
                   a configuration of the package, or a Python file with one,
                   with its arguments after the colon; the package has
{names}
  --config.FIELD=VALUE
                   sets any field of it, after --config
  --workdir DIR    where checkpoints, logs and results go
                   (default: runs/ and the name of the configuration)
  --distributed    first join the other processes of a SLURM job, a TPU pod, or
                   of the addresses given below
  --coordinator_address HOST:PORT, --num_processes N, --process_id I
                   process 0, number of processes, this process from 0; found
                   without them under SLURM and on TPU pods
  --join_timeout_s S
                   a process that the others have not joined after so many
                   seconds ends (default: 300)
  --verbose        adds the traceback of an error
  --max-memory SIZE
                   what one file may take of memory, such as 8G
                   (default: half of the machine's)

JAX's own flags, such as --jax_debug_nans, are read as well; --helpfull lists
all flags.
"""

import contextlib
import os
import re
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence

from fusion_jax import configurations
from fusion_jax.commands import door

COMMAND = 'fusion-jax train'

# A process that is silent for so long has died, and ends the others. They
# would compute nothing without it; JAX waits for 100 s.
_HEARTBEAT_S = 30


def main(argv: Sequence[str]) -> None:
  """Reads absl's flags and runs the configuration.

  Raises:
    absl.flags.Error: for a wrong flag.
    FileNotFoundError: if there is no such configuration.
    SystemExit: after the run, or after printing the help.
  """
  if any(argument in door.HELP for argument in argv):
    listed = textwrap.fill(
      ', '.join(configurations.names()),
      initial_indent=' ' * 19,
      subsequent_indent=' ' * 19,
    )
    print(f'usage: {COMMAND} --config NAME [FLAGS]\n')
    print((__doc__ or '').format(names=listed).rstrip())
    raise SystemExit(0)
  _run(find_config(argv))


def find_config(argv: Sequence[str]) -> list[str]:
  """The arguments with the value of `--config` as the path of a file.

  Raises:
    door.UsageError: if `--config` is missing or has no value.
    FileNotFoundError: if there is no such configuration.
    ValueError: if it does not have the arguments after the colon.
  """
  argv = list(argv)
  for i, argument in enumerate(argv):
    match = re.fullmatch(r'(--?config)(?:=(.*))?', argument)
    if match and match[2] is not None:
      argv[i : i + 1] = [match[1], match[2]]
    if match and i + 1 < len(argv):
      argv[i + 1] = configurations.find(argv[i + 1])
      configurations.load(argv[i + 1])  # Its errors, in its own words.
      return argv
  if '--helpfull' in argv:
    return argv
  for argument in argv:
    flag = re.split('[=.]', argument)[0]
    if flag != '--config' and (near := door.nearest(flag, ['--config'])):
      raise door.UsageError(f'there is no flag {flag}.{near}')
  raise door.UsageError(
    'needs --config, a file or one of '
    f'{", ".join(configurations.names())}; see {COMMAND} --help'
  )


def _run(argv: list[str]) -> None:
  """Parses absl's flags, joins other processes, and runs."""
  import jax
  from absl import app, flags, logging
  from ml_collections import config_flags

  from fusion_jax import runs

  program = [sys.argv[0], *argv]
  config = config_flags.DEFINE_config_file(
    'config', None, 'see --help', lock_config=True, sys_argv=program
  )
  workdir = flags.DEFINE_string('workdir', '', 'see --help')
  distributed = flags.DEFINE_bool('distributed', False, 'see --help')
  coordinator = flags.DEFINE_string('coordinator_address', None, 'see --help')
  num_processes = flags.DEFINE_integer('num_processes', None, 'see --help')
  process_id = flags.DEFINE_integer('process_id', None, 'see --help')
  join_timeout_s = flags.DEFINE_integer(
    'join_timeout_s', 300, 'see --help', lower_bound=1
  )
  jax.config.config_with_absl()

  def train(rest: list[str]) -> None:
    if len(rest) > 1:
      raise door.UsageError(
        f'what should {" ".join(rest[1:])} mean? It follows no flag; see '
        f'{COMMAND} --help'
      )
    door.show_progress()  # The flags have set the level of logging anew.
    joins = distributed.value or coordinator.value
    if (num_processes.value or process_id.value is not None) and not joins:
      raise door.UsageError(
        '--num_processes and --process_id need --coordinator_address, the '
        'address of process 0'
      )
    if joins:
      with _giving_up_after(join_timeout_s.value, coordinator.value):
        jax.distributed.initialize(
          coordinator.value,
          num_processes.value,
          process_id.value,
          initialization_timeout=join_timeout_s.value + 60,
          heartbeat_timeout_seconds=_HEARTBEAT_S,
        )
    folder = workdir.value or f'runs/{config.value.name}'
    logging.info('The run writes to %s.', folder)
    runs.run(config.value, folder)

  app.run(train, program, flags_parser=_parse)


@contextlib.contextmanager
def _giving_up_after(seconds: int, coordinator: str | None) -> Iterator[None]:
  """Ends the process with one line when the context takes too long.

  JAX would abort it, with the addresses of its machine code.
  """

  def give_up() -> None:
    at = f' at {coordinator}' if coordinator else ''
    print(
      f'{COMMAND}: the processes of this run have not all joined{at} after '
      f'{seconds} s (--join_timeout_s). One of them did not start, or died '
      'before; see its log, then start all of them again.',
      file=sys.stderr,
      flush=True,
    )
    os._exit(1)

  timer = threading.Timer(seconds, give_up)
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def _parse(program: list[str]) -> list[str]:
  """Parses absl's flags; returns what is no flag, after the program's name."""
  from absl import flags

  try:
    return flags.FLAGS(program)
  except AttributeError as error:  # A misspelt field.
    near = re.search(r'Did you mean "(.*?)" instead of "(.*?)"', str(error))
    message = (
      f'{near[2]}. Did you mean {near[1]}?' if near else f'so named: {error}'
    )
    raise door.UsageError(f'--config has no field {message}') from error
