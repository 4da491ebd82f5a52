"""What every recipe of a data set has in common, and checks of its fields."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Literal

from fusion_jax.data import readers

ImageName = Literal[
  'S2L2A', 'S2L1C', 'S2RGB', 'S1GRD', 'S1RTC', 'DEM', 'NDVI', 'LULC'
]
Composite = Literal['published', 'clear']

# What the writer of ArrayRecord understands.
_COMPRESSION = re.compile(
  r'(?P<kind>uncompressed|snappy|brotli|zstd)(:(?P<level>-?\d+))?'
)
# Highest level of each kind; 0 where there are no levels.
_MAX_LEVELS = {'uncompressed': 0, 'snappy': 0, 'brotli': 11, 'zstd': 22}


class Recipe:
  """What a data set is made from: equal recipes give equal bytes.

  A subclass is a frozen dataclass. Its fields are the arguments of
  `fusion_jax.prepare NAME` and the content of `prepare.json` beside the data.

  Attributes:
    name: name of the data set on the command line and in `prepare.json`.
    generator: version of the program that simulates the examples; '' where
      they come from an archive.
  """

  name: ClassVar[str]
  generator: ClassVar[str] = ''

  compression: str

  def open_reader(self) -> readers.Reader:
    """Opens what a builder reads.

    Raises:
      ValueError: if files are missing, or do not fit the fields.
      MissingExtraError: if optional packages are not installed.
    """
    raise NotImplementedError

  def write_beside(self, reader: readers.Reader, out: pathlib.Path) -> None:
    """Writes files of this data set that are no examples; by default none.

    Args:
      reader: what `open_reader` returned.
      out: folder of the data set.
    """
    del reader, out


def normalize(recipe: Recipe, name: str, value: Any) -> None:
  """Replaces a field of a frozen recipe by its normal form."""
  object.__setattr__(recipe, name, value)


def absolute(path: str | os.PathLike[str]) -> str:
  """The absolute path of a file or folder; '' stays ''."""
  text = os.fspath(path)
  return os.path.abspath(os.path.expanduser(text)) if text else ''


def normalize_paths(recipe: Recipe, *names: str) -> None:
  """Makes fields absolute that are a path or a tuple of paths."""
  for name in names:
    value = getattr(recipe, name)
    if isinstance(value, str | os.PathLike):
      normalize(recipe, name, absolute(value))
    else:
      normalize(recipe, name, tuple(absolute(path) for path in value))


def normalize_set(recipe: Recipe, *names: str) -> None:
  """Sorts fields whose order has no meaning, and makes them tuples."""
  for name in names:
    normalize(recipe, name, tuple(sorted(getattr(recipe, name))))


def check_choice(recipe: Recipe, name: str, choices: Collection[str]) -> None:
  """Checks that a field has one of some values.

  Raises:
    ValueError: if it has not.
  """
  value = getattr(recipe, name)
  if value not in choices:
    raise ValueError(
      f'{name}={value!r} of {recipe.name} is not one of {_listed(choices)}.'
    )


def check_choices(recipe: Recipe, name: str, choices: Collection[str]) -> None:
  """Checks that every value of a field is one of some values, none twice.

  Raises:
    ValueError: if one is not.
  """
  values = getattr(recipe, name)
  if unknown := [value for value in values if value not in choices]:
    raise ValueError(
      f'{name} of {recipe.name} has {_listed(unknown)}; choose among '
      f'{_listed(choices)}.'
    )
  if len(set(values)) < len(values):
    raise ValueError(
      f'{name} of {recipe.name} names a value twice: {_listed(values)}.'
    )


def check_at_least(recipe: Recipe, name: str, smallest: int) -> None:
  """Checks that a field is a whole number and not too small.

  Raises:
    ValueError: if it is not.
  """
  value = getattr(recipe, name)
  if not isinstance(value, int) or value < smallest:
    raise ValueError(
      f'{name}={value!r} of {recipe.name} is not a whole number of '
      f'{smallest} or more.'
    )


def check_compression(recipe: Recipe) -> None:
  """Checks that records can be compressed as the field `compression` says.

  Raises:
    ValueError: if they cannot.
  """
  match = _COMPRESSION.fullmatch(recipe.compression)
  if not match or int(match['level'] or 0) > _MAX_LEVELS[match['kind']]:
    raise ValueError(
      f'compression={recipe.compression!r} of {recipe.name} is not known; '
      "write 'uncompressed' or 'zstd:1'."
    )


def check_folder(recipe: Recipe, name: str, content: str) -> None:
  """Checks that a field names a folder.

  Args:
    recipe: has the field.
    name: name of the field.
    content: what the folder should hold, for the message.

  Raises:
    ValueError: if there is no such folder.
  """
  path = getattr(recipe, name)
  if not path or not pathlib.Path(path).is_dir():
    raise ValueError(
      f'--{name}={path!r} is no folder; {recipe.name} needs a folder with '
      f'{content}.'
    )


def field_names(recipe: type[Recipe]) -> tuple[str, ...]:
  """Names of the fields of a recipe, in the order of its dataclass."""
  return tuple(field.name for field in dataclasses.fields(recipe))  # pyright: ignore[reportArgumentType]  # Subclasses are dataclasses.


def _listed(values: Collection[str] | Sequence[str]) -> str:
  return ', '.join(repr(value) for value in values)
