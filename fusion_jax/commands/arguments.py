"""Command lines made from dataclasses: every field is a flag.

tyro reads them. What it prints as boxes of several lines becomes one line.
"""

import contextlib
import dataclasses
import inspect
import io
import itertools
import json
import os
import pathlib
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import docstring_parser
import tyro

from fusion_jax import folders
from fusion_jax.commands import door, messages
from fusion_jax.untrusted import nested

T = TypeVar('T')
Positional = tyro.conf.Positional

# Flags of before with another name: {command: {flag: what to write}}. The
# spelling with underscores of any flag is still read.
_SPLITS = '--splits, which takes all of them: --splits train=N val=N test=N'
_NUMBERS = {f'--num-{split}': _SPLITS for split in ('train', 'val', 'test')}
RENAMED = {
  'fusion-jax map': {
    '--missing-band': '--missing-bands, which takes all of them: '
    '--missing-bands B8A B5=B4',
  },
  'fusion-jax prepare simulated': _NUMBERS,
  'fusion-jax prepare simulated_pixels': _NUMBERS,
  'fusion-jax prepare prompts': {'--task': '--tasks'},
}


def parse_share(text: str) -> tuple[int, int]:
  """'3/16', the share of a job array, as (3, 16).

  Raises:
    ValueError: if it is not I/N with 0 <= I < N.
  """
  match = re.fullmatch(r'(\d+)/(\d+)', text)
  share = (int(match[1]), int(match[2])) if match else (0, 0)
  if not share[0] < share[1]:
    raise ValueError(f'{text!r} is not I/N with 0 <= I < N, such as 0/16')
  return share


def _read_folder(texts: list[str]) -> pathlib.Path:
  """An argument that names a folder; tyro adds the flag to a ValueError."""
  try:
    return folders.existing(texts[0])
  except OSError as error:
    raise ValueError(door.one_line(error)) from error


def _read_file(texts: list[str]) -> pathlib.Path:
  """An argument that names a file; tyro adds the flag to a ValueError."""
  path = pathlib.Path(texts[0]).expanduser()
  if not path.is_file():
    raise ValueError(
      f'there is no file {path}; give the path of a file that exists'
    )
  return path


def _read_json(texts: list[str]) -> Any:
  """The content of a JSON file that an argument names."""
  try:
    return nested.read_json(texts[0])
  except OSError as error:
    raise ValueError(door.one_line(error)) from error


# Types of arguments. A folder that has to exist:
Folder = Annotated[
  pathlib.Path,
  tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar='DIR',
    instance_from_str=_read_folder,
    is_instance=lambda value: isinstance(value, pathlib.Path),
    str_from_instance=lambda value: [str(value)],
  ),
]
# A file that has to exist:
File = Annotated[
  pathlib.Path,
  tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar='FILE',
    instance_from_str=_read_file,
    is_instance=lambda value: isinstance(value, pathlib.Path),
    str_from_instance=lambda value: [str(value)],
  ),
]
# The checkpoint of a run: 'last', 'best' or a step.
Which = Annotated[
  str | int,
  tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar='STEP',
    instance_from_str=lambda texts: (
      int(texts[0]) if texts[0].isdigit() else texts[0]
    ),
    is_instance=lambda value: isinstance(value, str | int),
    str_from_instance=lambda value: [str(value)],
  ),
]
# The share of a job array, (i, n): every n-th file from the i-th.
Share = Annotated[
  tuple[int, int],
  tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar='I/N',
    instance_from_str=lambda texts: parse_share(texts[0]),
    is_instance=lambda value: isinstance(value, tuple),
    str_from_instance=lambda value: ['/'.join(map(str, value))],
  ),
]

# The content of a JSON file.
JsonFile = Annotated[
  Any,
  tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar='FILE',
    instance_from_str=_read_json,
    is_instance=lambda value: True,
    str_from_instance=lambda value: [json.dumps(value)],
  ),
]


def parse(
  command: str, argv: Sequence[str], cls: type[T], description: str = ''
) -> T:
  """Reads a command line into a dataclass; see `parse_several`."""
  return parse_several(command, argv, (cls,), description)[0]


def parse_several(
  command: str,
  argv: Sequence[str],
  classes: Sequence[type],
  description: str = '',
  types: Mapping[str, Any] | None = None,
) -> tuple[Any, ...]:
  """Reads one command line into several dataclasses.

  Every field is a flag: `num_samples` is `--num-samples`, and `--num_samples`
  is read as well. A field's type says what is read, its entry under
  `Attributes:` in the docstring of the class is its help; the help may name
  the default in its own words, '(default: ...)'.

  Args:
    command: its name in messages, such as 'fusion-jax map'.
    argv: its arguments.
    classes: dataclasses with different fields.
    description: first lines of the help; by default the docstring of the
      first dataclass, up to `Attributes:`.
    types: {field: type} of fields that a command line reads otherwise than
      their annotation says.

  Returns:
    One instance of each dataclass.

  Raises:
    door.UsageError: if the arguments do not fit the fields.
    ValueError: as the dataclasses.
    SystemExit: with status 0, after printing the help.
  """
  merged = _merge(classes, types or {})
  _check_flags(command, argv, merged)
  about = description or _introduction(classes[0])
  about += '\n\n' + textwrap.fill(door.COMMON_HELP, 80)
  _check_not_empty(argv, merged)
  parsed, printed = _ask_tyro(command, argv, merged)
  if parsed is None:  # Help was asked for.
    usage, _, flags = printed.partition('\n\n')
    flags = '\n'.join(line.rstrip() for line in flags.splitlines())
    print(f'{usage}\n\n{about}\n\n{flags.rstrip()}')
    raise SystemExit(0)
  for field in dataclasses.fields(merged):
    if _is_required(field) and getattr(parsed, field.name) == ():
      raise door.UsageError(f'{_flag(field.name)} needs at least one value')
  return tuple(
    cls(**{x.name: getattr(parsed, x.name) for x in dataclasses.fields(cls)})
    for cls in classes
  )


def _ask_tyro(command: str, argv: Sequence[str], cls: type) -> tuple[Any, str]:
  """(An instance of a dataclass, ''), or (None, the help) if asked for."""
  printed, help_text = io.StringIO(), io.StringIO()
  with (
    contextlib.redirect_stderr(printed),
    contextlib.redirect_stdout(help_text),
    _wide(argv),
  ):
    try:
      parsed = tyro.cli(
        cls,
        prog=command,
        description='',
        args=list(argv),
        config=(
          tyro.conf.FlagCreatePairsOff,
          tyro.conf.PositionalMetavarFromFieldName,
        ),
      )
    except SystemExit as stop:
      if not stop.code:
        return None, help_text.getvalue()
      message = messages.condense(printed.getvalue())
      raise door.UsageError(f'{message}; see {command} --help') from stop
  return parsed, ''


def _merge(classes: Sequence[type], types: Mapping[str, Any]) -> type:
  """One dataclass with the fields of several, annotated with their help."""
  required, optional = [], []
  for cls in classes:
    hints = typing.get_type_hints(cls, include_extras=True) | dict(types)
    helps = {  # Inherited fields, too.
      entry.arg_name: ' '.join((entry.description or '').split())
      for base in reversed(cls.__mro__)
      for entry in docstring_parser.parse(inspect.getdoc(base) or '').params
    }
    for field in dataclasses.fields(cls):
      text = helps.get(field.name, '')
      annotation = Annotated[
        hints[field.name],
        tyro.conf.arg(help=text, help_behavior_hint=_default(field, text)),
        tyro.conf.DisallowNone,
      ]
      copy = dataclasses.field(
        default=field.default, default_factory=field.default_factory
      )
      chosen = required if _is_required(field) else optional
      chosen.append((field.name, annotation, copy))
  return dataclasses.make_dataclass(
    classes[0].__name__, required + optional, frozen=True
  )


def _default(field: dataclasses.Field, text: str) -> str:
  """The end of a flag's help: its default, unless the help says it."""
  if _is_required(field):
    return '(required)'
  if field.default_factory is not dataclasses.MISSING:
    value = field.default_factory()
  else:
    value = field.default
  empty = value is None or value is False or value in ('', (), {}, [])
  if empty or '(default' in text:
    return ''
  if isinstance(value, tuple):
    value = ' '.join(map(str, value))
  return f'(default: {value})'


def _is_required(field: dataclasses.Field) -> bool:
  return (
    field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
  )


def _flag(name: str) -> str:
  return '--' + name.replace('_', '-')


def _introduction(cls: type) -> str:
  """The docstring of a dataclass up to the list of its attributes."""
  return (inspect.getdoc(cls) or '').partition('\nAttributes:')[0].strip()


def _check_flags(command: str, argv: Sequence[str], cls: type) -> None:
  """Raises a UsageError for a flag that does not exist or was renamed."""
  known = {_flag(field.name) for field in dataclasses.fields(cls)}
  known |= {*door.HELP, door.VERBOSE, door.MAX_MEMORY}
  for argument in argv:
    if argument == '--':
      return
    flag = argument.partition('=')[0].replace('_', '-')
    if not flag.startswith('--') or flag in known:
      continue
    if flag in RENAMED.get(command, {}):
      raise door.UsageError(f'{flag} is now {RENAMED[command][flag]}')
    raise door.UsageError(
      f'there is no flag {flag}.{door.nearest(flag, known)} '
      f'See {command} --help.'
    )


def _check_not_empty(argv: Sequence[str], cls: type) -> None:
  """Raises a UsageError for an empty value, as of an unset variable."""
  required = {
    _flag(field.name)
    for field in dataclasses.fields(cls)
    if _is_required(field)
  }
  for argument, after in itertools.pairwise([*argv, '--']):
    flag, equals, value = argument.replace('_', '-').partition('=')
    if flag in required and not (value if equals else after):
      raise door.UsageError(f'{flag} is empty; give a value')


@contextlib.contextmanager
def _wide(argv: Sequence[str]) -> Iterator[None]:
  """Lets tyro print an error without breaking lines; help keeps its width."""
  before = os.environ.get('COLUMNS')
  if not any(argument in door.HELP for argument in argv):
    os.environ['COLUMNS'] = '100000'
  try:
    yield
  finally:
    if before is None:
      os.environ.pop('COLUMNS', None)
    else:
      os.environ['COLUMNS'] = before
