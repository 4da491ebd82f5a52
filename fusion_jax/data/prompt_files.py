"""Files of prompts, and of prompts with vectors.

.json         {class: text or list of texts}, or a list of texts, each of them
              its own class; tables inside tables are reached with `part`.
.csv          columns `class` and `text`; or `name`, one class in each row.
.npz          `classes` [N] and `texts` [N] strings, `vectors` [N, D] float.
.safetensors  `vectors`; `classes` and `texts` as JSON lists in the metadata.
"""

import csv
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from fusion_jax.data import prompts as prompts_lib
from fusion_jax.untrusted import archives, nested


def read(
  path: str | os.PathLike[str], *, part: str = '', width: int = 0
) -> prompts_lib.Prompts:
  """Reads prompts from a file in one of the four formats above.

  Args:
    path: path of the file; its ending tells the format.
    part: keys of a JSON file that lead to the table, joined by '/', such as
      'tasks/land_cover'.
    width: D that the vectors must have if the file has vectors; 0 for any.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if a class has no prompt, if a prompt is listed twice, if
      vectors have another width or are not finite, or if the file has another
      format. The message names the file.
  """
  path = pathlib.Path(path)
  if path.suffix not in _READERS:
    raise ValueError(f'{path}: files of prompts end in {", ".join(_READERS)}.')
  if part and path.suffix != '.json':
    raise ValueError(f'{path}: only JSON files have parts, such as {part!r}.')
  try:
    prompts = _READERS[path.suffix](path, part)
    if prompts.vectors is not None and width not in (
      0,
      prompts.vectors.shape[1],
    ):
      raise ValueError(
        f'its vectors have {prompts.vectors.shape[1]} dimensions, the model '
        f'has {width}; embed the texts with the CLIP that the model was '
        'trained with.'
      )
  except FileNotFoundError:
    raise
  except (
    ValueError,
    KeyError,
    EOFError,
    csv.Error,
    safetensors.SafetensorError,
  ) as error:
    if str(path) in str(error):
      raise
    raise ValueError(f'{path}: {error}') from error
  return prompts


def write(path: str | os.PathLike[str], prompts: prompts_lib.Prompts) -> None:
  """Writes prompts with vectors to a file.

  Args:
    path: path of the file, which must end in .npz or .safetensors.
    prompts: prompts with vectors.

  Raises:
    ValueError: if the prompts have no vectors, or if the path has another
      ending.
  """
  path = pathlib.Path(path)
  if prompts.vectors is None:
    raise ValueError(
      f'{path}: these prompts have no vectors to write; compute them with '
      '`Prompts.with_vectors`.'
    )
  classes = [prompts.classes[i] for i in prompts.class_of]
  if path.suffix == '.npz':
    np.savez(
      path,
      classes=np.array(classes),
      texts=np.array(prompts.texts),
      vectors=prompts.vectors,
    )
  elif path.suffix == '.safetensors':
    safetensors_numpy.save_file(
      {'vectors': prompts.vectors},
      path,
      {'classes': json.dumps(classes), 'texts': json.dumps(prompts.texts)},
    )
  else:
    raise ValueError(f'{path}: vectors are written to .npz or .safetensors.')


def _read_json(path: pathlib.Path, part: str) -> prompts_lib.Prompts:
  def no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if doubled := prompts_lib.doubled_texts([key for key, _ in pairs]):
      raise ValueError(
        f'some keys are listed twice: {doubled}; list each one once.'
      )
    return dict(pairs)

  table = nested.read_json(path, object_pairs_hook=no_doubles)
  for key in part.split('/') if part else ():
    if not isinstance(table, dict) or key not in table:
      inside = sorted(table) if isinstance(table, dict) else 'no more tables'
      raise ValueError(
        f'there is no part {part!r}; at {key!r} there is {inside}.'
      )
    table = table[key]
  if isinstance(table, list):
    table = {text: [text] for text in _strings(table, 'the list')}
  if isinstance(table, dict) and any(
    isinstance(value, dict) for value in table.values()
  ):
    raise ValueError(
      f'it holds several tables; name one with part: {", ".join(table)}.'
    )
  if not isinstance(table, dict):
    raise ValueError(
      f'it holds a {type(table).__name__}, but must hold a table {{class: '
      '[texts]} or a list of texts.'
    )
  return prompts_lib.from_texts(
    {
      name: _strings([value] if isinstance(value, str) else value, name)
      for name, value in table.items()
    }
  )


def _strings(values: Any, name: str) -> list[str]:
  """Returns `values` after a check that they are different texts."""
  if not isinstance(values, list) or not all(
    isinstance(value, str) for value in values
  ):
    raise ValueError(
      f'{name!r} holds {values!r}, but must hold a text or a list of texts.'
    )
  if doubled := prompts_lib.doubled_texts(values):
    raise ValueError(
      f'some prompts are listed twice: {doubled}; list each one once.'
    )
  return values


def _read_csv(path: pathlib.Path, _: str) -> prompts_lib.Prompts:
  with open(path, newline='', encoding='utf-8-sig') as file:
    rows = list(csv.DictReader(file))
  _check_columns(rows)
  columns = set(rows[0]) if rows else set()
  if {'class', 'text'} <= columns:
    return _by_row(
      [row['class'] for row in rows], [row['text'] for row in rows]
    )
  if 'name' in columns:
    names = [row['name'] for row in rows]
    return prompts_lib.from_classes(names)
  raise ValueError(
    f'its columns are {sorted(columns)}, but must be class and text, or name.'
  )


def _check_columns(rows: list[dict[str | Any, Any]]) -> None:
  """Raises an error if a row has more or fewer values than the columns."""
  for number, row in enumerate(rows, 2):  # The first line has the names.
    if None in row:
      raise ValueError(
        f'row {number} has more values than there are columns, '
        f'{row[None]}; put a text with commas in quotes.'
      )
    if None in row.values():
      raise ValueError(
        f'row {number} has no {[name for name in row if row[name] is None]}; '
        'give a value for every column.'
      )


def _read_npz(path: pathlib.Path, _: str) -> prompts_lib.Prompts:
  with archives.open_npz(path) as file:
    missing = {'classes', 'texts', 'vectors'} - set(file)
    if missing:
      raise ValueError(
        f'it lacks the arrays {sorted(missing)}; it must have classes, texts '
        'and vectors.'
      )
    return _by_row(
      file['classes'].tolist(),
      file['texts'].tolist(),
      np.asarray(file['vectors'], np.float32),
    )


def _read_safetensors(path: pathlib.Path, _: str) -> prompts_lib.Prompts:
  with safetensors.safe_open(path, 'numpy') as file:
    lists = file.metadata() or {}
    missing = ({'classes', 'texts'} - set(lists)) | (
      {'vectors'} - set(file.keys())
    )
    if missing:
      raise ValueError(
        f'it lacks {sorted(missing)}; it must have the tensor vectors, and '
        'classes and texts as JSON lists in its metadata.'
      )
    return _by_row(
      _strings_of(lists['classes'], path),
      _strings_of(lists['texts'], path),
      np.asarray(file.get_tensor('vectors'), np.float32),
    )


def _strings_of(text: str, path: pathlib.Path) -> list[Any]:
  """Returns the list that a JSON text holds."""
  values = nested.loads(text, path)
  if not isinstance(values, list):
    raise ValueError(f'its metadata hold {values!r:.60}, where a list belongs.')
  return values


def _by_row(
  names: list[Any], texts: list[Any], vectors: np.ndarray | None = None
) -> prompts_lib.Prompts:
  """Returns the prompts of rows (class, text, vector).

  Classes are numbered in the order in which they first appear.
  """
  if len(names) != len(texts):
    raise ValueError(
      f'there are {len(names)} classes for {len(texts)} texts; give the class '
      'of every text.'
    )
  if not_texts := [name for name in names if not isinstance(name, str)]:
    raise ValueError(
      f'classes must be strings, but some are no text: {not_texts[:5]}.'
    )
  order = {name: i for i, name in enumerate(dict.fromkeys(names))}
  return prompts_lib.Prompts(
    tuple(order), tuple(texts), tuple(order[name] for name in names), vectors
  )


_READERS: dict[str, Callable[[pathlib.Path, str], prompts_lib.Prompts]] = {
  '.json': _read_json,
  '.csv': _read_csv,
  '.npz': _read_npz,
  '.safetensors': _read_safetensors,
}
