"""The configurations that come with the package, by name or as files.

config = configurations.load('pretrain:size=mini')
"""

import difflib
import importlib.util
import pathlib

import ml_collections

FOLDER = pathlib.Path(__file__).resolve().parent / 'configs'
_SHARED = ('__init__', 'common')  # Files that are no configuration.


def names() -> list[str]:
  """Names of the configurations that come with the package."""
  stems = {path.stem for path in FOLDER.glob('*.py')}
  return sorted(stems.difference(_SHARED))


def find(text: str) -> str:
  """What a user writes as 'FILE:arguments', FILE a path that exists.

  Args:
    text: a file or a name, and after a colon the arguments of its
      `get_config`: 'pretrain', 'pretrain:size=mini', 'configs/pretrain.py' or
      '/home/me/mine.py:smoke'. A file that exists goes before the
      configuration of that name that comes with the package.

  Raises:
    FileNotFoundError: if there is neither; the nearest name is suggested.
  """
  name, colon, argument = text.partition(':')
  if pathlib.Path(name).is_file():
    return text
  path = pathlib.PurePath(name)
  is_shipped = path.suffix in ('', '.py') and (
    str(path.parent) in ('.', 'configs')
  )
  if is_shipped and path.stem in names():
    return f'{FOLDER / path.stem}.py{colon}{argument}'
  raise FileNotFoundError(_not_found(name, path.stem))


def load(text: str = 'pretrain') -> ml_collections.ConfigDict:
  """The locked configuration that a name or a file with arguments describes.

  Args:
    text: a file or the name of a shipped configuration, and after a colon the
      arguments of its `get_config`; `find` says how it is looked up.

  Raises:
    FileNotFoundError: if there is no such configuration.
    ValueError: for arguments that it does not have, or a file that is no
      configuration.
  """
  path, _, argument = find(text).partition(':')
  spec = importlib.util.spec_from_file_location('fusion_jax_config', path)
  if spec is None or spec.loader is None:
    raise ValueError(f'{path} is no Python file; give a configuration.')
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except Exception as error:  # Whatever the file of a user does.
    if isinstance(error, ImportError) and error.name == 'configs':
      raise ValueError(
        f'{path} imports configs, which is fusion_jax.configs now; write '
        '`from fusion_jax.configs import common`.'
      ) from error
    raise ValueError(
      f'{path} cannot be run as Python ({type(error).__name__}: {error}); '
      'repair it.'
    ) from error
  if not hasattr(module, 'get_config'):
    raise ValueError(
      f'{path} has no function get_config(argument); write one that returns '
      "the configuration, as those of the package's folder configs do."
    )
  return module.get_config(argument).lock()


def _not_found(name: str, stem: str) -> str:
  near = difflib.get_close_matches(stem, names(), n=1, cutoff=0.5)
  suggestion = f' Did you mean {near[0]}?' if near else ''
  return (
    f'There is no configuration {name}.{suggestion} Give the path of a file, '
    f'or one of {", ".join(names())}.'
  )
