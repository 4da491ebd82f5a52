"""JSON of bounded depth and size."""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

from fusion_jax.untrusted import memory

_DEEPEST = 100  # Levels of lists and tables.
_BYTES = 64  # Of memory that a byte of text can become, as '[],[],...'.


def loads(
  text: str | bytes,
  name: str | os.PathLike[str],
  object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
  """Returns the content of a JSON text.

  Args:
    text: the text.
    name: file that it is from, for messages.
    object_pairs_hook: as of `json.loads`, makes the tables.

  Raises:
    ValueError: if it is no JSON, nested too deeply or too large for memory.
  """
  memory.check(_BYTES * len(text), name, 'its JSON')
  try:
    content = json.loads(text, object_pairs_hook=object_pairs_hook)
  except RecursionError as error:
    raise ValueError(_too_deep(name)) from error
  except json.JSONDecodeError as error:
    raise ValueError(f'{name} is no JSON file: {error}') from error
  except UnicodeDecodeError as error:
    raise ValueError(f'{name} is no text in UTF-8: {error}') from error
  check_depth(content, name)
  return content


def read_json(
  path: str | os.PathLike[str],
  object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
  """Returns the content of a JSON file in UTF-8, with or without its mark.

  Args:
    path: path of the file.
    object_pairs_hook: as of `json.loads`, makes the tables.

  Raises:
    OSError: if it cannot be opened.
    ValueError: as `loads`; the message names the file.
  """
  path = pathlib.Path(path)
  memory.check(_BYTES * path.stat().st_size, path, 'its JSON')
  try:
    text = path.read_text('utf-8-sig')
  except UnicodeDecodeError as error:
    raise ValueError(f'{path} is no text in UTF-8: {error}') from error
  return loads(text, path, object_pairs_hook)


def read_table(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns the table that a JSON file holds.

  Args:
    path: path of the file.

  Raises:
    OSError: if it cannot be opened.
    ValueError: as `loads`, or if the file holds something else.
  """
  content = read_json(path)
  if not isinstance(content, dict):
    raise ValueError(
      f'{path} holds a {type(content).__name__} where a table is expected; '
      'the file is damaged or another one.'
    )
  return content


def check_depth(
  content: Any, name: str | os.PathLike[str], deepest: int = _DEEPEST
) -> None:
  """Checks how deeply lists, tuples and tables are nested.

  Args:
    content: the outermost of them.
    name: file that they are from, for messages.
    deepest: largest number of levels.

  Raises:
    ValueError: if they are nested more deeply, or hold themselves.
  """
  level, depth = [content], 0
  while level:
    if depth > deepest:
      raise ValueError(_too_deep(name))
    inner = []
    seen = set()  # A shared object counts once a level.
    for value in level:
      if isinstance(value, dict):
        children = value.values()
      elif isinstance(value, (list, tuple)):
        children = value
      else:
        continue
      for child in children:
        if isinstance(child, (dict, list, tuple)) and id(child) not in seen:
          seen.add(id(child))
          inner.append(child)
    level, depth = inner, depth + 1


def _too_deep(name):
  return (
    f'{name} nests lists or tables more than {_DEEPEST} levels deep, which no '
    'file of this kind does; it is damaged, or made to do harm.'
  )
