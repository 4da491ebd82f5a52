"""Where every command starts: logging, choices, and errors in one line.

An error that a user can cause is told in one line on stderr, `fusion-jax VERB:
message`, and the command ends with status 1, or with 2 if the command line is
wrong. Every command takes `--verbose`, which adds the traceback, and
`--max-memory SIZE`, see `untrusted.memory`. Such errors are:

- `UsageError` and absl's `flags.Error`: the command line is wrong;
- `ValueError`: arguments, configurations or files do not fit. The library's
  own `CheckpointError`, `TooManyBadExamples`, `PreparationError`,
  `ProcessCountError`, `OutsideGridError`, `InputError` and `TorchFileError`
  are of this kind;
- `OSError`: files that cannot be read or written, `FileNotFoundError` and
  `FileExistsError` among them;
- `extras.MissingExtraError`: optional packages are not installed;
- `FloatingPointError`: a loss that is not finite (`NonFiniteError`);
- `MemoryError`: there is less memory than is needed.

Ctrl-C ends a command with status 130, and with one line that says how to go
on. Any other exception, such as a TypeError, is a mistake of the program and
keeps its traceback.
"""

import contextlib
import difflib
import inspect
import logging as py_logging
import pathlib
import shlex
import signal
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence

from absl import flags, logging

from fusion_jax import extras
from fusion_jax.untrusted import memory

USER_ERRORS = (
  ValueError,
  OSError,
  FloatingPointError,
  MemoryError,
  extras.MissingExtraError,
  flags.Error,
)
VERBOSE, MAX_MEMORY = '--verbose', '--max-memory'
COMMON_HELP = (
  f'{VERBOSE} adds the traceback of an error; {MAX_MEMORY} 8G lets one file '
  "take so much memory (default: half of the machine's)."
)
HELP = ('-h', '--help')
INTERRUPTED = 128 + signal.SIGINT  # Status after Ctrl-C.
_LOUD = {'orbax', 'grain', 'etils', 'faiss'}  # Packages that log a lot.


class UsageError(ValueError):
  """The command line is wrong."""


class Failure(SystemExit):
  """The end of a command after an error of the user, or after Ctrl-C.

  Attributes:
    code: status of the process: 1, 2, or 130 after Ctrl-C.
    message: what was told on stderr.
  """

  def __init__(self, code: int, message: str) -> None:
    super().__init__(code)
    self.message = message

  def __str__(self) -> str:
    return self.message


@contextlib.contextmanager
def open_for(
  command: str, argv: Sequence[str], resume: Sequence[str] = ()
) -> Iterator[list[str]]:
  """Runs a command: sets up logging, tells the user's errors in one line.

  Args:
    command: its name in messages, such as 'fusion-jax map'.
    argv: its arguments.
    resume: command line that goes on where an interrupted one stopped; () if
      it has to start from its beginning.

  Yields:
    The arguments without `--verbose` and `--max-memory`.

  Raises:
    Failure: after an error of `USER_ERRORS`, with status 2 for a wrong command
      line and 1 otherwise; after Ctrl-C, with status 130.
  """
  show_progress()
  try:
    yield _without_common(argv)
  except USER_ERRORS as error:
    if VERBOSE in argv:
      traceback.print_exc()
    message = f'{command}: {one_line(error)}'
    print(message, file=sys.stderr)
    wrong_usage = isinstance(error, (UsageError, flags.Error))
    raise Failure(2 if wrong_usage else 1, message) from error
  except KeyboardInterrupt as error:
    if VERBOSE in argv:
      traceback.print_exc()
    how = (
      f'It goes on where it stopped with: {shlex.join(resume)}'
      if resume
      else 'Start it again.'
    )
    message = f'{command}: interrupted. {how}'
    print(message, file=sys.stderr)
    raise Failure(INTERRUPTED, message) from error


def _without_common(argv: Sequence[str]) -> list[str]:
  """Obeys the flags that every command takes; returns the other arguments."""
  rest, values = [], iter(argv)
  for argument in values:
    flag, equals, value = argument.partition('=')
    if flag.replace('_', '-') == MAX_MEMORY:
      value = value if equals else next(values, '')
      try:
        memory.use(value)
      except ValueError as error:
        raise UsageError(f'{MAX_MEMORY}: {error}') from error
    elif argument != VERBOSE:
      rest.append(argument)
  return rest


def show_progress() -> None:
  """Makes absl log progress, without the thirty lines of Orbax a checkpoint.

  Errors of other libraries are still shown.
  """
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().addFilter(_is_worth_reading)


def one_line(error: BaseException) -> str:
  """The message of an error in one line, with the file that it is about."""
  if isinstance(error, MemoryError):
    text = f'there is not enough memory: {error}'.rstrip(': ')
  elif isinstance(error, FileExistsError) and error.filename:
    text = f'{error.filename} is a file; give the path of a folder'
  elif isinstance(error, OSError) and error.strerror and error.filename:
    text = f'{error.filename}: {error.strerror}'
  else:
    text = str(error) or type(error).__name__
  return ' '.join(text.split())


def nearest(word: str, choices: Collection[str]) -> str:
  """' Did you mean X?' of the choice nearest to a word; '' if none is near."""
  matches = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
  return f' Did you mean {matches[0]}?' if matches else ''


def choose(
  command: str,
  argv: Sequence[str],
  choices: Mapping[str, str],
  introduction: str,
) -> str:
  """The first argument, which is one of some choices; prints help if asked.

  Args:
    command: its name in messages, such as 'fusion-jax convert'.
    argv: its arguments.
    choices: {name: one-line description}.
    introduction: first lines of the help.

  Raises:
    UsageError: if it is none of the choices; the nearest one is suggested.
    SystemExit: with status 0, after printing the help.
  """
  if argv and argv[0] in choices:
    return argv[0]
  if argv and argv[0] in HELP:
    width = max(map(len, choices))
    print(f'usage: {command} NAME ...\n')
    print(f'{inspect.cleandoc(introduction)}\n')
    for name, description in choices.items():
      print(f'  {name:{width}}  {description}')
    print(f'\n{command} NAME --help shows the arguments of one of them.')
    raise SystemExit(0)
  listed = f'choose among {", ".join(choices)}'
  if not argv:
    raise UsageError(f'{listed}; see {command} --help')
  raise UsageError(
    f'there is no {argv[0]!r}.{nearest(argv[0], choices)} Please {listed}.'
  )


def _is_worth_reading(record: py_logging.LogRecord) -> bool:
  parts = pathlib.PurePath(record.pathname).parts
  return record.levelno >= py_logging.ERROR or not _LOUD & set(parts)
