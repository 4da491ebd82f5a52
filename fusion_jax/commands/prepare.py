"""`fusion-jax prepare NAME`: writes a data set, or a step before or after it.

The arguments of a data set are the fields of its recipe in
`fusion_jax.datasets`; those of a step are the fields of its dataclass.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import tyro
from absl import logging

from fusion_jax import datasets
from fusion_jax.commands import arguments, door

COMMAND = 'fusion-jax prepare'
_INTRODUCTION = """
Writes a data set: an archive or the simulated Earth to ArrayRecord.

  fusion-jax prepare simulated --out data/simulated
  fusion-jax prepare terramesh --source TerraMesh --weather era5 --out DIR \\
      --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT

Killed, it continues; done, it is reused. Of a job array, the process that
finds the last shard written finishes the folder.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """Where a data set goes.

  Attributes:
    out: Folder to write.
  """

  out: str


class Step(NamedTuple):
  """What can be run by its name.

  Attributes:
    arguments: dataclasses whose fields are the flags.
    run: function that takes an instance of each.
  """

  arguments: tuple[type, ...]
  run: Callable[..., None]

  @property
  def description(self) -> str:
    """The first line of the docstring of the first dataclass."""
    return (self.arguments[0].__doc__ or '').strip().splitlines()[0]

  @property
  def flags(self) -> frozenset[str]:
    """All flags, such as '--missing-bands'."""
    return frozenset(
      '--' + field.name.replace('_', '-')
      for cls in self.arguments
      for field in dataclasses.fields(cls)
    )


def _prepare(
  recipe: datasets.Recipe, target: Target, settings: datasets.BuildSettings
) -> None:
  out = datasets.prepare(recipe, target.out, settings)
  logging.info('The data set is in %s.', out)


def _write_codes(step: datasets.Codes) -> None:
  if datasets.write_codes(step):
    logging.info('%s has codes.', step.data)


def _write_photo_vectors(step: datasets.PhotoVectors) -> None:
  number = datasets.write_photo_vectors(step)
  logging.info('%s holds vectors of %d photos.', step.out, number)


def _write_prompt_vectors(step: datasets.PromptVectors) -> None:
  datasets.write_prompt_vectors(step)


def _fetch_scenicness(step: datasets.Scenicness) -> None:
  datasets.fetch_scenicness(step)


STEPS: Mapping[str, Step] = {
  name: Step((recipe, Target, datasets.BuildSettings), _prepare)
  for name, recipe in datasets.DATASETS.items()
} | {
  'photos': Step((datasets.PhotoVectors,), _write_photo_vectors),
  'prompts': Step((datasets.PromptVectors,), _write_prompt_vectors),
  'scenicness': Step((datasets.Scenicness,), _fetch_scenicness),
  'tokenize': Step((datasets.Codes,), _write_codes),
}


def main(argv: Sequence[str]) -> None:
  """Runs the command.

  Args:
    argv: name of a data set or a step, and its flags.

  Raises:
    door.UsageError: if the command line is wrong.
    ValueError: as `datasets.prepare` and the functions of the steps.
    MissingExtraError: if optional packages are not installed.
  """
  descriptions = {name: step.description for name, step in STEPS.items()}
  name = door.choose(COMMAND, argv, descriptions, _INTRODUCTION)
  command, step = f'{COMMAND} {name}', STEPS[name]
  _check_owners(command, argv[1:], step)
  parsed = arguments.parse_several(
    command, argv[1:], step.arguments, types=_TYPES
  )
  step.run(*parsed)


def _check_owners(command: str, argv: Sequence[str], step: Step) -> None:
  """Checks that no flag belongs to other data sets only.

  Raises:
    door.UsageError: if one does; it names these data sets.
  """
  for argument in argv:
    flag = argument.partition('=')[0].replace('_', '-')
    owners = [name for name, other in STEPS.items() if flag in other.flags]
    if owners and flag not in step.flags:
      raise door.UsageError(
        f'{flag} is no flag of {command.rpartition(" ")[2]}, but of '
        f'{", ".join(owners)}; see {command} --help'
      )


def _read_splits(texts: Sequence[str]) -> dict[str, int]:
  """['train=100', 'val=8'] as {'train': 100, 'val': 8}.

  Raises:
    ValueError: for another form.
  """
  splits = {}
  for text in texts:
    split, _, number = text.partition('=')
    if not number.isdigit():
      raise ValueError(f'{text!r} is not SPLIT=N, such as train=100 or val=8')
    if split in splits:
      raise ValueError(f'{split} is named twice; give one number for it')
    splits[split] = int(number)
  return splits


# Fields that a command line reads otherwise than their types say.
_TYPES: Mapping[str, Any] = {
  'splits': Annotated[
    dict[str, int],
    tyro.constructors.PrimitiveConstructorSpec(
      nargs='*',
      metavar='SPLIT=N [SPLIT=N ...]',
      instance_from_str=_read_splits,
      is_instance=lambda value: isinstance(value, Mapping),
      str_from_instance=lambda value: [f'{k}={n}' for k, n in value.items()],
    ),
  ],
  'blocks': arguments.JsonFile,
  'stations': arguments.JsonFile,
  'shard': arguments.Share,
}
