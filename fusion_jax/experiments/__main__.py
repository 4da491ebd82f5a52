r"""Runs a study of the registry and prints its result page.

  python -m fusion_jax.experiments series-quantization
  python -m fusion_jax.experiments pixel-alignment --seeds 0 1 2
  python -m fusion_jax.experiments labelled-pixels --worldcereal DIR \
      --presto DIR
"""

import dataclasses
import sys
from collections.abc import Sequence

from absl import logging

from fusion_jax.commands import arguments, door
from fusion_jax.experiments import registry

_COMMAND = 'python -m fusion_jax.experiments'


@dataclasses.dataclass(frozen=True)
class Output:
  """Where the results go.

  Attributes:
    out: folder of the CSV and of the page.
  """

  out: str = 'docs/results'


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the study that the command line names.

  Args:
    argv: name of the experiment and its arguments; by default those of the
      process.
  """
  argv = sys.argv[1:] if argv is None else argv
  with door.open_for(_COMMAND, argv) as words:
    titles = {name: e.title for name, e in registry.EXPERIMENTS.items()}
    name = door.choose(_COMMAND, words, titles, __doc__ or '')
    study, output = arguments.parse_several(
      f'{_COMMAND} {name}',
      words[1:],
      (registry.get(name).load_study(), Output),
    )
    path = registry.run(name, study, output.out)
    logging.info('The result page is %s.', path)


if __name__ == '__main__':
  main()
