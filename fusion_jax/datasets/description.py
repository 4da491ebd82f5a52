"""`prepare.json`: what a prepared data set was made from, beside the data."""

import dataclasses
import difflib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from fusion_jax.data.builders import layout
from fusion_jax.datasets import archives, labelled, recipe, series, simulated

FILE = 'prepare.json'

DATASETS: Mapping[str, type[recipe.Recipe]] = {
  made.name: made
  for made in (
    simulated.Simulated,
    archives.Samples,
    archives.TerraMesh,
    series.Series,
    simulated.SimulatedPixels,
    labelled.Sen4Map,
    labelled.WorldCereal,
  )
}

# Until version 0.1 every description had fields that its data set never read.
_NEVER_READ = {
  'simulated_pixels': ('images',),
  'sen4map': ('images',),
  'worldcereal': ('images',),
  'terramesh': ('val',),
  'series': ('images', 'source', 'val'),
}


def find(name: str) -> type[recipe.Recipe]:
  """The recipe of the data set `name`.

  Raises:
    ValueError: if there is no such data set; the nearest name is suggested.
  """
  if name not in DATASETS:
    near = difflib.get_close_matches(name, DATASETS, n=1)
    suggestion = f' Did you mean {near[0]!r}?' if near else ''
    raise ValueError(
      f'There is no data set {name!r}; there are {", ".join(DATASETS)}.'
      f'{suggestion}'
    )
  return DATASETS[name]


def from_fields(name: str, fields: Mapping[str, Any]) -> recipe.Recipe:
  """The recipe of the data set `name` with some of its fields set.

  Args:
    name: name of the data set, such as 'sen4map'.
    fields: values by the names of fields, as in the section `data.prepare` of
      a configuration or in `prepare.json`; the others have their defaults.

  Raises:
    ValueError: for a field that the data set does not have, one that is
      missing, or a value that does not fit.
  """
  recipe_class = find(name)
  known = recipe.field_names(recipe_class)
  if unknown := sorted(set(fields) - set(known)):
    raise ValueError(
      f'The data set {name!r} has no field {", ".join(map(repr, unknown))}; '
      f'its fields are {", ".join(known)}.'
    )
  required = [
    field.name
    for field in dataclasses.fields(recipe_class)  # pyright: ignore[reportArgumentType]  # Recipes are dataclasses.
    if field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
  ]
  if missing := [name for name in required if name not in fields]:
    raise ValueError(
      f'The data set {name!r} needs a value of {", ".join(missing)}.'
    )
  return recipe_class(**fields)


def to_json(dataset: recipe.Recipe) -> dict[str, Any]:
  """The content of `prepare.json`: name, versions and fields of a recipe."""
  head = {'dataset': dataset.name, 'layout': layout.VERSION}
  if dataset.generator:
    head['version'] = dataset.generator
  fields = dataclasses.asdict(dataset)  # pyright: ignore[reportArgumentType]  # Recipes are dataclasses.
  return head | json.loads(json.dumps(fields))


def from_json(content: Mapping[str, Any]) -> recipe.Recipe:
  """The recipe that a `prepare.json` describes, also one of before.

  Raises:
    ValueError: if it describes no data set of this version.
  """
  fields = _upgrade(content)
  for name in ('layout', 'version'):
    fields.pop(name, None)
  return from_fields(fields.pop('dataset'), fields)


def _upgrade(content: Mapping[str, Any]) -> dict[str, Any]:
  """A description of any version in the form of today.

  Raises:
    ValueError: if it names no data set.
  """
  fields = dict(content)
  if 'dataset' not in fields:
    raise ValueError(f'{FILE} does not name its data set; it has {fields}.')
  fields |= fields.pop('joined', {})  # Sen4Map had it until 0.1.
  for name in _NEVER_READ.get(fields['dataset'], ()):
    fields.pop(name, None)
  if fields.get('stations') == {}:  # It meant none until 0.1.
    fields['stations'] = None
  return fields


def read(folder: pathlib.Path) -> dict[str, Any]:
  """The description of the data set in a folder, in the form of today.

  Raises:
    FileNotFoundError: if the folder has no `prepare.json`.
    ValueError: if it describes no data set of this version.
  """
  path = folder / FILE
  try:
    content = json.loads(path.read_text())
    described = to_json(from_json(content))
  except ValueError as error:
    raise ValueError(
      f'{path} is not understood ({str(error).rstrip(".")}).'
    ) from error
  for name in ('layout', 'version'):  # They keep their values.
    described.pop(name, None)
    if name in content:
      described[name] = content[name]
  return described


def write(dataset: recipe.Recipe, folder: pathlib.Path) -> None:
  """Writes the description of a recipe beside its data."""
  layout.write_whole(folder / FILE, json.dumps(to_json(dataset), indent=1))


def differences(
  stored: Mapping[str, Any], dataset: recipe.Recipe
) -> dict[str, tuple[Any, Any]]:
  """What differs between a stored description and a recipe.

  Args:
    stored: what `read` returned.
    dataset: the recipe that is asked for.

  Returns:
    {field: (stored value, value of the recipe)}; only 'dataset' if they are
    different data sets altogether.
  """
  current = to_json(dataset)
  if stored['dataset'] != current['dataset']:
    return {'dataset': (stored['dataset'], current['dataset'])}
  return {
    name: (stored.get(name), current.get(name))
    for name in {**stored, **current}
    if stored.get(name) != current.get(name)
  }
