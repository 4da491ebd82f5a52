"""The console script: `fusion-jax VERB ...`.

`python -m fusion_jax.prepare ...` and its like call the same code.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from fusion_jax.commands import door

NAME = 'fusion-jax'


class Verb(NamedTuple):
  """A command.

  Attributes:
    module: its file, which has `main(argv)`; imported when it is called.
    description: what it does, in one line.
  """

  module: str
  description: str


VERBS = {
  'prepare': Verb(
    'fusion_jax.commands.prepare',
    'writes a data set: an archive or the simulated Earth to ArrayRecord',
  ),
  'train': Verb(
    'fusion_jax.commands.train',
    'trains, evaluates and resumes what a configuration describes',
  ),
  'generate': Verb(
    'fusion_jax.commands.generate',
    'generates weather series from a Sentinel-2 scene',
  ),
  'map': Verb(
    'fusion_jax.commands.map_scene',
    'maps a Sentinel-2 time series, from texts or with a classifier',
  ),
  'search': Verb(
    'fusion_jax.commands.search',
    'finds places by a text among the embeddings of a map or a data set',
  ),
  'calibrate': Verb(
    'fusion_jax.commands.calibrate',
    'fits the temperature of confidences on labelled pixels',
  ),
  'convert': Verb(
    'fusion_jax.commands.convert',
    'converts public weights to a folder that fusion_jax.load reads',
  ),
  'clip-baseline': Verb(
    'fusion_jax.commands.clip_baseline',
    'evaluates a CLIP on pictures of Sentinel-2',
  ),
}
_INTRODUCTION = """
Fusion of time series and imagery for Earth observation, in JAX.

An error is told in one line; --verbose shows its traceback.
"""


# What goes on after an interruption, but for these steps of `prepare`.
_RESUMED = {'train', 'map', 'prepare'}
_STARTED_ANEW = {'prompts', 'scenicness'}


def main(argv: Sequence[str] | None = None) -> None:
  """Runs a command.

  Args:
    argv: the verb and its arguments; by default those of the process.

  Raises:
    door.Failure: after an error that a user can cause or Ctrl-C, with its
      message.
    SystemExit: after `--help`, with status 0.
  """
  argv = sys.argv[1:] if argv is None else [str(x) for x in argv]
  command = f'{NAME} {argv[0]}' if argv and argv[0] in VERBS else NAME
  with door.open_for(command, argv, _resume(argv)) as arguments:
    descriptions = {name: verb.description for name, verb in VERBS.items()}
    name = door.choose(NAME, arguments, descriptions, _INTRODUCTION)
    importlib.import_module(VERBS[name].module).main(arguments[1:])


def _resume(argv: Sequence[str]) -> list[str]:
  """The command line that goes on after an interruption; [] if none does.

  `--overwrite` would begin anew what was just begun anew.
  """
  if not _RESUMED & set(argv[:1]) or _STARTED_ANEW & set(argv[1:2]):
    return []
  return [NAME, *(x for x in argv if x != '--overwrite')]


if __name__ == '__main__':
  main()
